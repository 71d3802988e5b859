"""The objects of a bucket by key: listed by pages, read in constant memory, resumed if broken."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO, cast

from aurora_blobs.errors import BackendUnavailable, BlobNotFound, BlobServiceError
from aurora_blobs.storage.s3_client import Refused, S3Client, translated

_RESUMES = 3  # broken reads of one object without a byte between them
_BUFFER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a listing. `modified` is in microseconds since the epoch, UTC."""

    key: str
    size: int
    modified: int


class Bucket:
    """One bucket, through one client.

    Every method may raise BackendUnavailable, BackendTimeout, ServiceBusy.
    """

    def __init__(self, name: str, client: S3Client) -> None:
        self.name = name
        self.client = client

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """`S3Client.call` on this bucket."""
        return self.client.call(operation, Bucket=self.name, **parameters)

    def objects(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key begins with *prefix*, by key."""
        more: dict[str, Any] = {}
        while True:
            page = self.call("list_objects_v2", Prefix=prefix, **more)
            for entry in page.get("Contents", ()):
                yield Listed(entry["Key"], entry["Size"], microseconds(entry["LastModified"]))
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def open(
        self, key: str, start: int = 0, stop: int | None = None, *, brief: bool = False
    ) -> BinaryIO:
        """The bytes ``[start, stop)`` of the object at *key*, to its end where *stop* is None.

        Raises BlobNotFound, also where it ends before *stop*.
        """
        if stop is not None and start >= stop:
            if self.size(key) is None:
                raise BlobNotFound()
            return io.BytesIO()
        return cast(
            BinaryIO,
            io.BufferedReader(_Object(partial(self._body, brief), key, start, stop), _BUFFER),
        )

    def size(self, key: str) -> int | None:
        """How many bytes the object at *key* has; None if there is none."""
        try:
            # Brief: callers may hold the database's write lock.
            return int(self.call("head_object", brief=True, Key=key)["ContentLength"])
        except BlobNotFound:
            return None

    def version(self, key: str) -> str | None:
        """The ETag of the object at *key*; None if there is none. It need not be a digest."""
        try:
            # Brief, as above.
            return str(self.call("head_object", brief=True, Key=key)["ETag"])
        except BlobNotFound:
            return None

    def _body(self, brief: bool, key: str, start: int, stop: int | None) -> Any:
        """The bytes ``[start, stop)`` of the object at *key*, as boto3 streams them.

        None where *stop* is None and the object ends at *start*.
        """
        bounds: dict[str, Any] = {}
        if start or stop is not None:
            bounds["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        try:
            answer = self.call("get_object", brief=brief, Key=key, **bounds)
        except Refused as refusal:
            if refusal.http_status != 416:
                raise unexpected(refusal) from refusal
            if stop is None:
                return None
            raise BlobNotFound() from refusal
        if bounds and answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
            answer["Body"].close()
            raise BackendUnavailable("the blob store does not answer ranges")
        if stop is not None and answer["ContentLength"] < stop - start:
            answer["Body"].close()
            raise BlobNotFound()
        return answer["Body"]


class _Object(io.RawIOBase):
    """The bytes of an object, asked for again from the byte where a connection broke."""

    def __init__(
        self, get: Callable[[str, int, int | None], Any], key: str, start: int, stop: int | None
    ) -> None:
        self._get = get
        self._key = key
        self._position = start
        self._stop = stop
        self._body = get(key, start, stop)
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
        self._body = self._get(self._key, self._position, self._stop)


def microseconds(moment: datetime) -> int:
    """*moment* in microseconds since the epoch, UTC."""
    return int(moment.timestamp() * 1_000_000)


def unexpected(refusal: Refused) -> BackendUnavailable:
    """The error for a refusal that no store should answer with."""
    return BackendUnavailable(
        f"the blob store refused the call: {refusal.http_status} {refusal.code}"
    )
