"""Copies database and blobs into a folder, and back.

The database is copied first. A blob is stored before its row is written and removed after it, so
each row in the copy has its bytes, unless the collector has removed them since. Blobs never change,
so a second backup into the same folder copies only new ones.
"""

import glob
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from aurora_blobs.blobs.store_marks import copy_mark, guard_stores, hand_over_stores
from aurora_blobs.blobs.verify import quarantine
from aurora_blobs.catalog import accounts
from aurora_blobs.catalog import jobs as job_rows
from aurora_blobs.data_folder import DataFolder
from aurora_blobs.db import SCHEMA, Database, DatabaseRefused, SqliteDatabase, open_database
from aurora_blobs.db.replacement import check_unused, copy_checked, remove, replace
from aurora_blobs.errors import DatabaseError
from aurora_blobs.maintenance.migrate import Migration, Progress
from aurora_blobs.maintenance.walk import Finding
from aurora_blobs.storage.base import BlobBackend
from aurora_blobs.storage.disk import DiskBackend
from aurora_blobs.storage.group_fsync import make_folder

_LOOKED_FOR = 100  # accounts of the backup that is there, in the database that is to replace it
# Shows the progress of a job whose totals it gets; the result gets the size of each blob done.
ShowProgress = Callable[[Progress], Callable[[int], None]]


class Backup:
    """The backup in *folder*. `progress` is that of the last run.

    `kept` is where a restore has put the database that was there before; None if there was none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = DataFolder(folder)
        self.progress = Progress()
        self.kept: Path | None = None

    def exists(self) -> bool:
        """Whether there is a backup."""
        return self._folder.database.is_file()

    def make(
        self,
        database: Database,
        backend: BlobBackend,
        jobs: int,
        show: ShowProgress,
        clock: Callable[[], int],
    ) -> Iterator[Finding]:
        """Bring the folder up to date; yields what could not be copied."""
        self.copy_database(database)
        target = DiskBackend(self._folder.blobs, durable=True)
        target.prepare()
        # By the rows of the copied database: it does not know blobs that were uploaded since.
        with _opened(self._folder.database) as saved:
            with saved.write() as tx:
                job_rows.forget_unended(tx)  # this run too
            job = Migration(
                saved,
                backend,
                target,
                self._folder.spool,
                clock,
                jobs=jobs,
                set_aside=lambda row: quarantine(database, backend, row, clock),
            )
            self.progress = job.progress
            yield from job.run(show(job.progress))
            # The folder is one that a service can run on.
            copy_mark(saved, target)

    def copy_database(self, database: Database) -> None:
        """Bring the database in the folder up to date, and no blob.

        It may be of an older version. Raises DatabaseRefused, with nothing changed, if most
        accounts of the backup that is there are unknown to *database*.
        """
        self._refuse_another(database)
        self._folder.path.mkdir(parents=True, exist_ok=True)
        copy = self._folder.database.with_suffix(".sqlite3.part")
        remove(copy)
        database.copy_to(copy)
        copy.rename(self._folder.database)

    def _refuse_another(self, database: Database) -> None:
        """A service that began anew by mistake would replace the only copy of what was lost."""
        dids: list[str] = []
        if self.exists():
            with (
                suppress(DatabaseError),
                _opened(self._folder.database) as saved,
                saved.read() as tx,
            ):
                dids = accounts.some_dids(tx, _LOOKED_FOR)
        with database.read() as tx:
            known = sum(accounts.is_known(tx, did) for did in dids)
        if 2 * known < len(dids):
            raise DatabaseRefused(
                f"{self._folder.path} has the backup of another database: of {len(dids)} accounts "
                f"in it that were looked for, this one has {known}. Give another folder; or, if it "
                f"is to be replaced, remove {self._folder.database} first"
            )

    def restore(
        self,
        database: Database,
        backend: BlobBackend,
        spool: Path,
        jobs: int,
        show: ShowProgress,
        clock: Callable[[], int],
        *,
        before_swap: Callable[[], None] = lambda: None,
    ) -> Iterator[Finding]:
        """Put everything back; yields what could not be put back. The service must not run.

        The database takes the place of the present one last, when it was looked at and the blobs
        are back. *before_swap* is called right before that. `kept` says where the present one is.
        A file of SQLite may be of any version, damaged, or not there.

        Raises DatabaseRefused, with nothing changed but blobs that may have come back.
        """
        place = DataFolder(spool.parent).database  # beside it, where the database is in a server
        if isinstance(database, SqliteDatabase):
            place = database.path
            is_there = place.exists()
            database.close()
            check_unused(place)  # before hours of copying
        else:
            is_there = database.version() is not None
            database.upgrade(SCHEMA.read_text())
        _make_folder(place.parent)
        copy = place.with_name(f"{place.name}.restore-{secrets.token_hex(8)}")
        copy_checked(self._folder.database, copy, SCHEMA.read_text())
        try:
            with _opened(copy) as saved:
                hand_over_stores(database if is_there else None, saved, backend, clock)
                source = DiskBackend(self._folder.blobs, durable=False)
                job = Migration(saved, source, backend, spool, clock, jobs=jobs)
                self.progress = job.progress
                yield from job.run(show(job.progress))
            before_swap()
            self.kept = replace(database, copy, place if is_there else None)
        finally:
            remove(copy)
        _remove_copies(place)
        guard_stores(database, backend, clock)


def _remove_copies(place: Path) -> None:
    """Remove what restores that were killed have left beside *place*."""
    for left in place.parent.glob(f"{glob.escape(place.name)}.restore-" + "[0-9a-f]" * 16):
        with suppress(DatabaseRefused):  # another restore has it
            check_unused(left)
            remove(left)


def _make_folder(path: Path) -> None:
    try:
        make_folder(path)
    except OSError as error:
        raise DatabaseRefused(f"{path} cannot be made: {error.strerror}") from error


def _opened(path: Path) -> closing[Database]:
    return closing(open_database(f"sqlite:{path}", durable=True))
