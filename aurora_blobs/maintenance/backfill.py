"""Looks at the headers of blobs that were stored before headers were looked at."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from aurora_blobs.catalog import blobs
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.db import Database
from aurora_blobs.errors import BlobNotFound
from aurora_blobs.media.probe import probe
from aurora_blobs.storage.base import BlobBackend

_STEP = 500  # rows per transaction
_BLOCK = 64 * 1024  # bytes asked for at once: most headers are whole in the first


def backfill(backend: BlobBackend, database: Database, clock: Callable[[], int]) -> Iterator[Entry]:
    """Write down the size and duration of each blob without them, and yield it. Can be stopped and begun again.

    What cannot be read counts as looked at; bytes that are lost do not. *clock* gives microseconds since the epoch.

    Raises BackendUnavailable, BackendTimeout.
    """
    after = ("", "")
    while True:
        with database.read() as tx:
            step = blobs.never_probed(tx, after, _STEP)
        if not step:
            return
        seen = []
        for entry in step:
            try:
                facts = probe(_Far(backend, entry), entry.mime_type)
            except BlobNotFound:
                continue
            seen.append(
                replace(
                    entry, width=facts.width, height=facts.height, duration_ms=facts.duration_ms
                )
            )
        with database.write() as tx:
            written = [entry for entry in seen if blobs.set_probed(tx, entry, clock())]
        yield from written
        after = (step[-1].did, step[-1].cid)


class _Far:
    """A blob in a backend, read in blocks as they are looked at."""

    def __init__(self, backend: BlobBackend, entry: Entry) -> None:
        self._backend = backend
        self._entry = entry
        self._start = 0
        self._block = b""

    def __len__(self) -> int:
        return self._entry.size

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(self._entry.size)
        if start >= stop:
            return b""
        if start < self._start or stop > self._start + len(self._block):
            self._start = start
            with self._backend.open(
                self._entry.cid, start, min(max(stop, start + _BLOCK), self._entry.size)
            ) as file:
                self._block = file.read()
        return self._block[start - self._start : stop - self._start]
