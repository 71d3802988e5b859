"""Puts a saved database file in place of the present one: looked at first, the old one kept."""

import os
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from aurora_blobs.config import ConfigError
from aurora_blobs.db.copying import take_from_file
from aurora_blobs.db.seam import SCHEMA_VERSION, Database, DatabaseRefused
from aurora_blobs.db.sqlite import SqliteDatabase, add_functions, stated_version, statements
from aurora_blobs.regular_files import NotRegular, open_regular
from aurora_blobs.storage.group_fsync import sync_file, sync_folder

_HEADER = b"SQLite format 3\0"
# Those of the first release. An upgrade makes what came later.
_FIRST_TABLES = frozenset(
    {
        *("account", "blob", "blob_metadata", "blob_start", "deleted_account", "derivative"),
        *("identity", "job", "record", "record_blob", "schema_version", "seen_token", "session"),
        *("takedown", "total", "usage_counter"),
    }
)
_STATISTICS = frozenset({"sqlite_stat1", "sqlite_stat4"})  # made by ANALYZE, for the planner
_SHOWN = 60  # characters of a name that somebody else chose

# A table or index: its kind, its table, and what it is made of.
_Shape = tuple[Any, ...]


def copy_checked(source: Path, copy: Path, schema: str) -> None:
    """Make *copy*, a new file, a copy of the database file *source*, brought to *schema*.

    *source* is only read. Its tables, indexes and version are those of this program: of *schema*,
    or of an older one that the statements of *schema* complete. Triggers and views are none of
    ours, and would run with every write.

    Raises DatabaseRefused, and leaves no copy.
    """
    try:
        _copy(source, copy)
        _copy_log(source, copy)
        try:
            _check(source, copy, schema)
        except sqlite3.Error as error:
            raise DatabaseRefused(f"{source} is damaged, or no database: {error}") from error
        except ConfigError as error:
            raise DatabaseRefused(f"{source}: {error}") from error
    except OSError as error:
        remove(copy)
        raise DatabaseRefused(
            f"{source} cannot be copied to {copy.parent}: {error.strerror}"
        ) from error
    except DatabaseRefused:
        remove(copy)
        raise


def check_unused(live: Path) -> None:
    """Raise DatabaseRefused if somebody has the database *live* open."""
    if live.exists():
        _empty_log(live)


def put_in_place(copy: Path, live: Path) -> Path | None:
    """Have the database *copy* take the place of *live*, at once; where the old one is now.

    Nobody may use either of them. Raises DatabaseRefused, with *live* as it was, if somebody does.
    """
    live = live.resolve()
    kept = None
    if live.exists():
        kept = _unused_name(live)
        if not _empty_log(live):
            _move_log(live, kept)
        try:
            os.link(live, kept)  # so that there is a database at any time
        except OSError:  # a file system without hard links
            os.rename(live, kept)
    sync_file(copy)
    os.replace(copy, live)
    sync_folder(live.parent)
    return kept


def replace(database: Database, copy: Path, kept: Path | None) -> Path | None:
    """Have the database file *copy* take the place of what is in *database*; where that is now.

    Nobody may use either of them. *kept* has the name of the file that keeps what was in a server;
    None: nothing was.

    Raises DatabaseRefused, with *database* as it was.
    """
    database.close()
    if isinstance(database, SqliteDatabase):
        return put_in_place(copy, database.path)
    if kept is not None:
        kept = _unused_name(kept)
        try:
            database.copy_to(kept)
        except BaseException:
            remove(kept)
            raise
    take_from_file(database, copy)
    return kept


def remove(copy: Path) -> None:
    """Remove the database file *copy* and what SQLite and the service put beside it."""
    for suffix in ("", "-wal", "-shm", "-journal", "-lock"):
        with suppress(FileNotFoundError):
            os.unlink(f"{copy}{suffix}")


def _copy(source: Path, copy: Path) -> None:
    try:
        original = open_regular(source, follow_links=False)
    except NotRegular:
        raise DatabaseRefused(f"{source} is no regular file") from None
    with original:
        target = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(target, "wb") as file:
            shutil.copyfileobj(original, file, 1024 * 1024)
            file.flush()
            os.fdatasync(target)


def _copy_log(source: Path, copy: Path) -> None:
    """Copy the newest commits, which a file that was copied by hand has beside it."""
    with suppress(FileNotFoundError):
        _copy(Path(f"{source}-wal"), Path(f"{copy}-wal"))


