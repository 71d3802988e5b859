"""Reads and hashes every stored byte, at a limited rate; a run that was stopped can be resumed."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from aurora_blobs.blobs.verify import is_intact, quarantine
from aurora_blobs.catalog import inventory, jobs
from aurora_blobs.catalog.inventory import BlobRow
from aurora_blobs.db import Database
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import LeaseLost
from aurora_blobs.leases import Leases
from aurora_blobs.maintenance.shards import Shard, SharedPass
from aurora_blobs.maintenance.walk import (
    Finding,
    Losses,
    MayLoseMany,
    Throttle,
    check_missing,
    is_loss,
    lost,
    never,
    rows,
    wrong_bytes,
)
from aurora_blobs.storage.base import BlobBackend

JOB = "scrub"
_SAVE_SECONDS = 5  # between two saved positions: so much is read again after a killed run


class Scrub:
    """One pass, or the rest of one that was stopped.

    `begins_after` is the last CID that was done, empty for a new pass. `blobs` and `bytes` count
    what is left, for all nodes; `shared` says of how much this was done here. The row of each
    intact blob gets the time.
    """

    def __init__(
        self,
        database: Database,
        backend: BlobBackend,
        clock: Callable[[], int],
        *,
        dry_run: bool,
        bytes_per_second: int,
        may_lose_many: MayLoseMany = never,
        leases: Leases | None = None,
    ) -> None:
        """Wrong bytes are set aside and lost blobs marked, unless *dry_run*.

        *may_lose_many* is asked before more than a few blobs that are lost are counted as missing.
        *clock* gives microseconds since the epoch, UTC. Nodes that *leases* knows of share the
        work, each at that rate.
        """
        self._database = database
        self._backend = backend
        self._clock = clock
        self._repair = not dry_run
        self._throttle = Throttle(bytes_per_second)
        with database.read() as tx:
            total, _ = inventory.stored_totals(tx, "")
            self.begins_after = jobs.find_position(tx, JOB) or ""
            self.blobs, self.bytes = inventory.stored_totals(tx, self.begins_after)
        self._losses = Losses(total, may_lose_many, repair=self._repair)
        self.shared = SharedPass(database, JOB, leases, resumes=True)

    @property
    def is_refused(self) -> bool:
        """Whether many blobs would have been counted as missing, and nobody agreed."""
        return self._losses.is_refused

    def run(self, progress: Callable[[int], None]) -> Iterator[Finding]:
        """Each finding. *progress* gets the size of each blob that is done.

        Raises BackendUnavailable, BackendTimeout, ServiceBusy. The next run resumes there.
        """
        self._backend.confirm()
        for shard in self.shared.shards():
            with suppress(LeaseLost):
                yield from self._read_all(shard, progress)
        yield from self._losses.finish()

    def _read_all(self, shard: Shard, progress: Callable[[int], None]) -> Iterator[Finding]:
        intact: list[str] = []
        saved, position = time.monotonic(), shard.after
        for row in rows(self._database, shard.after, shard.high):
            if row.stored_at is not None:
                right = is_intact(self._backend, row.name, self._pause)
                if right:
                    intact.append(row.cid)
                elif self._is_unchanged(row):
                    yield from self._wrong(row) if right is False else self._missing(row)
                progress(row.size)
            elif row.kept:
                yield from self._found_again(row)
            position = row.cid
            if time.monotonic() - saved > _SAVE_SECONDS:
                self._save(shard, intact, position)
                intact.clear()
                saved = time.monotonic()
        if intact:
            self._save(shard, intact, position)

    def _pause(self, size: int) -> None:
        self._throttle.pause(size)
        self.shared.keep()  # a large blob takes long

    def _save(self, shard: Shard, intact: list[str], position: str) -> None:
        with self._database.write(Spend.ALL) as tx:
            inventory.mark_verified(tx, intact, self._clock())
            self.shared.save(tx, shard, position, self._clock())

    def _is_unchanged(self, row: BlobRow) -> bool:
        """Whether the blob was neither collected nor healed since *row* was read."""
        with self._database.read() as tx:
            return inventory.find_row(tx, row.cid) == row

    def _wrong(self, row: BlobRow) -> Iterator[Finding]:
        yield wrong_bytes(row.cid, repaired=self._repair and self._set_aside(row))

    def _missing(self, row: BlobRow) -> Iterator[Finding]:
        if is_loss(self._database, row):  # else the collector removes the row
            yield from self._losses.add(partial(self._lost, row))

    def _lost(self, row: BlobRow, repair: bool) -> Finding:
        return lost(row.cid, row.size, repaired=repair and self._set_aside(row))

    def _set_aside(self, row: BlobRow) -> bool:
        return quarantine(self._database, self._backend, row, self._clock)

    def _found_again(self, row: BlobRow) -> Iterator[Finding]:
        if self._backend.size(row.name) is None:
            return
        finding = check_missing(
            self._database, self._backend, row, self._clock, repair=self._repair
        )
        if finding is not None:
            yield finding
