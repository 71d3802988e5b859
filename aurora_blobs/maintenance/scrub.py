"""Every byte read and hashed: resumable, at a rate, and each blob remembers when it was last found right."""

import time
from collections.abc import Callable, Iterator

from aurora_blobs.blobs.verify import is_right, quarantine
from aurora_blobs.catalog import inventory, jobs
from aurora_blobs.catalog.inventory import BlobRow
from aurora_blobs.db import Database
from aurora_blobs.maintenance.walk import Finding, Pace, lost, rows, wrong_bytes
from aurora_blobs.storage.base import BlobBackend

JOB = "scrub"
_SAVE_SECONDS = 5  # what a killed run reads again at most


class Scrub:
    """One pass, or the rest of one that broke off: `begins_after` is then the last CID that was done."""

    def __init__(
        self,
        database: Database,
        backend: BlobBackend,
        clock: Callable[[], int],
        *,
        repair: bool,
        bytes_per_second: int,
    ) -> None:
        """*repair* sets wrong bytes aside and notes losses; without it they are only reported."""
        self._database = database
        self._backend = backend
        self._clock = clock
        self._repair = repair
        self._pace = Pace(bytes_per_second)
        with database.read() as tx:
            self.begins_after = jobs.find_position(tx, JOB) or ""
            self.blobs, self.bytes = inventory.stored_totals(tx, self.begins_after)

    def run(self, progress: Callable[[int], None]) -> Iterator[Finding]:
        """Each finding, as it is made; *progress* gets the size of each blob that is done.

        Raises BackendUnavailable, BackendTimeout, ServiceBusy; the next run goes on where this one broke off.
        """
        right: list[str] = []
        saved = time.monotonic()
        for row in rows(self._database, self.begins_after):
            if row.stored_at is not None:
                finding = self._look_at(row)
                if finding is None:
                    right.append(row.cid)
                else:
                    yield finding
                progress(row.size)
            if time.monotonic() - saved > _SAVE_SECONDS:
                self._save(right, row.cid)
                right.clear()
                saved = time.monotonic()
        with self._database.write() as tx:
            inventory.mark_verified(tx, right, self._clock())
            jobs.finish(tx, JOB)

    def _save(self, right: list[str], position: str) -> None:
        with self._database.write() as tx:
            inventory.mark_verified(tx, right, self._clock())
            jobs.save_position(tx, JOB, position, self._clock())

    def _look_at(self, row: BlobRow) -> Finding | None:
        right = is_right(self._backend, row.cid, self._pace.spend)
        if right:
            return None
        with self._database.read() as tx:
            if inventory.find_row(tx, row.cid) != row:
                return None  # collected, or healed, meanwhile
        repaired = self._repair and quarantine(self._database, self._backend, row, self._clock)
        if right is None:
            return lost(row.cid, row.size, repaired=repaired)
        return wrong_bytes(row.cid, repaired=repaired)
