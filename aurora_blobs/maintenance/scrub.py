"""Reads and hashes every stored byte, at a limited rate; a run that was stopped can be resumed."""

import time
from collections.abc import Callable, Iterator

from aurora_blobs.blobs.verify import is_intact, quarantine
from aurora_blobs.catalog import inventory, jobs
from aurora_blobs.catalog.inventory import BlobRow
from aurora_blobs.db import Database
from aurora_blobs.maintenance.walk import Finding, Throttle, lost, rows, wrong_bytes
from aurora_blobs.storage.base import BlobBackend

JOB = "scrub"
_SAVE_SECONDS = 5  # between two saved positions: so much is read again after a killed run


class Scrub:
    """One pass, or the rest of one that was stopped.

    `begins_after` is the last CID that was done, empty for a new pass. `blobs` and `bytes` count
    what is left. The row of each intact blob gets the time.
    """

    def __init__(
        self,
        database: Database,
        backend: BlobBackend,
        clock: Callable[[], int],
        *,
        repair: bool,
        bytes_per_second: int,
    ) -> None:
        """*repair* moves wrong bytes to quarantine and marks lost blobs; else all is only reported.

        *clock* gives microseconds since the epoch, UTC.
        """
        self._database = database
        self._backend = backend
        self._clock = clock
        self._repair = repair
        self._throttle = Throttle(bytes_per_second)
        with database.read() as tx:
            self.begins_after = jobs.find_position(tx, JOB) or ""
            self.blobs, self.bytes = inventory.stored_totals(tx, self.begins_after)

    def run(self, progress: Callable[[int], None]) -> Iterator[Finding]:
        """Each finding, as it is made. *progress* gets the size of each blob that is done.

        Raises BackendUnavailable, BackendTimeout, ServiceBusy. The next run resumes there.
        """
        intact: list[str] = []
        saved = time.monotonic()
        for row in rows(self._database, self.begins_after):
            if row.stored_at is not None:
                finding = self._check(row)
                if finding is None:
                    intact.append(row.cid)
                else:
                    yield finding
                progress(row.size)
            if time.monotonic() - saved > _SAVE_SECONDS:
                self._save(intact, row.cid)
                intact.clear()
                saved = time.monotonic()
        with self._database.write() as tx:
            inventory.mark_verified(tx, intact, self._clock())
            jobs.finish(tx, JOB)

    def _save(self, intact: list[str], position: str) -> None:
        with self._database.write() as tx:
            inventory.mark_verified(tx, intact, self._clock())
            jobs.save_position(tx, JOB, position, self._clock())

    def _check(self, row: BlobRow) -> Finding | None:
        right = is_intact(self._backend, row.cid, self._throttle.pause)
        if right:
            return None
        with self._database.read() as tx:
            if inventory.find_row(tx, row.cid) != row:
                return None  # collected or healed meanwhile
        repaired = self._repair and quarantine(self._database, self._backend, row, self._clock)
        if right is None:
            return lost(row.cid, row.size, repaired=repaired)
        return wrong_bytes(row.cid, repaired=repaired)
