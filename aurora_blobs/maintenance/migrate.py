"""Copies every blob from one store to another while the service runs, through the one door in."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aurora_blobs.catalog import inventory
from aurora_blobs.catalog.inventory import BlobRow
from aurora_blobs.db import Database
from aurora_blobs.errors import BlobNotFound, UploadIncomplete
from aurora_blobs.intake.spool import spooled
from aurora_blobs.maintenance.walk import Finding, side_by_side
from aurora_blobs.storage.base import BlobBackend

_UNKNOWN_TYPE = "application/octet-stream"


@dataclass(slots=True)
class Progress:
    """How far a copy is: what the target should hold, and what it does, in blobs and bytes."""

    blobs: int = 0
    bytes: int = 0
    done_blobs: int = 0
    done_bytes: int = 0
    copied_blobs: int = 0
    copied_bytes: int = 0


class Migration:
    """A copy from *source* to *target* of all that has a row. It can be stopped anywhere and run again."""

    def __init__(
        self,
        database: Database,
        source: BlobBackend,
        target: BlobBackend,
        spool: Path,
        *,
        jobs: int,
    ) -> None:
        self._database = database
        self._source = source
        self._target = target
        self._spool = spool
        self._jobs = jobs
        with database.read() as tx:
            self.progress = Progress(*inventory.stored_totals(tx, ""))
        self._advance: Callable[[int], None] = lambda size: None

    def run(self, advance: Callable[[int], None]) -> Iterator[Finding]:
        """Copy what *target* does not have in its right size; *advance* gets the size of each blob that it has.

        Yields what could not be copied. Raises BackendUnavailable, BackendTimeout, ServiceBusy, InsufficientStorage.
        """
        self._target.probe()
        self._spool.mkdir(parents=True, exist_ok=True)
        self._advance = advance
        with _pool(self._jobs) as pool:
            waiting: deque[tuple[BlobRow, Future[Finding | None]]] = deque()
            for row in self._wanted():
                # A handful ahead of what is done, so that a store of any size fits in memory.
                if len(waiting) >= 4 * self._jobs:
                    yield from self._settle(*waiting.popleft())
                waiting.append((row, pool.submit(self._copy, row)))
            while waiting:
                yield from self._settle(*waiting.popleft())

    def verify(self) -> Iterator[Finding]:
        """What *target* lacks by now, or has in another size, of all that has a row."""
        for row, stored in side_by_side(self._database, self._target):
            if (
                row is None
                or row.stored_at is None
                or (stored is not None and stored.size == row.size)
            ):
                continue
            if self._still_wanted(row) and self._target.size(row.cid) != row.size:
                yield Finding(
                    "not copied", row.cid, f"its {row.size} bytes are not in the new store yet"
                )

    def _wanted(self) -> Iterator[BlobRow]:
        for row, stored in side_by_side(self._database, self._target):
            if row is None or row.stored_at is None:
                continue
            if stored is not None and stored.size == row.size:
                self._done(row)
            else:
                yield row

    def _settle(self, row: BlobRow, copied: "Future[Finding | None]") -> Iterator[Finding]:
        finding = copied.result()
        if finding is not None:
            yield finding
            return
        self._done(row)
        self.progress.copied_blobs += 1
        self.progress.copied_bytes += row.size

    def _done(self, row: BlobRow) -> None:
        self.progress.done_blobs += 1
        self.progress.done_bytes += row.size
        self._advance(row.size)

    def _copy(self, row: BlobRow) -> Finding | None:
        try:
            with (
                self._source.open(row.cid) as file,
                spooled(
                    file,
                    folder=self._spool,
                    inspect=lambda head: row.mime_type or _UNKNOWN_TYPE,
                    max_bytes=row.size,
                    declared_size=row.size,
                ) as blob,
            ):
                if blob.cid != row.cid:
                    return Finding(
                        "wrong bytes", row.cid, "not copied: `blobs scrub --repair` sets them aside"
                    )
                self._target.put(blob)
        except BlobNotFound:
            return self._gone(row)
        except UploadIncomplete:
            return Finding(
                "wrong size", row.cid, "not copied: `blobs fsck --repair` sets its bytes aside"
            )
        if not self._still_wanted(row):
            self._take_back(row.cid)
        return None

    def _gone(self, row: BlobRow) -> Finding | None:
        if self._target.size(row.cid) == row.size or not self._still_wanted(row):
            return None  # uploaded to the new store, or collected, meanwhile
        return Finding("lost", row.cid, f"its {row.size} bytes are in neither store")

    def _still_wanted(self, row: BlobRow) -> bool:
        with self._database.read() as tx:
            now = inventory.find_row(tx, row.cid)
        return now is not None and now.stored_at is not None

    def _take_back(self, cid: str) -> None:
        # Collected while it was copied: by the locking rule of catalog/blobs.py.
        with self._database.write() as tx:
            if inventory.find_row(tx, cid) is None:
                self._target.delete(cid)


@contextmanager
def _pool(jobs: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(jobs)
    try:
        yield pool
    finally:
        # After a failure what has not begun is not begun any more.
        pool.shutdown(cancel_futures=True)
