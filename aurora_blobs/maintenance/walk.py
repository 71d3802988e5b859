"""What the jobs share: findings, a limit to the rate of reading, and rows beside stored bytes."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

from aurora_blobs.catalog import inventory
from aurora_blobs.catalog.inventory import BlobRow
from aurora_blobs.db import Database
from aurora_blobs.protocol.cid import cid_of_digest, shard_of
from aurora_blobs.storage.base import BlobBackend, Stored

_STEP = 1000  # rows per statement


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, in words for the operator; `repaired` if it is right by now."""

    kind: str
    subject: str  # a CID, a DID or a file's name
    detail: str
    repaired: bool = False


def lost(cid: str, size: int, *, repaired: bool = False) -> Finding:
    """The store has no bytes under *cid*; it should have *size* of them."""
    return Finding("lost", cid, f"its {size} bytes are not in the store", repaired)


def wrong_bytes(cid: str, *, repaired: bool = False) -> Finding:
    """The store has other bytes under *cid*."""
    return Finding("wrong bytes", cid, "the bytes in the store are not those of its CID", repaired)


class Throttle:
    """Keeps reading to *bytes_per_second* on average; 0 is no limit."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._due = time.monotonic()

    def pause(self, size: int) -> None:
        """Wait for as long as *size* bytes, which were just read, may take."""
        if self._rate:
            self._due = max(self._due, time.monotonic() - 1) + size / self._rate
            time.sleep(max(0.0, self._due - time.monotonic()))


def side_by_side(
    database: Database, backend: BlobBackend, skipped: Callable[[str], None] | None = None
) -> Iterator[tuple[BlobRow | None, Stored | None]]:
    """Each blob that has a row, bytes or both. *skipped* gets the names of foreign files.

    Rows and bytes are read at different moments, so the caller has to check a difference again.
    Memory holds 1/256 of the rows.
    """
    stored_shards = groupby(backend.scan(skipped), key=lambda stored: shard_of(stored.cid))
    shard, group = next(stored_shards, (None, iter(())))
    for number in range(256):
        # The first 9 characters of a CID are decided by the first byte of the digest.
        prefix = cid_of_digest(bytes([number]) + bytes(31))[:9]
        in_shard = list(group) if shard == f"{number:02x}" else []
        if in_shard:
            shard, group = next(stored_shards, (None, iter(())))
        yield from _merged(list(rows(database, prefix, prefix + "~")), in_shard)


def rows(database: Database, low: str = "", high: str = "~") -> Iterator[BlobRow]:
    """The `blob` rows with *low* < cid < *high*, by CID. Each thousand is one snapshot."""
    while True:
        with database.read() as tx:
            step = inventory.rows_between(tx, low, high, _STEP)
        yield from step
        if len(step) < _STEP:
            return
        low = step[-1].cid


def _merged(
    rows: list[BlobRow], stored: list[Stored]
) -> Iterator[tuple[BlobRow | None, Stored | None]]:
    known = {row.cid: row for row in rows}
    for found in stored:
        yield known.pop(found.cid, None), found
    for row in known.values():
        yield row, None
