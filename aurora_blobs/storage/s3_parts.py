"""Multipart uploads, for objects too large for one request.

The object appears whole when the upload is completed; before that nothing of it shows.
"""

import io
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import md5, sha256
from typing import Any, BinaryIO, cast

from aurora_blobs.errors import BackendUnavailable, BlobServiceError
from aurora_blobs.intake.spool import CHUNK, Spooled
from aurora_blobs.protocol.cid import digest_of
from aurora_blobs.storage.s3_bucket import Bucket, microseconds, unexpected
from aurora_blobs.storage.s3_client import SLOWEST_PUT, Forbidden, Refused

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MAX_PUT = 5 * 2**30  # bytes that one request takes
_MAX_PARTS = 10_000
# Bytes of a part, as many as are sent again after a fault. A guess.
PART = 64 * 2**20


class MultipartUpload:
    """An upload to *key*: sent, then completed; aborted if its block ends before that.

    Every method may raise BackendUnavailable, BackendTimeout, ServiceBusy, InsufficientStorage,
    Refused.
    """

    def __init__(self, bucket: Bucket, key: str, *, part_bytes: int, **options: str) -> None:
        """*options* are of the object, like its ContentType."""
        self._bucket = bucket
        self._key = key
        self._part_bytes = part_bytes
        self._parts: list[dict[str, Any]] = []
        self._is_open = True
        self.is_checked = True  # the store has said the right digest of each part
        begun, taken = bucket.call_with(
            {"checksums": {"ChecksumAlgorithm": "SHA256"}},
            "create_multipart_upload",
            Key=key,
            **options,
        )
        self._checksums = "checksums" in taken
        self._id = begun["UploadId"]

    def __enter__(self) -> "MultipartUpload":
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_open:
            # Brief: a client waits. If it fails, `unfinished_uploads` finds this one later.
            with suppress(BlobServiceError):
                self._call("abort_multipart_upload", brief=True)

    def send(self, blob: Spooled) -> None:
        """Send the bytes of *blob*, each part with its SHA-256, and check the CID of the whole."""
        whole = sha256()
        for start, stop in self._spans(blob.size):
            part = partial(_part, blob, start, stop)
            digest = sha256()
            with part() as file:
                while data := file.read(CHUNK):
                    digest.update(data)
                    whole.update(data)
            checksum = b64encode(digest.digest()).decode()
            sent, _ = self._call_with(
                {"checksums": {"ChecksumSHA256": checksum}} if self._checksums else {},
                "upload_part",
                extra_seconds=(stop - start) / SLOWEST_PUT,
                body=part,
                PartNumber=len(self._parts) + 1,
                ContentLength=stop - start,
            )
            self._add(sent)
            self.is_checked &= sent.get("ChecksumSHA256") == checksum
        if whole.digest() != digest_of(blob.cid):
            raise BackendUnavailable("the spooled bytes are not those that came")

    def copy(self, source: dict[str, str], size: int) -> None:
        """Copy the *size* bytes of *source*, a ``Bucket`` and ``Key`` of the same store."""
        for start, stop in self._spans(size):
            copied = self._call(
                "upload_part_copy",
                PartNumber=len(self._parts) + 1,
                CopySource=source,
                CopySourceRange=f"bytes={start}-{stop - 1}",
            )
            self._add(copied["CopyPartResult"])

    def complete(self, **condition: str) -> bool:
        """Make one object of the parts. Returns `is_checked`."""
        try:
            self._call_with(
                {"conditions": condition} if condition else {},
                "complete_multipart_upload",
                MultipartUpload={"Parts": self._parts},
            )
        except Refused as refusal:
            # An earlier attempt may have succeeded, and its answer was lost.
            if refusal.code != "NoSuchUpload" or not self.is_there():
                raise
        self._is_open = False
        return self.is_checked

    def is_there(self) -> bool:
        """Whether the object at the key has these parts, by its ETag.

        False in a store whose ETags are no digests, as some that encrypt.
        """
        try:
            digests = [bytes.fromhex(part["ETag"].strip('"')) for part in self._parts]
        except ValueError:
            return False
        tag = md5(b"".join(digests), usedforsecurity=False).hexdigest()
        return self._bucket.version(self._key) == f'"{tag}-{len(digests)}"'

    def _spans(self, size: int) -> Iterator[tuple[int, int]]:
        length = max(self._part_bytes, -(-size // _MAX_PARTS))
        return ((start, min(start + length, size)) for start in range(0, size, length))

    def _add(self, answer: dict[str, Any]) -> None:
        part = {"PartNumber": len(self._parts) + 1, "ETag": answer["ETag"]}
        if "ChecksumSHA256" in answer:
            part["ChecksumSHA256"] = answer["ChecksumSHA256"]
        self._parts.append(part)

    def _call_with(
        self, optional: dict[str, dict[str, Any]], operation: str, **parameters: Any
    ) -> tuple[dict[str, Any], set[str]]:
        return self._bucket.call_with(
            optional, operation, Key=self._key, UploadId=self._id, **parameters
        )

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return self._bucket.call(operation, Key=self._key, UploadId=self._id, **parameters)


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """A multipart upload that is neither completed nor aborted.

    `since` is when it began, in microseconds since the epoch, UTC.
    """

    bucket: Bucket
    key: str
    upload_id: str
    since: int

    def parts(self) -> tuple[int, int]:
        """How many bytes the store has of it, and when the last of them came."""
        size, since = 0, self.since
        more: dict[str, Any] = {}
        while True:
            page = self.bucket.call("list_parts", Key=self.key, UploadId=self.upload_id, **more)
            for part in page.get("Parts", ()):
                size += part["Size"]
                since = max(since, microseconds(part["LastModified"]))
            if not page.get("IsTruncated"):
                return size, since
            more = {"PartNumberMarker": page["NextPartNumberMarker"]}

    def remove(self) -> bool:
        """Abort it; False where it is gone already."""
        try:
            self.bucket.call("abort_multipart_upload", Key=self.key, UploadId=self.upload_id)
        except Refused as refusal:
            if refusal.code == "NoSuchUpload":
                return False
            raise unexpected(refusal) from refusal
        return True


def unfinished_uploads(bucket: Bucket, prefix: str) -> Iterator[UnfinishedUpload]:
    """Those to keys that begin with *prefix*; none where the store refuses to list them."""
    more: dict[str, Any] = {}
    while True:
        try:
            page = bucket.call("list_multipart_uploads", Prefix=prefix, **more)
        except (Refused, Forbidden):
            return
        listed = page.get("Uploads", ())
        for upload in listed:
            yield UnfinishedUpload(
                bucket, upload["Key"], upload["UploadId"], microseconds(upload["Initiated"])
            )
        if not listed or not page.get("IsTruncated"):
            return
        # SeaweedFS gives the second marker alone, Swift none. There, other uploads to the last key
        # of a page are found when those on the page are gone.
        markers = {
            "KeyMarker": page.get("NextKeyMarker"),
            "UploadIdMarker": page.get("NextUploadIdMarker"),
        }
        more = {name: marker for name, marker in markers.items() if marker} or {
            "KeyMarker": listed[-1]["Key"]
        }


class _Part(io.RawIOBase):
    """The bytes ``[start, stop)`` of *file*, as a file."""

    def __init__(self, file: BinaryIO, start: int, stop: int) -> None:
        self._file = file
        self._start = start
        self._stop = stop
        file.seek(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._stop - self._file.tell()))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: self._start, io.SEEK_CUR: self._file.tell(), io.SEEK_END: self._stop}[
            whence
        ]
        return self._file.seek(base + offset) - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start

    def close(self) -> None:
        self._file.close()
        super().close()


def _part(blob: Spooled, start: int, stop: int) -> BinaryIO:
    return cast(BinaryIO, _Part(blob.open(), start, stop))
