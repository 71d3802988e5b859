"""Copies every blob from one store to another, through the spool, while the service runs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aurora_blobs.blobs.deletion import delete_unowned
from aurora_blobs.catalog import inventory
from aurora_blobs.catalog.inventory import BlobRow
from aurora_blobs.db import Database
from aurora_blobs.errors import BlobNotFound, UploadIncomplete
from aurora_blobs.intake.spool import spooled
from aurora_blobs.maintenance.parallel import in_order
from aurora_blobs.maintenance.shards import SHARDS
from aurora_blobs.maintenance.walk import Finding, is_loss, side_by_side
from aurora_blobs.media.signatures import UNKNOWN
from aurora_blobs.protocol.syntax import stated_mime_type
from aurora_blobs.storage.base import BlobBackend


@dataclass(slots=True)
class Progress:
    """How far a copy is: what the target should hold, what it holds, and what was copied now."""

    blobs: int = 0
    bytes: int = 0
    done_blobs: int = 0
    done_bytes: int = 0
    copied_blobs: int = 0
    copied_bytes: int = 0


class Migration:
    """A copy of all blobs with a row from *source* to *target*.

    It can be stopped at any time and run again.
    """

    def __init__(
        self,
        database: Database,
        source: BlobBackend,
        target: BlobBackend,
        spool: Path,
        clock: Callable[[], int],
        *,
        jobs: int,
        set_aside: Callable[[BlobRow], bool] = lambda row: False,
    ) -> None:
        """*set_aside* gets the row of a blob whose bytes in *source* are wrong.

        It removes them from use and says whether it did. *clock* gives microseconds since the
        epoch, UTC.
        """
        self._database = database
        self._source = source
        self._target = target
        self._spool = spool
        self._clock = clock
        self._jobs = jobs
        self._set_aside = set_aside
        with database.read() as tx:
            self.progress = Progress(*inventory.stored_totals(tx, ""))
        self._advance: Callable[[int], None] = lambda size: None

    def run(self, advance: Callable[[int], None]) -> Iterator[Finding]:
        """Copy what the target lacks or has in another size; yields what could not be copied.

        *advance* gets the size of each blob that the target has.

        Raises BackendUnavailable, BackendTimeout, ServiceBusy, InsufficientStorage.
        """
        self._source.confirm()
        self._target.probe()
        self._spool.mkdir(parents=True, exist_ok=True)
        self._advance = advance
        for row, finding in in_order(self._copy, self._left(), self._jobs):
            if finding is not None:
                yield finding
                continue
            self._count(row)
            self.progress.copied_blobs += 1
            self.progress.copied_bytes += row.size

    def verify(self) -> Iterator[Finding]:
        """Each blob with a row that the target lacks or has in another size."""
        for row, is_copied in self._stored_rows():
            if is_copied or not self._is_still_stored(row):
                continue
            if self._target.size(row.name) != row.size and is_loss(self._database, row):
                yield Finding(
                    "not copied", row.cid, f"its {row.size} bytes are not in the new store yet"
                )

    def _stored_rows(self) -> Iterator[tuple[BlobRow, bool]]:
        """The row of each stored blob, and whether the target has the blob."""
        for row, stored in side_by_side(self._database, self._target, range(SHARDS)):
            if row is not None and row.stored_at is not None:
                yield row, stored is not None and stored.size == row.size

    def _left(self) -> Iterator[BlobRow]:
        """The row of each blob that the target lacks; the others are counted."""
        for row, is_copied in self._stored_rows():
            if is_copied:
                self._count(row)
            else:
                yield row

    def _count(self, row: BlobRow) -> None:
        self.progress.done_blobs += 1
        self.progress.done_bytes += row.size
        self._advance(row.size)

    def _copy(self, row: BlobRow) -> Finding | None:
        try:
            with (
                self._source.open(row.name) as file,
                spooled(
                    file,
                    folder=self._spool,
                    space=self._database.space,
                    inspect=lambda head: stated_mime_type(row.mime_type) or UNKNOWN,
                    max_bytes=row.size,
                    declared_size=row.size,
                ) as blob,
            ):
                if blob.cid != row.cid:
                    return self._wrong("wrong bytes", row)
                blob.name = row.name
                self._target.put(blob)
        except BlobNotFound:
            return self._not_found(row)
        except UploadIncomplete:
            return self._wrong("wrong size", row)
        if not self._is_still_stored(row):
            # The blob was collected while it was copied.
            delete_unowned(self._database, self._target, [], self._clock, leftovers=[row.name])
        return None

    def _wrong(self, kind: str, row: BlobRow) -> Finding:
        return Finding(kind, row.cid, "not copied: not those of its CID", self._set_aside(row))

    def _not_found(self, row: BlobRow) -> Finding | None:
        if self._target.size(row.name) == row.size or not self._is_still_stored(row):
            return None  # uploaded to the new store or collected meanwhile
        if not is_loss(self._database, row):
            return None  # a deletion died before it was done
        return Finding("lost", row.cid, f"its {row.size} bytes are in neither store")

    def _is_still_stored(self, row: BlobRow) -> bool:
        with self._database.read() as tx:
            now = inventory.find_row(tx, row.cid)
        return now is not None and now.stored_at is not None and now.name == row.name
