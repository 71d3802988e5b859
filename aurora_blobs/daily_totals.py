"""Counts uploads and refusals by day, for plots: in memory, and every few seconds in the database.

No upload waits for it, and a refusal costs no row. A process that is killed takes what it has
counted since then with it.
"""

import logging
import threading
from collections.abc import Callable, Iterable

from aurora_blobs.catalog import daily_totals
from aurora_blobs.catalog.daily_totals import DAY, DailyTotal
from aurora_blobs.db import Database, row_key
from aurora_blobs.errors import BlobServiceError, DatabaseError

log = logging.getLogger(__name__)

SECONDS = 10.0  # between two times that it is written; a guess


class DailyTotals:
    """What a process has counted, and what all have. *clock* gives microseconds since the epoch."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._counted: dict[int, DailyTotal] = {}  # by day

    def count(self, size: int | None) -> None:
        """Count an upload of *size* bytes; None is one that was refused."""
        day = self._clock() // DAY * DAY
        with self._lock:
            counted = self._of(day)
            if size is None:
                counted.refusals += 1
            else:
                counted.uploads += 1
                counted.bytes += size

    def last(self, limit: int) -> list[DailyTotal]:
        """The last *limit* days on which anything happened, the newest first."""
        return daily_totals.last(self._database.one_shot(), limit)

    def write(self) -> None:
        """Write down what was counted. What cannot be written is kept for the next time."""
        with self._lock:
            counted, self._counted = self._counted, {}
        if not counted:
            return
        try:
            with self._database.write(keys=(row_key("daily_total"),)) as tx:
                for total in counted.values():
                    daily_totals.add(tx, total)
        except (OSError, DatabaseError, BlobServiceError) as error:
            self._keep(counted.values())
            log.info("uploads by day are written later: %s", error)

    def start(self) -> None:
        """Write every few seconds, in a thread, for as long as the process lives."""
        threading.Thread(
            target=self.run, args=(threading.Event(),), name="daily totals", daemon=True
        ).start()

    def run(self, stop: threading.Event) -> None:
        """Write every few seconds, until *stop*."""
        while not stop.wait(SECONDS):
            self.write()

    def _keep(self, totals: Iterable[DailyTotal]) -> None:
        with self._lock:
            for more in totals:
                counted = self._of(more.day)
                counted.uploads += more.uploads
                counted.bytes += more.bytes
                counted.refusals += more.refusals

    def _of(self, day: int) -> DailyTotal:
        # Each upload comes here. A total that stays the same object takes 1 us, new ones 3.6
        # (measured).
        counted = self._counted.get(day)
        if counted is None:
            counted = self._counted[day] = DailyTotal(day, 0, 0, 0)
        return counted
