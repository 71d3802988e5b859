"""Objects too large for one request, in parts: together they become the object at once, or nothing of them shows."""

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
# Bytes of a part, where so many are enough: what is sent again after a fault. A guess.
PART = 64 * 2**20


class PartedUpload:
    """An upload to *key*: sent, then completed. One that its block ends without that is broken off.

    Every method may raise BackendUnavailable, BackendTimeout, ServiceBusy, InsufficientStorage, Refused.
    """

    def __init__(self, bucket: Bucket, key: str, *, part_bytes: int, **options: str) -> None:
        """*options* are those of the object, like its ContentType."""
        self._bucket = bucket
        self._key = key
        self._part_bytes = part_bytes
        self._parts: list[dict[str, Any]] = []
        self._checksums = True
        self._is_open = True
        try:
            begun = bucket.call(
                "create_multipart_upload", Key=key, ChecksumAlgorithm="SHA256", **options
            )
        except Refused:
            # A store that knows no checksums of parts: the digest in the signature is left.
            self._checksums = False
            begun = bucket.call("create_multipart_upload", Key=key, **options)
        self._id = begun["UploadId"]

    def __enter__(self) -> "PartedUpload":
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_open:
            # Brief, for somebody waits. What the store keeps of it all the same is left to `uploads`.
            with suppress(BlobServiceError):
                self._call("abort_multipart_upload", brief=True)

    def send(self, blob: Spooled) -> None:
        """Send the bytes of *blob*, each part with its SHA-256, and make sure that together they have its CID."""
        whole = sha256()
        for start, stop in self._spans(blob.size):
            part = partial(_part, blob, start, stop)
            digest = sha256()
            with part() as file:
                while data := file.read(CHUNK):
                    digest.update(data)
                    whole.update(data)
            checksum = (
                {"ChecksumSHA256": b64encode(digest.digest()).decode()} if self._checksums else {}
            )
            sent = self._call(
                "upload_part",
                extra_seconds=(stop - start) / SLOWEST_PUT,
                body=part,
                PartNumber=len(self._parts) + 1,
                ContentLength=stop - start,
                **checksum,
            )
            self._add(sent)
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

    def complete(self, **condition: str) -> None:
        """Make the parts the object."""
        try:
            self._call(
                "complete_multipart_upload", MultipartUpload={"Parts": self._parts}, **condition
            )
        except Refused as refusal:
            # An attempt before this one got through, and its answer did not.
            if refusal.code != "NoSuchUpload" or not self.is_there():
                raise
        self._is_open = False

    def is_there(self) -> bool:
        """Whether the object is one of these parts. A store that encrypts may not tell; then it is False."""
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

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return self._bucket.call(operation, Key=self._key, UploadId=self._id, **parameters)


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload in parts that was not completed yet. `since` is in microseconds since the epoch, UTC."""

    bucket: Bucket
    key: str
    upload_id: str
    since: int

    def parts(self) -> tuple[int, int]:
        """How many bytes of it the store has, and since when nothing came."""
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
        """Break it off; False where it is not there any more."""
        try:
            self.bucket.call("abort_multipart_upload", Key=self.key, UploadId=self.upload_id)
        except Refused as refusal:
            if refusal.code == "NoSuchUpload":
                return False
            raise unexpected(refusal) from refusal
        return True


def uploads(bucket: Bucket, prefix: str) -> Iterator[Begun]:
    """Those to keys that begin with *prefix*; none where the store does not tell, or not to this key."""
    more: dict[str, Any] = {}
    while True:
        try:
            page = bucket.call("list_multipart_uploads", Prefix=prefix, **more)
        except (Refused, Forbidden):
            return
        listed = page.get("Uploads", ())
        for begun in listed:
            yield Begun(bucket, begun["Key"], begun["UploadId"], microseconds(begun["Initiated"]))
        if not listed or not page.get("IsTruncated"):
            return
        # SeaweedFS marks the upload alone, Swift nothing: other uploads of its last key are seen when this one is gone.
        markers = {
            "KeyMarker": page.get("NextKeyMarker"),
            "UploadIdMarker": page.get("NextUploadIdMarker"),
        }
        more = {name: marker for name, marker in markers.items() if marker} or {
            "KeyMarker": listed[-1]["Key"]
        }


class _Part(io.RawIOBase):
    """The bytes ``[start, stop)`` of *file*, as a file of their own."""

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
