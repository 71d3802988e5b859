"""The bucket and keys of the S3 stores, and a client for them that is not ours."""

import boto3
from botocore.config import Config
from support import object_api

BUCKET = "blobs"
KEYS = {
    "AWS_ACCESS_KEY_ID": "test:tester",
    "AWS_SECRET_ACCESS_KEY": "testsecret123",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def pds_settings(url: str, bucket: str = BUCKET) -> dict[str, str]:
    """What a PDS has in its environment to keep its blobs in *bucket* of the store at *url*."""
    return object_api.pds_settings(
        url,
        bucket=bucket,
        key_id=KEYS["AWS_ACCESS_KEY_ID"],
        secret=KEYS["AWS_SECRET_ACCESS_KEY"],
    )


def store_client(url: str):
    """A plain boto3 client of the store at *url*."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region_name=KEYS["AWS_DEFAULT_REGION"],
        config=Config(
            s3={"addressing_style": "path"},
            connect_timeout=2,
            read_timeout=30,
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
        ),
    )
