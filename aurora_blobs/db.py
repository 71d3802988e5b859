"""The database seam: short transactions of plain SQL on one SQLite connection per thread."""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aurora_blobs.errors import InsufficientStorage, ServiceBusy

SCHEMA_VERSION = 1
_BUSY_SECONDS = 10  # a lock held longer than this is answered with 503
_CACHED_STATEMENTS = 256  # more than the package has, so each is parsed once per connection

Row = tuple[Any, ...]


class Transaction:
    """One transaction: statements with ``?`` placeholders, values after them in order."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def one(self, sql: str, *values: object) -> Row | None:
        """The first row, or None."""
        row: Row | None = self._execute(sql, values).fetchone()
        return row

    def all(self, sql: str, *values: object) -> list[Row]:
        """Every row."""
        return self._execute(sql, values).fetchall()

    def run(self, sql: str, *values: object) -> int:
        """Change rows; how many there were."""
        return self._execute(sql, values).rowcount


class Database:
    """SQLite in WAL mode. Readers see a snapshot and never wait; writers queue.

    Each thread has a connection of its own, opened at its first use and again after a fork.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        """*durable*: a commit is on the disk when it returns, else when the kernel gets to it."""
        self.path = path
        self._synchronous = "FULL" if durable else "NORMAL"
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._pid = os.getpid()
        # SQLite's own waiting sleeps and is unfair: under load some writers waited 1.2 s. Writers of this
        # process queue on the first lock, processes on the second.
        self._thread_lock = threading.Lock()
        self._process_lock: int | None = None

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A snapshot, for statements that belong together."""
        connection = self._connection()
        connection.execute("BEGIN")
        try:
            yield Transaction(connection)
        finally:
            connection.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """All or nothing: committed when the block ends, rolled back when it raises.

        Raises ServiceBusy, InsufficientStorage. Holds the only write lock: no network in here, and no file
        work save the deletion that the locking rule in catalog/blobs.py asks for.
        """
        connection = self._connection()
        with self._thread_lock:
            fcntl.flock(self._lock_file(), fcntl.LOCK_EX)
            try:
                _translated(connection, "BEGIN IMMEDIATE")
                try:
                    yield Transaction(connection)
                    _translated(connection, "COMMIT")
                except sqlite3.OperationalError as error:
                    raise _translation(error) from error
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
            finally:
                fcntl.flock(self._lock_file(), fcntl.LOCK_UN)

    def close(self) -> None:
        """Close every connection of this process."""
        self._forget_inherited()
        for connection in self._opened:
            connection.close()
        self._opened.clear()
        self._local = threading.local()
        if self._process_lock is not None:
            os.close(self._process_lock)
            self._process_lock = None

    def upgrade(self, schema: str) -> None:
        """Bring the file to *schema*; does nothing to one that has it. Raises RuntimeError for a newer one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connection()
        with self._thread_lock:
            # Two processes that make the same new file at once get "database is locked" at once, timeout or not.
            fcntl.flock(self._lock_file(), fcntl.LOCK_EX)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    for statement in _statements(schema):
                        connection.execute(statement)
                    _check_version(connection)
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
            finally:
                fcntl.flock(self._lock_file(), fcntl.LOCK_UN)

    def _connection(self) -> sqlite3.Connection:
        self._forget_inherited()
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self.path,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                cached_statements=_CACHED_STATEMENTS,
                check_same_thread=False,  # only close() crosses threads
            )
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA foreign_keys = ON")
            self._local.connection = connection
            self._opened.append(connection)
        return connection

    def _lock_file(self) -> int:
        if self._process_lock is None:
            self._process_lock = os.open(f"{self.path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._process_lock

    def _forget_inherited(self) -> None:
        if self._pid != os.getpid():
            # A connection must not be used or closed in a forked child, nor a lock shared with the parent.
            _inherited.append((self._opened, self._local, self._process_lock))
            self._opened, self._local, self._process_lock = [], threading.local(), None
            self._thread_lock = threading.Lock()
            self._pid = os.getpid()


_inherited: list[object] = []  # keeps what a fork left from being closed by the garbage collector


def open_database(url: str, *, durable: bool) -> Database:
    """The database at *url*, ``sqlite:PATH``. The file is made by `Database.upgrade`."""
    return Database(Path(url.removeprefix("sqlite:")), durable=durable)


def _translated(connection: sqlite3.Connection, statement: str) -> None:
    try:
        connection.execute(statement)
    except sqlite3.OperationalError as error:
        raise _translation(error) from error


def _translation(error: sqlite3.OperationalError) -> Exception:
    code = error.sqlite_errorcode & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ServiceBusy("The database is busy, please try again.")
    if code == sqlite3.SQLITE_FULL:
        return InsufficientStorage("no space left for the database")
    return error


def _statements(script: str) -> Iterator[str]:
    # Not executescript: it commits first, so a script that fails half way would stay half done.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _check_version(connection: sqlite3.Connection) -> None:
    row = connection.execute("SELECT version FROM schema_version").fetchone()
    if row is None:
        connection.execute("INSERT INTO schema_version (version) VALUES (?)", (SCHEMA_VERSION,))
    elif row[0] > SCHEMA_VERSION:
        raise RuntimeError(f"the database has schema version {row[0]}, this program knows up to {SCHEMA_VERSION}")
