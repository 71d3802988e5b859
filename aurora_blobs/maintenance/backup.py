"""A copy of database and blobs in a folder, and the way back.

The database first: a blob is in the store before a row says so, and is removed after its row, so that every row of the
copy finds its bytes, unless the collector removed them since. Blobs never change, so a second backup into the same
folder copies what is new.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from aurora_blobs.data_folder import DataFolder
from aurora_blobs.db import Database, open_database
from aurora_blobs.maintenance.migrate import Migration, Progress
from aurora_blobs.maintenance.walk import Finding
from aurora_blobs.storage.base import BlobBackend
from aurora_blobs.storage.disk import DiskBackend

Begin = Callable[[Progress], Callable[[int], None]]


class Backup:
    """The folder of one."""

    def __init__(self, folder: Path) -> None:
        self._folder = DataFolder(folder)
        self.progress = Progress()

    def exists(self) -> bool:
        """Whether there is one."""
        return self._folder.database.is_file()

    def make(
        self, database: Database, backend: BlobBackend, jobs: int, begin: Begin
    ) -> Iterator[Finding]:
        """Bring the folder up to date; what could not be copied. *begin* gets the totals and gives what to advance."""
        self._folder.path.mkdir(parents=True, exist_ok=True)
        copy = self._folder.database.with_suffix(".sqlite3.part")
        copy.unlink(missing_ok=True)
        database.copy_to(copy)
        copy.rename(self._folder.database)
        target = DiskBackend(self._folder.blobs, durable=True)
        yield from self._move(backend, target, self._folder.spool, jobs, begin)

    def restore(
        self,
        database: Database,
        backend: BlobBackend,
        spool: Path,
        jobs: int,
        begin: Begin,
    ) -> Iterator[Finding]:
        """Put everything back; the service must not run. What could not be put back."""
        with _opened(self._folder.database) as saved:
            saved.copy_to(database.path)
        source = DiskBackend(self._folder.blobs, durable=False)
        yield from self._move(source, backend, spool, jobs, begin)

    def _move(
        self,
        source: BlobBackend,
        target: BlobBackend,
        spool: Path,
        jobs: int,
        begin: Begin,
    ) -> Iterator[Finding]:
        # By the rows of the copy: what was uploaded since is not in it, and nothing of it may be missing.
        with _opened(self._folder.database) as saved:
            job = Migration(saved, source, target, spool, jobs=jobs)
            self.progress = job.progress
            yield from job.run(begin(job.progress))


def _opened(path: Path) -> closing[Database]:
    return closing(open_database(f"sqlite:{path}", durable=True))