def _check(source: Path, copy: Path, schema: str) -> None:
    with copy.open("rb") as file:
        if file.read(len(_HEADER)) != _HEADER:
            raise DatabaseRefused(f"{source} is no database, or an empty one")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as scratch:
        add_functions(scratch)
        for statement in statements(schema):
            scratch.execute(statement)
        expected = _shapes(scratch)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        # Names first: what is none of ours must not run in what follows.
        found = _shapes(connection)
        for name, (kind, *_) in found.items():
            if expected.get(name, (None,))[0] != kind:
                shown = str(name)[:_SHOWN]
                raise DatabaseRefused(f"{source} has a {kind} {shown!r}, which is not ours")
        missing = _FIRST_TABLES - found.keys()
        if missing:
            raise DatabaseRefused(f"{source} has no table {min(missing)!r}: it is not ours")
        _check_version(source, connection)
        [(verdict,)] = connection.execute("PRAGMA integrity_check(1)").fetchall()
        if verdict != "ok":
            raise DatabaseRefused(f"{source} is damaged: {verdict}")
    database = SqliteDatabase(copy, durable=True)
    try:
        database.upgrade(schema)
    finally:
        database.close()
        with suppress(FileNotFoundError):
            os.unlink(f"{copy}-lock")
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        upgraded = _shapes(connection)
    for name, shape in expected.items():
        if upgraded.get(name) != shape:
            raise DatabaseRefused(f"{source}: {shape[0]} {name!r} is not as ours is")


def _check_version(source: Path, connection: sqlite3.Connection) -> None:
    version = stated_version(connection)
    if version is None:
        raise DatabaseRefused(f"{source} does not say which version its schema has")
    if version > SCHEMA_VERSION:
        raise DatabaseRefused(
            f"{source} has schema version {version}, this program knows up to {SCHEMA_VERSION}: "
            "restore it by the newer program, or take a backup of before"
        )


def _shapes(connection: sqlite3.Connection) -> dict[str, _Shape]:
    """Everything in the schema, by its name: its kind and what it is made of."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return {
        name: (kind, table, *_parts(connection, kind, name, table, sql))
        for kind, name, table, sql in rows
        if name not in _STATISTICS
    }


def _parts(
    connection: sqlite3.Connection, kind: str, name: str, table: str, sql: str | None
) -> _Shape:
    text = " ".join((sql or "").upper().split())
    if kind == "table":
        columns = connection.execute(
            """
            SELECT name, type, "notnull", dflt_value, pk, hidden
              FROM pragma_table_xinfo(?)
             ORDER BY name
            """,
            (name,),
        ).fetchall()
        keys = connection.execute(
            """
            SELECT "table", "from", "to", on_update, on_delete
              FROM pragma_foreign_key_list(?)
             ORDER BY "from"
            """,
            (name,),
        ).fetchall()
        # Virtual tables begin otherwise, STRICT and WITHOUT ROWID come last.
        return columns, keys, text.split(" ")[:2], text.rpartition(")")[2]
    if kind == "index":
        columns = connection.execute(
            "SELECT name, desc, coll, key FROM pragma_index_xinfo(?) ORDER BY seqno", (name,)
        ).fetchall()
        flags = connection.execute(
            'SELECT "unique", partial FROM pragma_index_list(?) WHERE name = ?', (table, name)
        ).fetchall()
        return columns, flags, text.partition(" WHERE ")[2]
    return ()


def _empty_log(live: Path) -> bool:
    """Have all of *live* in its file: what is in its log belongs to it, not to its successor.

    False where it is damaged, which may be why it is replaced.
    """
    try:
        with closing(sqlite3.connect(live, isolation_level=None, timeout=1)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.OperationalError as error:
        raise DatabaseRefused(f"{live} cannot be put aside: {error}") from error
    except sqlite3.DatabaseError:
        return False
    if os.path.exists(f"{live}-wal"):  # SQLite removes it with its last connection
        raise DatabaseRefused(f"{live} is in use: stop the service and its commands first")
    return True


def _move_log(live: Path, kept: Path) -> None:
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.rename(f"{live}{suffix}", f"{kept}{suffix}")


def _unused_name(live: Path) -> Path:
    name = f"{live.name}.before-restore-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    number = 1
    while os.path.lexists(kept := live.with_name(f"{name}{'' if number == 1 else f'-{number}'}")):
        number += 1
    return kept
