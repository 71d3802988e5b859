"""Rows and stored bytes side by side, and the reading of bytes to see whether they are right."""

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
    """Something that is not as it should be, in words for the operator. `repaired` says that it is now."""

    kind: str
    subject: str  # a CID, a DID or a file's name
    detail: str
    repaired: bool = False


def lost(cid: str, size: int, *, repaired: bool = False) -> Finding:
    """There are no bytes under *cid*, which should have *size*."""
    return Finding("lost", cid, f"its {size} bytes are not in the store", repaired)


def wrong_bytes(cid: str, *, repaired: bool = False) -> Finding:
    """There are others under *cid*."""
    return Finding("wrong bytes", cid, "the bytes in the store are not those of its CID", repaired)


class Pace:
    """Holds whoever calls `spend` to *bytes_per_second* on average; 0 is no limit."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._due = time.monotonic()

    def spend(self, size: int) -> None:
        """*size* bytes were read."""
        if self._rate:
            self._due = max(self._due, time.monotonic() - 1) + size / self._rate
            time.sleep(max(0.0, self._due - time.monotonic()))


def side_by_side(
    database: Database, backend: BlobBackend, skipped: Callable[[str], None] | None = None
) -> Iterator[tuple[BlobRow | None, Stored | None]]:
    """Each blob that has a row, bytes, or both.

    Rows and bytes are looked at moments apart: what differs has to be looked at again. Holds 1/256 of the rows.
    """
    stored_shards = groupby(backend.scan(skipped), key=lambda stored: shard_of(stored.cid))
    shard, group = next(stored_shards, (None, iter(())))
    for number in range(256):
        # All CIDs of a shard begin alike, with one digit more than the first byte of the digest decides.
        prefix = cid_of_digest(bytes([number]) + bytes(31))[:9]
        here = list(group) if shard == f"{number:02x}" else []
        if here:
            shard, group = next(stored_shards, (None, iter(())))
        yield from _merged(list(rows(database, prefix, prefix + "~")), here)


def rows(database: Database, low: str = "", high: str = "~") -> Iterator[BlobRow]:
    """The `blob` rows with *low* < cid < *high*, in order, in snapshots of a thousand."""
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
    for held in stored:
        yield known.pop(held.cid, None), held
    for row in known.values():
        yield row, None
