"""The database seam: transactions of plain SQL. Each engine has a module."""

import os
from pathlib import Path

from aurora_blobs.config import ConfigError, is_postgresql
from aurora_blobs.data_folder import DataFolder
from aurora_blobs.db.keys import Key as Key
from aurora_blobs.db.keys import account_key as account_key
from aurora_blobs.db.keys import blob_key as blob_key
from aurora_blobs.db.keys import row_key as row_key
from aurora_blobs.db.seam import NO_RESERVE
from aurora_blobs.db.seam import SCHEMA as SCHEMA
from aurora_blobs.db.seam import SCHEMA_VERSION as SCHEMA_VERSION
from aurora_blobs.db.seam import STEP_BYTES as STEP_BYTES
from aurora_blobs.db.seam import STEP_ROWS as STEP_ROWS
from aurora_blobs.db.seam import CommitHook as CommitHook
from aurora_blobs.db.seam import Database as Database
from aurora_blobs.db.seam import DatabaseRefused as DatabaseRefused
from aurora_blobs.db.seam import Row as Row
from aurora_blobs.db.seam import Transaction as Transaction
from aurora_blobs.db.seam import no_hook as no_hook
from aurora_blobs.db.sqlite import SqliteDatabase as SqliteDatabase
from aurora_blobs.db.wrapped import WrappedDatabase as WrappedDatabase
from aurora_blobs.disk_space import DiskSpace
from aurora_blobs.storage.group_fsync import make_folder

CONNECTIONS = 8  # to PostgreSQL, per process


def open_database(
    url: str,
    *,
    durable: bool,
    before_commit: CommitHook = no_hook,
    space: DiskSpace = NO_RESERVE,
    connections: int = CONNECTIONS,
    prepares: bool = True,
) -> Database:
    """The database at *url*, ``sqlite:PATH`` or ``postgresql://…``. `Database.upgrade` makes it.

    *durable*: a commit is on the disk when it returns, else when the kernel or the server writes
    it. *space* has the reserve for a full disk. Each commit of `Database.write` runs inside
    *before_commit*. *connections* is how many a process may have to PostgreSQL. It *prepares*
    statements there, unless a pooler gives each transaction another session.

    Raises ConfigError for a URL that PostgreSQL's library does not read, and without psycopg.
    """
    if not is_postgresql(url):
        return SqliteDatabase(
            sqlite_path(url), durable=durable, before_commit=before_commit, space=space
        )
    try:
        from aurora_blobs.db.postgresql import PostgresqlDatabase
    except ImportError as error:
        raise ConfigError(
            f"PostgreSQL needs psycopg: install the extra postgresql of aurora_blobs ({error})"
        ) from error
    return PostgresqlDatabase(
        url,
        durable=durable,
        before_commit=before_commit,
        space=space,
        connections=connections,
        prepares=prepares,
    )


def disk_space(url: str, data_folder: DataFolder, size_bytes: int) -> DiskSpace:
    """The reserve of *size_bytes* on the disk of *data_folder*, and on the database's if another.

    Both folders are made where they are missing, their names on the disk. Raises OSError.
    """
    wanted = [(data_folder.path, (data_folder.reserve, data_folder.spool))]
    if not is_postgresql(url):
        database = sqlite_path(url)
        wanted.append((database.parent, (Path(f"{database}-reserve"), database)))
    places: dict[int, tuple[Path, Path]] = {}
    for folder, place in wanted:
        if not folder.is_dir():
            make_folder(folder)
        places.setdefault(os.stat(folder).st_dev, place)
    return DiskSpace(list(places.values()), size_bytes)


def is_there(url: str) -> bool:
    """Whether there is a database at *url*. Raises as `open_database` and `Database` do."""
    if not is_postgresql(url):
        return sqlite_path(url).exists()
    database = open_database(url, durable=True, connections=1)
    try:
        return database.version() is not None
    finally:
        database.close()


def sqlite_path(url: str) -> Path:
    """The file of the database at *url*, ``sqlite:PATH``."""
    return Path(url.removeprefix("sqlite:"))
