"""Reads the size and duration of blobs that were stored before uploads were probed."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from aurora_blobs.catalog import blobs
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.db import Database
from aurora_blobs.errors import BlobNotFound, LeaseLost
from aurora_blobs.leases import Leases
from aurora_blobs.maintenance.shards import Shard, SharedPass
from aurora_blobs.media.probe import probe
from aurora_blobs.storage.base import BlobBackend

_STEP = 500  # rows per transaction
_BLOCK = 64 * 1024  # bytes per read; the first has all of most headers


def backfill(
    backend: BlobBackend,
    database: Database,
    clock: Callable[[], int],
    leases: Leases | None = None,
) -> Iterator[Entry]:
    """Probe each blob that never was, write down its size and duration, and yield it.

    A blob whose headers cannot be read counts as probed; one whose bytes are lost does not. The job
    can be stopped and started again. *clock* gives microseconds since the epoch, UTC. Nodes that
    *leases* knows of share the work.

    Raises BackendUnavailable, BackendTimeout.
    """
    shared = SharedPass(database, "backfill", leases)
    for shard in shared.shards():
        with suppress(LeaseLost):
            yield from _backfill(backend, database, clock, shared, shard)


def _backfill(
    backend: BlobBackend,
    database: Database,
    clock: Callable[[], int],
    shared: SharedPass,
    shard: Shard,
) -> Iterator[Entry]:
    after = ("", "")
    while True:
        with database.read() as tx:
            step = blobs.never_probed(tx, shard.low, shard.high, after, _STEP)
        if not step:
            return
        probed = []
        for entry in step:
            shared.keep()
            try:
                facts = probe(_StoredBytes(backend, entry), entry.mime_type)
            except BlobNotFound:
                continue
            probed.append(
                replace(
                    entry, width=facts.width, height=facts.height, duration_ms=facts.duration_ms
                )
            )
        with database.write() as tx:
            written = [entry for entry in probed if blobs.set_probed(tx, entry, clock())]
        yield from written
        after = (step[-1].did, step[-1].cid)


class _StoredBytes:
    """A `ByteSource` of a blob in *backend*, read in blocks on demand."""

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
                self._entry.name, start, min(max(stop, start + _BLOCK), self._entry.size)
            ) as file:
                self._block = file.read()
        return self._block[start - self._start : stop - self._start]
