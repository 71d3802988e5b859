"""The object API of a service, called as AWS's own library calls a bucket."""

import hmac
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode
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


def pds_settings(
    url: str, *, bucket: str = BUCKET, key_id: str = KEY_ID, secret: str = SECRET
) -> dict[str, str]:
    """What a PDS has in its environment to keep its blobs at *url*: docs/beside-a-pds.md."""
    return {
        "PDS_BLOBSTORE_S3_BUCKET": bucket,
        "PDS_BLOBSTORE_S3_REGION": "auto",
        "PDS_BLOBSTORE_S3_ENDPOINT": url,
        "PDS_BLOBSTORE_S3_FORCE_PATH_STYLE": "true",
        "PDS_BLOBSTORE_S3_ACCESS_KEY_ID": key_id,
        "PDS_BLOBSTORE_S3_SECRET_ACCESS_KEY": secret,
    }


def s3_client(url: str, *, secret: str = SECRET, verify: str | None = None, **options: Any) -> Any:
    """boto3's client for the bucket at *url*, which tries everything once.

    *verify* is the path of a certificate that it trusts.
    """
    return boto3.client(
        "s3",
        endpoint_url=url,
        verify=verify,
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

    def copy(self, source: str, target: str, **headers: str) -> Any:
        return self.open("PUT", target, x_amz_copy_source=f"{BUCKET}/{source}", **headers)

    def delete_many(self, keys: Iterable[str]) -> Any:
        """Delete all of *keys* by one call."""
        rows = "".join(f"<Object><Key>{key}</Key></Object>" for key in keys)
        return self.open("POST", "", f"<Delete>{rows}</Delete>".encode(), query="delete")


def code_of(answer: Any) -> tuple[int, str | None]:
    """Status and S3's code of an answer that is an error."""
    return answer.status_code, fromstring(answer.data).findtext("Code")


class _Request(Protocol):
    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]


class Signature:
    """Signature V4 of a request whose bytes are the test's own, which botocore would put right.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
    """

    def __init__(self, key_id: str, secret: str) -> None:
        now = datetime.now(UTC)
        self._time = f"{now:%Y%m%dT%H%M%SZ}"
        self._scope = f"{now:%Y%m%d}/auto/s3/aws4_request"
        self._key_id = key_id
        self._signing_key = b"AWS4" + secret.encode()
        for part in self._scope.split("/"):
            self._signing_key = hmac.digest(self._signing_key, part.encode(), "sha256")
        self._last = ""

    def sign(self, request: _Request) -> None:
        """Add the time, unless it has one, and the signature of all that is in *request*."""
        if b"x-amz-date" not in {name.lower() for name, _ in request.headers}:
            request.headers.append((b"x-amz-date", self._time.encode()))
        given = {name.lower(): value for name, value in request.headers}
        names = sorted(name for name in given if name == b"host" or name.startswith(b"x-amz-"))
        path, _, query = request.target.partition(b"?")
        text = b"\n".join(
            [
                request.method,
                quote(unquote_to_bytes(path), safe="/~").encode(),
                _canonical(query),
                *(name + b":" + b" ".join(given[name].split(b" ")).strip() for name in names),
                b"",
                b";".join(names),
                given.get(b"x-amz-content-sha256", b""),
            ]
        )
        self._last = self._signed("AWS4-HMAC-SHA256", sha256(text).hexdigest())
        request.headers.append(
            (
                b"Authorization",
                f"AWS4-HMAC-SHA256 Credential={self._key_id}/{self._scope}, SignedHeaders=".encode()
                + b";".join(names)
                + f", Signature={self._last}".encode(),
            )
        )

    def of_chunk(self, data: bytes) -> bytes:
        """The signature of the next chunk of the body, in hex."""
        hashes = f"{sha256(b'').hexdigest()}\n{sha256(data).hexdigest()}"
        self._last = self._signed("AWS4-HMAC-SHA256-PAYLOAD", f"{self._last}\n{hashes}")
        return self._last.encode()

    def _signed(self, algorithm: str, rest: str) -> str:
        text = f"{algorithm}\n{self._time}\n{self._scope}\n{rest}"
        return hmac.digest(self._signing_key, text.encode(), "sha256").hex()


def _canonical(query: bytes) -> bytes:
    pairs: Iterable[tuple[bytes, bytes, bytes]] = (
        part.partition(b"=") for part in query.split(b"&") if part
    )
    quoted = sorted(
        (quote(unquote_to_bytes(name), safe="~"), quote(unquote_to_bytes(value), safe="~"))
        for name, _, value in pairs
    )
    return "&".join(f"{name}={value}" for name, value in quoted).encode()
