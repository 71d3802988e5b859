"""What the jobs share: findings, limits to reading and to losing, and rows beside stored bytes."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

from aurora_blobs.blobs.verify import find_again, is_intact, quarantine
from aurora_blobs.catalog import inventory, references
from aurora_blobs.catalog.inventory import BlobRow
from aurora_blobs.db import Database
from aurora_blobs.maintenance.shards import SHARDS, prefix_of
from aurora_blobs.protocol.cid import shard_of
from aurora_blobs.storage.base import BlobBackend, Stored

_STEP = 1000  # rows per statement
# So many lost blobs, or so much of all, are given up without a question. Guesses: a few may be lost
# by a bad sector, more of them hang together.
_FEW = 20
_FEW_PERCENT = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, in words for the operator; `repaired` if it is right by now.

    A `leftover` is nothing wrong: nobody misses it, and the collector removes it.
    """

    kind: str
    subject: str  # a CID, a DID or a file's name
    detail: str
    repaired: bool = False
    leftover: bool = False


def lost(cid: str, size: int, *, repaired: bool = False) -> Finding:
    """The store has no bytes under *cid*; it should have *size* of them."""
    return Finding("lost", cid, f"its {size} bytes are not in the store", repaired)


def wrong_bytes(cid: str, *, repaired: bool = False) -> Finding:
    """The store has other bytes under *cid*."""
    return Finding("wrong bytes", cid, "the bytes in the store are not those of its CID", repaired)


def check_missing(
    database: Database,
    backend: BlobBackend,
    row: BlobRow,
    clock: Callable[[], int],
    *,
    repair: bool,
) -> Finding | None:
    """What lies under the CID of *row*, a blob that counts as missing; None if nothing does.

    With *repair* right bytes count as stored again, and wrong ones are set aside.
    """
    if repair and find_again(database, backend, row, clock):
        return _found_again(row.cid, repaired=True)
    intact = [is_intact(store, row.name) for store in backend.stores]
    with database.read() as tx:
        is_changed = inventory.find_row(tx, row.cid) != row
    if is_changed or all(right is None for right in intact):
        return None  # an upload has healed it, or there is nothing
    if any(intact):
        return _found_again(row.cid, repaired=False)
    return Finding(
        "wrong bytes",
        row.cid,
        "counted as missing, and what lies there is something else",
        repair and quarantine(database, backend, row, clock),
    )


def _found_again(cid: str, *, repaired: bool) -> Finding:
    return Finding(
        "found again", cid, "counted as missing, but its bytes are there and right", repaired
    )


def is_loss(database: Database, row: BlobRow) -> bool:
    """Whether anybody misses the bytes of *row*: an owner, a record that names them, a takedown."""
    if row.kept:
        return True
    with database.read() as tx:
        return bool(references.of_blob(tx, row.cid, 1))


# Gets how many blobs a repair is about to give up, at least, and how many there are.
MayLoseMany = Callable[[int, int], bool]


def never(lost: int, total: int) -> bool:
    """Give up no more than a few blobs."""
    return False


class Losses:
    """Holds a repair back that is about to give up many blobs, until somebody agrees.

    A store of which much is missing may be the wrong one, or half of one. `is_refused` says that
    nobody agreed.
    """

    def __init__(self, total: int, may_lose_many: MayLoseMany, *, repair: bool) -> None:
        """*total* is the number of blobs that are stored. *may_lose_many* is asked once, or not.

        Without *repair* nothing is given up, and nothing held back.
        """
        self._repair = repair
        self._total = total
        self._few = max(_FEW, total // 100 * _FEW_PERCENT)
        self._may_lose_many = may_lose_many
        self._is_agreed: bool | None = None
        self._held: list[Callable[[bool], Finding | None]] = []

    @property
    def is_refused(self) -> bool:
        return self._is_agreed is False

    def add(self, settle: Callable[[bool], Finding | None]) -> Iterator[Finding]:
        """*settle*, sooner or later, gives up one blob if it is told to; what it found."""
        self._held.append(settle)
        if not self._repair:
            yield from self._settle(False)
            return
        if self._is_agreed is None and len(self._held) > self._few:
            self._is_agreed = self._may_lose_many(len(self._held), self._total)
        if self._is_agreed is not None:
            yield from self._settle(self._is_agreed)

    def finish(self) -> Iterator[Finding]:
        """Settle the rest: they are few."""
        yield from self._settle(self._is_agreed is not False)

    def _settle(self, is_agreed: bool) -> Iterator[Finding]:
        held, self._held = self._held, []
        for settle in held:
            finding = settle(is_agreed)
            if finding is not None:
                yield finding


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
    database: Database,
    backend: BlobBackend,
    numbers: range,
    skipped: Callable[[str], None] | None = None,
) -> Iterator[tuple[BlobRow | None, Stored | None]]:
    """Each blob that has a row, bytes or both, and whose digest begins with a byte in *numbers*.

    *skipped* gets the names of foreign files. Rows and bytes are read at different moments, so the
    caller has to check a difference again. Memory holds 1/256 of the rows.
    """
    # What is before the first shard and behind the last one is foreign.
    start = f"{numbers.start:02x}" if numbers.start else ""
    stop = f"{numbers.stop:02x}" if numbers.stop < SHARDS else None
    found = backend.scan(skipped, start, stop)
    stored_shards = groupby(found, key=lambda stored: shard_of(stored.cid))
    shard, group = next(stored_shards, (None, iter(())))
    for number in numbers:
        prefix = prefix_of(number)
        in_shard = list(group) if shard == f"{number:02x}" else []
        if in_shard:
            shard, group = next(stored_shards, (None, iter(())))
        yield from _merged(list(rows(database, prefix, prefix + "~")), in_shard)


def rows(database: Database, low: str = "", high: str = "~") -> Iterator[BlobRow]:
    """The `blob` rows with *low* < cid < *high*, by CID. Each thousand is one snapshot."""
    return database.in_pages(
        lambda tx, after, limit: inventory.rows_between(tx, after, high, limit),
        low,
        lambda row: row.cid,
        limit=_STEP,
    )


def _merged(
    rows: list[BlobRow], stored: list[Stored]
) -> Iterator[tuple[BlobRow | None, Stored | None]]:
    known = {row.name: row for row in rows}
    for found in stored:
        yield known.pop(found.name, None), found
    for row in known.values():
        yield row, None
