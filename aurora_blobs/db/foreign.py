"""Reads SQLite files of somebody else: nothing in them is believed, and nothing is written."""

import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from aurora_blobs.db.seam import Row
from aurora_blobs.protocol.quoting import shown

# Guesses, each far above what a table of short texts needs.
_MAX_VALUE = 100_000  # bytes of a value and of a row
_MAX_STATEMENT = 10_000  # bytes of the statement that made a table
# Of SQLite's machine until the next row: a row of a table, or one found by an index, takes some
# twenty, and the definition of a table ten.
_MAX_STEPS = 20_000
_STEPS = 1000  # are looked at together
_LEAST_ROW = 32  # bytes of a row; a damaged file can have more rows than it has room for
_LOGS = ("-wal", "-journal")  # of a database that was not closed
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}


class ForeignDatabaseError(ValueError):
    """A file that is no database as expected. The message is one line."""


class ForeignDatabase:
    """Some tables in the SQLite file of another program, which may be running.

    Views and whatever else computes are refused. Between two rows little is done, and there are no
    more rows than the file has room for.
    """

    def __init__(self, path: Path, tables: frozenset[str]) -> None:
        """Raises ForeignDatabaseError unless each of *tables* is a table."""
        self._tables = tables
        self._steps = 0
        with _refusing():
            size, is_closed = _look_at(path)
            self._max_rows = size // _LEAST_ROW
            # A database that was closed is read without a lock, and so without a file beside it.
            mode = "mode=ro&immutable=1" if is_closed else "mode=ro"
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None
            )
            try:
                self._restrict()
            except BaseException:
                self.close()
                raise

    def one(self, sql: str, *values: object) -> Row | None:
        """The first row, or None. Raises ForeignDatabaseError."""
        with _refusing():
            self._steps = 0
            row: Row | None = self._connection.execute(sql, values).fetchone()
            return row

    def each(self, sql: str) -> Iterator[Row]:
        """Row by row, each read when it is taken. Raises ForeignDatabaseError."""
        with _refusing():
            self._steps = 0
            for number, row in enumerate(self._connection.execute(sql)):
                if number >= self._max_rows:
                    raise ForeignDatabaseError("there are more rows than the file has room for")
                yield row
                self._steps = 0

    def close(self) -> None:
        self._connection.close()

    def _restrict(self) -> None:
        connection = self._connection
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
        connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _MAX_STATEMENT)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_progress_handler(self._is_too_much, _STEPS)
        for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
            connection.execute(f"PRAGMA {pragma}")
        for table in self._tables:
            rows = connection.execute(
                "SELECT sql FROM sqlite_master WHERE name = ? COLLATE NOCASE", (table,)
            ).fetchall()
            # The statement decides what it is: the other columns may say something else.
            if len(rows) != 1 or not _is_table(table, rows[0][0]):
                raise ForeignDatabaseError(f"it has no table {table}")
        connection.set_authorizer(self._authorize)

    def _is_too_much(self) -> bool:
        self._steps += _STEPS
        return self._steps > _MAX_STEPS

    def _authorize(
        self, action: int, table: str | None, column: str | None, name: str | None, view: str | None
    ) -> int:
        is_allowed = action in _ALLOWED and view is None and table in {None, *self._tables}
        return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY


def _look_at(path: Path) -> tuple[int, bool]:
    """The bytes of the database *path* and its logs, and whether it was closed, without logs."""
    size = _size(path)
    logs = 0
    for suffix in (*_LOGS, "-shm"):
        with suppress(FileNotFoundError):
            found = _size(f"{path}{suffix}")
            logs += found if suffix in _LOGS else 0
    return size + logs, not logs


def _size(path: str | os.PathLike[str]) -> int:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ForeignDatabaseError("it is not a regular file")
    return status.st_size


def _is_table(name: str, statement: Any) -> bool:
    pattern = rf'CREATE TABLE ["`\[]?{name}["`\]]?\s*\('
    return isinstance(statement, str) and re.match(pattern, statement, re.IGNORECASE) is not None


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ForeignDatabaseError(f"it cannot be read: {error.strerror}") from error
    except sqlite3.Error as error:
        # Interrupted: by the limit of steps.
        is_endless = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
        reason = "it takes too long" if is_endless else shown(str(error))
        raise ForeignDatabaseError(f"it cannot be read: {reason}") from error
