"""Bytes as objects in an S3-compatible store, under ``<prefix><xx>/<cid>``, xx as on disk."""

import io
import secrets
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, cast

from aurora_blobs.backends.base import BlobBackend, Stored
from aurora_blobs.backends.s3_client import Refused, S3Client, translated
from aurora_blobs.cid import digest_of, parse_blob_cid, shard_of
from aurora_blobs.errors import BackendUnavailable, BlobNotFound, BlobServiceError
from aurora_blobs.spool import Spooled

# Bytes per second below which an upload to the store is given up. The kernel takes up to 4 MB ahead of the link,
# and they must be gone before PATIENT.silence, 15 s, is over.
SLOWEST_PUT = 512 * 1024
URL_SECONDS = 300  # how long a link works: a slow client must begin in it, not end
_RESUMES = 3  # broken reads of one object without a byte between them
_QUARANTINE = "quarantine/"  # after the prefix
_DELETE_AT_ONCE = 1000  # keys that DeleteObjects takes


class S3Backend(BlobBackend):
    """A bucket. An object is whole or absent; its Content-Type is that of its first upload."""

    def __init__(self, bucket: str, *, prefix: str, client: S3Client) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._client = client
        self._conditional = True  # until the store says that it does not know If-None-Match

    def put(self, blob: Spooled) -> None:
        """Make the bytes durable under ``blob.cid``.

        After a BackendTimeout the whole of them may still appear there; never a part.
        """
        if self._conditional:
            try:
                self._put(blob, IfNoneMatch="*")
                return
            except Refused as refusal:
                if refusal.http_status == 412:
                    if self._is_whole(blob):
                        return
                elif refusal.http_status in (400, 501):
                    # Swift says 501. Without the condition an equal object is written again, which is harmless.
                    self._conditional = False
                else:
                    raise _unexpected(refusal) from refusal
        try:
            self._put(blob)
        except Refused as refusal:
            raise _unexpected(refusal) from refusal

    def open(self, cid: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        if stop is not None and start >= stop:
            if self.size(cid) is None:
                raise BlobNotFound()
            return io.BytesIO()
        return cast(BinaryIO, io.BufferedReader(_Object(self._get, cid, start, stop), 64 * 1024))

    def size(self, cid: str) -> int | None:
        try:
            # Brief: callers may hold the database's write lock.
            return int(self._call("head_object", brief=True, Key=self.key(cid))["ContentLength"])
        except BlobNotFound:
            return None

    def delete(self, cid: str) -> None:
        self._call("delete_object", brief=True, Key=self.key(cid))

    def delete_many(self, cids: Sequence[str]) -> dict[str, BlobServiceError]:
        failures: dict[str, BlobServiceError] = {}
        for start in range(0, len(cids), _DELETE_AT_ONCE):
            batch = cids[start : start + _DELETE_AT_ONCE]
            keys = {self.key(cid): cid for cid in batch}
            listed = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
            try:
                answer = self._call("delete_objects", Delete=listed)
            except Refused:
                # Swift and older MinIO want a Content-MD5, which boto3 no longer sends.
                failures |= super().delete_many(batch)
                continue
            # A batch is answered with 200 whatever became of its keys.
            for error in answer.get("Errors", ()):
                if error.get("Code") != "NoSuchKey":
                    failures[keys[error["Key"]]] = BackendUnavailable(f"the store kept it: {error.get('Code')}")
        return failures

    def quarantine(self, cid: str) -> None:
        source = {"Bucket": self._bucket, "Key": self.key(cid)}
        aside = f"{self._prefix}{_QUARANTINE}{cid}.{secrets.token_hex(8)}"
        self._call("copy_object", CopySource=source, Key=aside)
        self.delete(cid)

    def url(self, cid: str, *, mime_type: str, disposition: str) -> str | None:
        parameters = {
            "Bucket": self._bucket,
            "Key": self.key(cid),
            "ResponseContentType": mime_type,
            "ResponseContentDisposition": disposition,
        }
        client = self._client.client()
        return str(client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=URL_SECONDS))

    def scan(self, skipped: Callable[[str], None] | None = None) -> Iterator[Stored]:
        more: dict[str, Any] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=self._prefix, **more)
            for entry in page.get("Contents", ()):
                name = entry["Key"][len(self._prefix) :]
                cid = _cid_of(name)
                if cid is not None:
                    yield Stored(cid, entry["Size"], int(entry["LastModified"].timestamp() * 1_000_000))
                elif skipped is not None and not name.startswith(_QUARANTINE):
                    skipped(name)
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def probe(self) -> None:
        key = f"{self._prefix}probe.{secrets.token_hex(8)}"
        self._call("put_object", brief=True, Key=key, Body=b"canary")
        try:
            answer = self._call("get_object", brief=True, Key=key)
            if answer["Body"].read() != b"canary":
                raise BackendUnavailable("the canary came back changed")
        finally:
            self._call("delete_object", brief=True, Key=key)

    def _put(self, blob: Spooled, **condition: Any) -> None:
        self._call(
            "put_object",
            extra_seconds=blob.size / SLOWEST_PUT,
            body=blob.open,
            Key=self.key(blob.cid),
            ContentLength=blob.size,
            ContentType=blob.mime_type,
            # The CID's own digest: a store that checks it cannot hold other bytes under this name.
            ChecksumSHA256=b64encode(digest_of(blob.cid)).decode(),
            **condition,
        )

    def _is_whole(self, blob: Spooled) -> bool:
        # A store that keeps no checksum cannot tell: there the bytes at hand, which are right, are sent once more.
        head = self._call("head_object", Key=self.key(blob.cid), ChecksumMode="ENABLED")
        digest = b64encode(digest_of(blob.cid)).decode()
        return bool(head["ContentLength"] == blob.size and head.get("ChecksumSHA256") == digest)

    def _get(self, cid: str, start: int, stop: int | None) -> Any:
        """The body of *cid* from *start*; None where the object ends at or before it."""
        bounds: dict[str, Any] = {}
        if start or stop is not None:
            bounds["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        try:
            answer = self._call("get_object", Key=self.key(cid), **bounds)
        except Refused as refusal:
            if refusal.http_status == 416:
                return None
            raise _unexpected(refusal) from refusal
        if bounds and answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
            answer["Body"].close()
            raise BackendUnavailable("the store does not answer ranges")
        return answer["Body"]

    def _call(self, operation: str, *, brief: bool = False, **parameters: Any) -> dict[str, Any]:
        return self._client.call(operation, brief=brief, Bucket=self._bucket, **parameters)

    def key(self, cid: str) -> str:
        return f"{self._prefix}{shard_of(cid)}/{cid}"


class _Object(io.RawIOBase):
    """The bytes of an object, asked for again from where they broke off."""

    def __init__(self, get: Any, cid: str, start: int, stop: int | None) -> None:
        self._get = get
        self._cid = cid
        self._position = start
        self._stop = stop
        self._body = get(cid, start, stop)
        self._broken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        from botocore.exceptions import BotoCoreError

        while self._body is not None:
            try:
                data = self._body.read(len(buffer))
            except BotoCoreError as error:
                self._resume(translated(error))
                continue
            self._broken = 0
            self._position += len(data)
            buffer[: len(data)] = data
            return len(data)
        return 0

    def close(self) -> None:
        if not self.closed and self._body is not None:
            self._body.close()
        super().close()

    def _resume(self, failure: BlobServiceError) -> None:
        self._body.close()
        self._broken += 1
        if self._broken > _RESUMES:
            raise failure
        self._body = self._get(self._cid, self._position, self._stop)


def _unexpected(refusal: Refused) -> BackendUnavailable:
    return BackendUnavailable(f"the blob store refused the call: {refusal.http_status} {refusal.code}")


def _cid_of(name: str) -> str | None:
    shard, _, cid = name.partition("/")
    try:
        return cid if parse_blob_cid(cid) == cid and shard_of(cid) == shard else None
    except ValueError:
        return None
