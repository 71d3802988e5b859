"""Compares rows and store, both ways, without reading bytes: what is lost, wrong or unowned."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from aurora_blobs.accounts.hiding import finish_hiding
from aurora_blobs.blobs.deletion import delete_unowned, finish_removals
from aurora_blobs.blobs.public_links import PublicLinks
from aurora_blobs.blobs.verify import quarantine
from aurora_blobs.catalog import blobs, inventory, record_usage, removals
from aurora_blobs.catalog.hiding import hide_from_all
from aurora_blobs.catalog.inventory import BlobRow
from aurora_blobs.db import Database
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import BlobServiceError, InsufficientStorage, LeaseLost
from aurora_blobs.intake.stale_files import stale_files
from aurora_blobs.leases import Leases
from aurora_blobs.maintenance.shards import SharedPass
from aurora_blobs.maintenance.walk import (
    Finding,
    Losses,
    MayLoseMany,
    check_missing,
    is_loss,
    lost,
    never,
    side_by_side,
)
from aurora_blobs.storage.base import BlobBackend, Stored

_MAX_UPLOAD_AGE = 3_600_000_000  # microseconds; an older row is of no upload under way
_DELETE_STEP = 100  # strays per transaction: short enough that uploads do not wait for long


class Fsck:
    """One check. `seen` and `seen_bytes` count the blobs in the store.

    `shared` says of how much of it.
    """

    def __init__(
        self,
        database: Database,
        backend: BlobBackend,
        spool: Path,
        clock: Callable[[], int],
        *,
        repair: bool,
        may_lose_many: MayLoseMany = never,
        leases: Leases | None = None,
    ) -> None:
        """*repair* repairs all that can be repaired without removing anything of use.

        *may_lose_many* is asked before more than a few blobs are counted as missing. *clock* gives
        microseconds since the epoch, UTC. Nodes that *leases* knows of share the work.
        """
        self._database = database
        self._backend = backend
        self._spool = spool
        self._clock = clock
        self._repair = repair
        with database.read() as tx:
            total, _ = inventory.stored_totals(tx, "")
        self._losses = Losses(total, may_lose_many, repair=repair)
        self.shared = SharedPass(database, "fsck", leases)
        self.seen = 0
        self.seen_bytes = 0

    def run(self) -> Iterator[Finding]:
        """Each finding. Raises BackendUnavailable, BackendTimeout, ServiceBusy."""
        # A missing bucket must not look like one that lost everything. A full one is there.
        with suppress(InsufficientStorage):
            self._backend.probe()
        foreign: list[str] = []
        for shard in self.shared.shards():
            with suppress(LeaseLost):
                yield from self._compare_all(shard.numbers, foreign.append)
        yield from self._losses.finish()
        for name in foreign:
            yield Finding(
                "foreign", name, "lies in the store and is no blob; nothing here knows it"
            )
        yield from self.shared.once("misfits", self._misfits())
        yield from self.shared.once("miscounts", self._miscounts())
        yield from self._stale_uploads()

    @property
    def is_refused(self) -> bool:
        """Whether many blobs would have been counted as missing, and nobody agreed."""
        return self._losses.is_refused

    def _compare_all(self, numbers: range, foreign: Callable[[str], None]) -> Iterator[Finding]:
        for row, stored in side_by_side(self._database, self._backend, numbers, foreign):
            if stored is not None:
                self.seen += 1
                self.seen_bytes += stored.size
            yield from self._compare(row, stored)
            self.shared.keep()

    def _compare(self, row: BlobRow | None, stored: Stored | None) -> Iterator[Finding]:
        finding = None
        if row is None:
            finding = None if stored is None else self._stray(stored)
        elif row.stored_at is None:
            finding = self._not_stored(row, stored)
        elif stored is None and not is_loss(self._database, row):
            finding = self._abandoned(row)
        elif stored is None:
            yield from self._losses.add(partial(self._lost, row))
        elif stored.size != row.size:
            yield from self._losses.add(partial(self._wrong_size, row))
        elif not row.kept and self._is_old(row):
            finding = Finding(
                "unheld", row.cid, "no account holds it; `blobs gc` removes it", leftover=True
            )
        if finding is not None:
            yield finding

    def _is_old(self, row: BlobRow) -> bool:
        """Whether no upload or deletion that made the row so can be under way."""
        return row.created_at < self._clock() - _MAX_UPLOAD_AGE

    def _stray(self, stored: Stored) -> Finding | None:
        with self._database.read() as tx:
            # The collector ends a removal that broke off.
            if blobs.has_name(tx, stored.name) or removals.is_under_way(tx, stored.name):
                return None
        if self._backend.size(stored.name) is None:
            return None
        return Finding(
            "stray",
            stored.name,
            f"{stored.size} bytes without a row; `--delete-strays` removes them",
        )

    def _lost(self, row: BlobRow, repair: bool) -> Finding | None:
        if self._backend.size(row.name) is not None:
            return None
        self._backend.check_ours(recently=True)
        with self._database.write(Spend.ALL) as tx:
            if inventory.find_row(tx, row.cid) != row:
                return None
            if repair:
                blobs.mark_lost(tx, row.cid, self._clock())
        return lost(row.cid, row.size, repaired=repair)

    def _wrong_size(self, row: BlobRow, repair: bool) -> Finding | None:
        with self._database.read() as tx:
            unchanged = inventory.find_row(tx, row.cid) == row
        size = self._backend.size(row.name)
        if not unchanged or size is None or size == row.size:
            return None
        repaired = repair and quarantine(self._database, self._backend, row, self._clock)
        if not repaired:
            # The service refuses it when it is asked; nginx, which does not look, has to ask.
            with self._database.write(Spend.ALL) as tx:
                hide_from_all(tx, row.cid)
            finish_hiding(self._database)
        return Finding(
            "wrong size", row.cid, f"{size} bytes in the store, should be {row.size}", repaired
        )

    def _not_stored(self, row: BlobRow, stored: Stored | None) -> Finding | None:
        if stored is not None:
            return self._unconfirmed(row)
        if row.kept:
            return Finding(
                "missing",
                row.cid,
                f"its {row.size} bytes are known to be lost; an upload brings them back",
            )
        return self._abandoned(row)

    def _abandoned(self, row: BlobRow) -> Finding | None:
        if not self._is_old(row):
            return None  # an upload or a deletion under way
        if self._repair and self._backend.size(row.name) is None:
            with self._database.write(Spend.ALL) as tx:
                if inventory.find_row(tx, row.cid) == row:
                    blobs.forget(tx, row.cid)
        return Finding(
            "abandoned",
            row.cid,
            "a row without bytes that nobody misses; `blobs gc` removes it",
            self._repair,
            leftover=True,
        )

    def _unconfirmed(self, row: BlobRow) -> Finding | None:
        if not row.kept:
            return None  # left to the collector, or an upload under way
        return check_missing(self._database, self._backend, row, self._clock, repair=self._repair)

    def _misfits(self) -> Iterator[Finding]:
        with self._database.read() as tx:
            wrong_sizes = inventory.wrong_sizes(tx)
        for did, cid, stated, actual in wrong_sizes:
            if self._repair:
                with self._database.write(Spend.ALL) as tx:
                    inventory.set_owned_size(tx, did, cid, actual)
                    inventory.recount(tx, did)
            yield Finding(
                "misfit",
                f"{did} {cid}",
                f"the account's row says {stated} bytes, not {actual}",
                self._repair,
            )

    def _miscounts(self) -> Iterator[Finding]:
        with self._database.read() as tx:
            miscounts = inventory.miscounts(tx)
        for wrong in miscounts:
            if self._repair:
                with self._database.write(Spend.ALL) as tx:
                    inventory.recount(tx, wrong.did)
            counted = f"{wrong.blob_count} blobs, {wrong.blob_bytes} bytes"
            right = f"{wrong.right_count} and {wrong.right_bytes}"
            yield Finding(
                "miscount", wrong.did, f"counters say {counted}, rows {right}", self._repair
            )
        with self._database.read() as tx:
            record_miscounts = record_usage.miscounts(tx)
        for found in record_miscounts:
            if self._repair:
                with self._database.write(Spend.ALL) as tx:
                    record_usage.correct(tx, found)
            yield Finding(
                "miscount",
                found.did,
                f"its records are counted as {found.bytes} bytes, they have {found.right_bytes}",
                self._repair,
            )

    def _stale_uploads(self) -> Iterator[Finding]:
        for path, cid in stale_files(self._spool):
            if self._repair:
                if cid is not None:
                    delete_unowned(
                        self._database, self._backend, [cid], self._clock, leftovers=[cid]
                    )
                path.unlink(missing_ok=True)
            yield Finding(
                "stale upload",
                path.name,
                "left in the spool by an upload that died; `blobs gc` removes it",
                self._repair,
                leftover=True,
            )


def exposed(
    database: Database,
    public_links: PublicLinks,
    describe: Callable[[str, str], object],
    *,
    repair: bool,
) -> Iterator[Finding]:
    """Each blob that nginx serves without asking although *describe* refuses it to everybody.

    There are none unless the database was changed by hand.
    """
    for did, cid in public_links.links():
        try:
            describe(did, cid)
        except BlobServiceError as error:
            if repair:
                with database.write(Spend.ALL) as tx:
                    tx.hide(did, cid)
            yield Finding(
                "exposed",
                f"{did} {cid}",
                f"nginx serves it, and should not: {error.message}",
                repair,
            )


def delete_strays(
    database: Database, backend: BlobBackend, names: list[str], clock: Callable[[], int]
) -> list[str]:
    """Remove the bytes under those of *names* that are still no blob's; returns those that went."""
    gone: list[str] = []
    for start in range(0, len(names), _DELETE_STEP):
        # Follows the removal rule of catalog/blobs.py.
        backend.check_ours(recently=True)
        with database.write(Spend.ALL) as tx:
            step = names[start : start + _DELETE_STEP]
            begun = removals.begin(
                tx, [name for name in step if not blobs.has_name(tx, name)], clock()
            )
        failures = finish_removals(database, backend, begun, Spend.ALL)
        gone.extend(removal.name for removal in begun if removal.name not in failures)
    return gone
