"""The object API of a service, called as AWS's own library calls a bucket."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode
from xml.etree.ElementTree import fromstring

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from flask.testing import FlaskClient
from support.live_service import Service

BUCKET = "pds-blobs"
KEY_ID = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SETTINGS = {
    "AURORA_BLOBS_ACCOUNTS": "external",
    "AURORA_BLOBS_OBJECT_API_BUCKET": BUCKET,
    "AURORA_BLOBS_OBJECT_API_ACCESS_KEY_ID": KEY_ID,
    "AURORA_BLOBS_OBJECT_API_SECRET_ACCESS_KEY": SECRET,
}


def object_service(folder: Path, **settings: str) -> Service:
    """The service with the object API."""
    return Service(folder, **(SETTINGS | settings))


def pds_settings(url: str) -> dict[str, str]:
    """What a PDS has in its environment to keep its blobs at *url*: docs/beside-a-pds.md."""
    return {
        "PDS_BLOBSTORE_S3_BUCKET": BUCKET,
        "PDS_BLOBSTORE_S3_REGION": "auto",
        "PDS_BLOBSTORE_S3_ENDPOINT": url,
        "PDS_BLOBSTORE_S3_FORCE_PATH_STYLE": "true",
        "PDS_BLOBSTORE_S3_ACCESS_KEY_ID": KEY_ID,
        "PDS_BLOBSTORE_S3_SECRET_ACCESS_KEY": SECRET,
    }


def s3_client(url: str, *, secret: str = SECRET, **options: Any) -> Any:
    """boto3's client for the bucket at *url*, which tries everything once."""
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=secret,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            **options,
        ),
    )


class SignedClient:
    """Calls the application of *client*, Flask's, with requests that botocore has signed."""

    def __init__(self, client: FlaskClient, secret: str = SECRET) -> None:
        self._client = client
        self._key = Credentials(KEY_ID, secret)

    def open(
        self,
        method: str,
        key: str = "",
        data: bytes = b"",
        *,
        query: str = "",
        bucket: str = BUCKET,
        **headers: str,
    ) -> Any:
        """The answer. *headers* have underscores in their names."""
        pairs = urlencode(parse_qsl(query, keep_blank_values=True), quote_via=quote, safe="~")
        url = f"http://localhost/{bucket}/{quote(key, safe='/~')}{'?' if query else ''}{pairs}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = AWSRequest(method, url, named, data=data)
        S3SigV4Auth(self._key, "s3", "auto").add_auth(sent)
        return self._client.open(
            url.removeprefix("http://localhost"),
            method=method,
            data=data,
            headers={name: str(value) for name, value in sent.headers.items()},
            buffered=True,
        )

    def put(self, key: str, data: bytes, **options: Any) -> Any:
        return self.open("PUT", key, data, **options)

    def get(self, key: str, **options: Any) -> Any:
        return self.open("GET", key, **options)

    def head(self, key: str) -> Any:
        return self.open("HEAD", key)

    def delete(self, key: str) -> Any:
        return self.open("DELETE", key)

    def copy(self, source: str, target: str) -> Any:
        return self.open("PUT", target, x_amz_copy_source=f"{BUCKET}/{source}")


def code_of(answer: Any) -> tuple[int, str | None]:
    """Status and S3's code of an answer that is an error."""
    return answer.status_code, fromstring(answer.data).findtext("Code")
