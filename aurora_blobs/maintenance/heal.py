"""Fetches missing blobs from a server or a backup that has them, and keeps only intact ones."""

import os
import urllib.parse
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aurora_blobs.auth.fetch import ANSWER_SECONDS, FetchFailed, opened_body
from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.catalog import inventory
from aurora_blobs.catalog.inventory import Missing
from aurora_blobs.data_folder import DataFolder
from aurora_blobs.db import Database
from aurora_blobs.errors import STORE_AWAY, BlobServiceError, BlobTooLarge, UploadIncomplete
from aurora_blobs.intake.body import Reader
from aurora_blobs.maintenance.walk import Finding
from aurora_blobs.protocol.cid import place_of
from aurora_blobs.regular_files import open_regular

_STEP = 1000  # pairs per statement
_MAX_SILENT = 5  # blobs in a row without an answer; then the other server is away


class Heal:
    """One pass over all missing blobs. `healed` counts those that came back."""

    def __init__(
        self,
        database: Database,
        blobs: BlobManager,
        origin: str,
        *,
        max_blob_bytes: int,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """*origin* is the other server's URL, or a backup's folder; *blobs* takes what comes.

        A blob that was here may have the size that it had. One that records merely name may have
        the size that they state, and *max_blob_bytes* at most. Raises ValueError.
        """
        self._database = database
        self._blobs = blobs
        self._origin = _parse_origin(origin, answer_seconds)
        self._max_blob_bytes = max_blob_bytes
        self.healed = 0

    def run(self) -> Iterator[Finding]:
        """Each blob that could not be fetched.

        Raises BackendUnavailable, BackendTimeout, ServiceBusy for our own store.
        """
        silent = 0
        for missing in self._missing():
            try:
                reason = self._fetch(missing)
            except FetchFailed as error:
                reason = f"the other server cannot be reached: {error}"
                silent += 1
            else:
                silent = 0
            if reason is None:
                self.healed += 1
            else:
                yield Finding("not fetched", missing.cid, f"{missing.did}: {reason}")
            if silent == _MAX_SILENT:
                yield Finding("not fetched", "all others", "the other server seems to be away")
                return

    def _missing(self) -> Iterator[Missing]:
        return self._database.in_pages(
            inventory.missing, ("", ""), lambda last: (last.did, last.cid), limit=_STEP
        )

    def _fetch(self, missing: Missing) -> str | None:
        """Store the blob; why it could not be stored, or None. Raises FetchFailed."""
        size = missing.size
        if not missing.is_owned and size is not None:
            size = min(size, self._max_blob_bytes)
        most = self._max_blob_bytes if size is None else size
        try:
            with self._origin.opened(missing.did, missing.cid, most) as answer:
                if answer.length is not None and answer.length > most:
                    return f"it has {answer.length} bytes there, and should have {most}"
                incoming = Incoming(
                    stream=answer.stream if size is not None else _Bounded(answer.stream, most),
                    did=missing.did,
                    declared_type=answer.mime_type,
                    # No more than this is read, whatever else comes.
                    declared_size=answer.length if size is None else size,
                    expected_cid=missing.cid,
                )
                self._blobs.upload(incoming)
        except _NotThere as error:
            return str(error)
        except STORE_AWAY:
            raise
        except UploadIncomplete:
            return "its bytes did not come to their end, or not in time"
        except BlobServiceError as error:
            return error.message
        return None


class _NotThere(Exception):
    """The origin has not got the blob; the message says why."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """A blob that comes. None is what the origin does not say."""

    stream: Reader
    length: int | None
    mime_type: str | None


class _Origin(Protocol):
    def opened(self, did: str, cid: str, most: int) -> AbstractContextManager[_Answer]:
        """The blob, of which *most* bytes are read. Raises _NotThere and FetchFailed."""


@dataclass(frozen=True, slots=True)
class _Server:
    url: str
    answer_seconds: float

    @contextmanager
    def opened(self, did: str, cid: str, most: int) -> Iterator[_Answer]:
        query = urllib.parse.urlencode({"did": did, "cid": cid})
        with opened_body(
            f"{self.url}/xrpc/com.atproto.sync.getBlob?{query}",
            max_bytes=most,
            answer_seconds=self.answer_seconds,
        ) as answer:
            if answer.status != 200:
                raise _NotThere(f"the other server answers {answer.status}")
            yield _Answer(answer, answer.length, answer.headers.mime_type)


@dataclass(frozen=True, slots=True)
class _Backup:
    blobs: Path

    @contextmanager
    def opened(self, did: str, cid: str, most: int) -> Iterator[_Answer]:
        named = self.blobs / place_of(cid)
        # What was stored again after it had been removed has a number behind its CID.
        paths = [path for path in (named, *named.parent.glob(f"{cid}.*")) if path.is_file()]
        try:
            file = open_regular(paths[0] if paths else named)
        except OSError as error:
            raise _NotThere(f"not in the backup: {error.strerror}") from error
        with file:
            yield _Answer(file, os.fstat(file.fileno()).st_size, None)


def _parse_origin(text: str, answer_seconds: float) -> _Origin:
    """Raises ValueError."""
    folder = DataFolder(Path(text)).blobs
    return _Backup(folder) if folder.is_dir() else _Server(_parse_url(text), answer_seconds)


def _parse_url(url: str) -> str:
    """*url*, of a web server, without a slash at its end. Raises ValueError."""
    try:
        parts = urllib.parse.urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_web = False
    if not is_web or parts.query:
        raise ValueError(
            f"{url}: accepted is a URL like https://pds.example.com, or a backup's folder"
        )
    return url.rstrip("/")


class _Bounded:
    """At most *most* bytes of *stream*; the next read raises BlobTooLarge."""

    def __init__(self, stream: Reader, most: int) -> None:
        self._stream = stream
        self._left = most
        self._most = most

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise BlobTooLarge(f"it has more than {self._most} bytes there")
        return data
