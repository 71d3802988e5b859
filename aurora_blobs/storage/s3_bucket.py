"""The objects of a bucket by key: listed by pages, read in constant memory, resumed if broken."""

import io
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO, cast

from aurora_blobs.errors import BackendUnavailable, BlobNotFound, BlobServiceError
from aurora_blobs.storage.s3_client import Refused, S3Client, translated

log = logging.getLogger(__name__)

# Seconds for which a store is not sent again what it has refused. A guess: one upload in so many is
# sent twice, and a store that is mended is soon used in full.
REFUSED_SECONDS = 30
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
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

    def __init__(
        self, name: str, client: S3Client, *, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        """*seconds* is a monotonic clock."""
        self.name = name
        self.client = client
        self.seconds = seconds
        # When the store has refused what, by operation and kind; and what the log has of it.
        self._refused_at: dict[tuple[str, str], float] = {}
        self._told: set[tuple[str, str]] = set()

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """`S3Client.call` on this bucket."""
        return self.client.call(operation, Bucket=self.name, **parameters)

    def call_with(
        self, optional: Mapping[str, Mapping[str, Any]], operation: str, **parameters: Any
    ) -> tuple[dict[str, Any], set[str]]:
        """The answer to *operation* with what the store takes of *optional*; and what that was.

        *optional* are parameters by kind, "checksums" or "conditions": not every store knows them.
        What is refused is left out, each kind by itself, and for `REFUSED_SECONDS`.

        Raises as `call`, and Refused where the store refuses the call without them, too.
        """
        known = [kind for kind in optional if self._may_take(operation, kind)]
        choices = [known]
        first: Refused | None = None
        for kinds in choices:  # of which there are more after the first refusal
            extra = {name: value for kind in kinds for name, value in optional[kind].items()}
            try:
                answer = self.call(operation, **parameters, **extra)
            except Refused as refusal:
                if refusal.http_status in (400, 501):
                    if first is None:
                        first = refusal
                        choices += _fewer(known, refusal)
                    continue
                self._note(operation, known, kinds)
                raise
            self._note(operation, known, kinds)
            return answer, set(kinds)
        assert first is not None
        raise first

    def _may_take(self, operation: str, kind: str) -> bool:
        refused_at = self._refused_at.get((operation, kind))
        return refused_at is None or self.seconds() - refused_at >= REFUSED_SECONDS

    def _note(self, operation: str, asked: list[str], taken: list[str]) -> None:
        """Of the kinds that were *asked*, the store has *taken* these and refused the others."""
        for kind in asked:
            what = (operation, kind)
            if kind not in taken:
                self._refused_at[what] = self.seconds()
                if what not in self._told:
                    self._told.add(what)
                    log.warning("the store refuses %s in %s: sent without them", kind, operation)
            elif self._refused_at.pop(what, None) is not None:
                self._told.discard(what)
                log.warning("the store takes %s in %s again", kind, operation)

    def objects(self, prefix: str, after: str = "") -> Iterator[Listed]:
        """Every object whose key begins with *prefix*, by key, after *after* in the prefix."""
        more: dict[str, Any] = {"StartAfter": f"{prefix}{after}"} if after else {}
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
            # Brief: an upload looks before it answers.
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
        try:
            _check_part(answer, start, stop)
        except BlobServiceError:
            answer["Body"].close()
            raise
        return answer["Body"]


def _fewer(kinds: list[str], refusal: Refused) -> list[list[str]]:
    """*kinds* without one of them, the likeliest first, and then none."""
    names_checksums = "checksum" in refusal.message.lower()
    likely = sorted(kinds, key=lambda kind: (kind == "checksums") != names_checksums)
    without = [[kind for kind in kinds if kind != left_out] for left_out in likely]
    return without if len(kinds) < 2 else [*without, []]


def _check_part(answer: dict[str, Any], start: int, stop: int | None) -> None:
    """Raise unless *answer* has the bytes ``[start, stop)``, by its head: none is read before.

    A cache before the store may answer another range than was asked for, and say so honestly.
    """
    if not start and stop is None:
        return
    if answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
        raise BackendUnavailable("the blob store does not answer ranges")
    shown = str(answer.get("ContentRange"))
    found = _CONTENT_RANGE.fullmatch(shown)
    if found is not None:
        first, last, size = map(int, found.groups())
        wanted = size if stop is None else min(stop, size)
        if (first, last + 1, answer["ContentLength"]) == (start, wanted, wanted - start):
            if stop is not None and size < stop:
                raise BlobNotFound()
            return
    raise BackendUnavailable(
        f"the blob store was asked for bytes from {start} to {stop}, and answered {shown:.80}"
    )


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
