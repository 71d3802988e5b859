"""Copies database and blobs into a folder, and back.

The database is copied first. A blob is stored before its row is written and removed after it, so
each row in the copy has its bytes, unless the collector has removed them since. Blobs never change,
so a second backup into the same folder copies only new ones.
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

# Shows the progress of a job whose totals it gets; the result gets the size of each blob done.
ShowProgress = Callable[[Progress], Callable[[int], None]]


class Backup:
    """The backup in *folder*. `progress` is that of the last run."""

    def __init__(self, folder: Path) -> None:
        self._folder = DataFolder(folder)
        self.progress = Progress()

    def exists(self) -> bool:
        """Whether there is a backup."""
        return self._folder.database.is_file()

    def make(
        self, database: Database, backend: BlobBackend, jobs: int, show: ShowProgress
    ) -> Iterator[Finding]:
        """Bring the folder up to date; yields what could not be copied."""
        self._folder.path.mkdir(parents=True, exist_ok=True)
        copy = self._folder.database.with_suffix(".sqlite3.part")
        copy.unlink(missing_ok=True)
        database.copy_to(copy)
        copy.rename(self._folder.database)
        target = DiskBackend(self._folder.blobs, durable=True)
        yield from self._copy_blobs(backend, target, self._folder.spool, jobs, show)

    def restore(
        self,
        database: Database,
        backend: BlobBackend,
        spool: Path,
        jobs: int,
        show: ShowProgress,
    ) -> Iterator[Finding]:
        """Put everything back; yields what could not be put back. The service must not run."""
        with _opened(self._folder.database) as saved:
            saved.copy_to(database.path)
        source = DiskBackend(self._folder.blobs, durable=False)
        yield from self._copy_blobs(source, backend, spool, jobs, show)

    def _copy_blobs(
        self,
        source: BlobBackend,
        target: BlobBackend,
        spool: Path,
        jobs: int,
        show: ShowProgress,
    ) -> Iterator[Finding]:
        # By the rows of the copied database: it does not know blobs that were uploaded since.
        with _opened(self._folder.database) as saved:
            job = Migration(saved, source, target, spool, jobs=jobs)
            self.progress = job.progress
            yield from job.run(show(job.progress))


def _opened(path: Path) -> closing[Database]:
    return closing(open_database(f"sqlite:{path}", durable=True))
