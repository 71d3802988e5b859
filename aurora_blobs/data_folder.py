"""Where things lie in the data folder."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The layout of the data folder *path*. A backup is a folder of the same layout.

    Nothing is made here: whatever writes to a place makes its folders.
    """

    path: Path

    def is_there(self) -> bool:
        """Whether it is the folder of a service that has run: it may be one that is not mounted."""
        return self.spool.is_dir()

    @property
    def database(self) -> Path:
        """The SQLite file, unless the setting DATABASE_URL names another."""
        return self.path / "aurora.sqlite3"

    @property
    def blobs(self) -> Path:
        """The store on disk. nginx sends files from it, by the links in `public_links` too."""
        return self.path / "blobs"

    @property
    def spool(self) -> Path:
        """Bodies while they are received.

        Beside `blobs`, on the same file system: a blob gets its name by a hard link, not a copy.
        """
        return self.path / "spool"

    @property
    def parts(self) -> Path:
        """Parts of uploads through the object API, until the last of them has come."""
        return self.path / "parts"

    @property
    def public_links(self) -> Path:
        """Links to blobs and thumbnails that nginx may serve without asking."""
        return self.path / "public"

    def link_target(self, place: str) -> str:
        """The file *place* in `blobs`, as seen from `public_links`: both may move together."""
        return f"../blobs/{place}"

    @property
    def thumbnails(self) -> Path:
        """The cache of derived pictures. nginx sends some, by the links in `public_links`."""
        return self.path / "images"

    def thumbnail_target(self, name: str) -> str:
        """The file *name* in `thumbnails`, as seen from `public_links`."""
        return f"../images/{name}"

    @property
    def thumbnail_rows(self) -> Path:
        """The SQLite file that knows `thumbnails`, where the database is of several machines."""
        return self.path / "images.sqlite3"

    @property
    def jobs(self) -> Path:
        """A file for each job under way, locked by its process."""
        return self.path / "jobs"

    @property
    def reserve(self) -> Path:
        """Files that hold nothing but space, given up last."""
        return self.path / "reserve"

    @property
    def session_secret(self) -> Path:
        """The HS256 secret of session tokens, unless the setting JWT_SECRET has one."""
        return self.path / "jwt.secret"
