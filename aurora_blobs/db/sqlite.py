"""The database seam: short transactions of plain SQL on a few SQLite connections."""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from weakref import WeakSet

from aurora_blobs.config import ConfigError
from aurora_blobs.errors import InsufficientStorage, ServiceBusy
from aurora_blobs.storage.group_fsync import GroupFsync

SCHEMA_VERSION = 1
_BUSY_SECONDS = 10  # a lock held longer than this is answered with 503
_BUSY = "The database is busy, please try again."
_CACHED_STATEMENTS = 256  # more than the package has, so each is parsed once per connection
# Pages of 4 KiB in the log before whoever commits copies them into the file, with all others waiting. An upload changes
# a dozen, many of them the same ones: SQLite's own 1000 would have every 80th upload do it.
_CHECKPOINT_PAGES = 4000
# Kept open for the next; each may hold 2 MB of pages, and a process may have hundreds of threads.
_IDLE_CONNECTIONS = 16

Row = tuple[Any, ...]


class Transaction:
    """One transaction: statements with ``?`` placeholders, values after them in order."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self.hidden: list[tuple[str, str | None]] = []
        self.after_commit: list[Callable[[], None]] = []

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

    def hide(self, did: str, cid: str | None = None) -> None:
        """This transaction hides *cid* of *did* from the public, or with None all that the account holds.

        The database's before-commit hook finds it in `hidden`.
        """
        self.hidden.append((did, cid))


# Given the transaction that is about to be committed: its block has the commit inside. What it adds to
# `Transaction.after_commit` is called when the commit is durable and the write lock is free.
CommitHook = Callable[[Transaction], AbstractContextManager[None]]


def no_hook(tx: Transaction) -> AbstractContextManager[None]:
    """The commit alone."""
    return nullcontext()


class _OneShot(Transaction):
    """Each statement for itself, on whatever connection is idle."""

    def __init__(self, database: "Database") -> None:
        self._database = database

    def one(self, sql: str, *values: object) -> Row | None:
        with self._database._borrowed() as connection:
            return Transaction(connection).one(sql, *values)

    def all(self, sql: str, *values: object) -> list[Row]:
        with self._database._borrowed() as connection:
            return Transaction(connection).all(sql, *values)

    def run(self, sql: str, *values: object) -> int:
        raise RuntimeError("a one-shot transaction changes nothing")


class Database:
    """SQLite in WAL mode. Readers see a snapshot and never wait; writers queue.

    A transaction has a connection to itself: the one that was used last of those that are idle, since what it knows
    of the file is the most recent.
    """

    def __init__(self, path: Path, *, durable: bool, before_commit: CommitHook = no_hook) -> None:
        """*durable*: a commit is on the disk when it returns, else when the kernel gets to it.

        Each commit of `write` runs inside *before_commit*.
        """
        self.path = path
        self._before_commit = before_commit
        self._flush = GroupFsync(Path(f"{path}-wal")) if durable else None
        self._idle: list[sqlite3.Connection] = []
        self._inside = threading.local()  # .transaction is True in a thread that is in one
        # SQLite's own waiting sleeps and is unfair: under load some writers waited 1.2 s. Writers of this
        # process queue on the first lock, processes on the second.
        self._thread_lock = threading.Lock()
        self._process_lock: int | None = None
        _databases.add(self)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A snapshot, for statements that belong together."""
        with self._borrowed() as connection:
            connection.execute("BEGIN")
            try:
                yield Transaction(connection)
            finally:
                connection.execute("ROLLBACK")

    def one_shot(self) -> Transaction:
        """For one statement alone, which is a snapshot by itself: `read` puts two more around it."""
        return _OneShot(self)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """All or nothing: committed when the block ends, rolled back when it raises.

        Raises ServiceBusy, InsufficientStorage. Holds the only write lock: no network in here, and no file
        work save the deletion that the locking rule in catalog/blobs.py asks for, and the before-commit hook's.
        """
        with self._turn(), self._borrowed() as connection:
            changes_before = connection.total_changes
            _translated(connection, "BEGIN IMMEDIATE")
            try:
                tx = Transaction(connection)
                yield tx
                with self._before_commit(tx):
                    _translated(connection, "COMMIT")
            except sqlite3.OperationalError as error:
                raise _translation(error) from error
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            has_changed = connection.total_changes != changes_before
        if has_changed:
            self.settle()
        for call in tx.after_commit:
            call()

    def settle(self) -> None:
        """Whatever was committed until now, by whatever process, is on the disk when this returns.

        For an answer that rests on what another has just written. Does nothing where commits are not durable.
        """
        if self._flush is not None:
            self._flush.flush()

    def close(self) -> None:
        """Close every connection of this process."""
        while self._idle:
            self._idle.pop().close()
        if self._process_lock is not None:
            os.close(self._process_lock)
            self._process_lock = None

    def upgrade(self, schema: str) -> None:
        """Bring the file to *schema*; does nothing to one that has it. Raises ConfigError for a newer one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # It holds password hashes. SQLite gives its other files the mode of this one.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        # Two processes that make the same new file at once get "database is locked" at once, timeout or not.
        with self._turn(), self._borrowed() as connection:
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

    def copy_to(self, path: Path) -> None:
        """Replace what is in the SQLite file *path* by one state of all that is in here; others go on meanwhile."""
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        target = sqlite3.connect(path)
        try:
            with self._borrowed() as connection:
                connection.backup(target)
        finally:
            target.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        self._refuse_nesting()  # before it waits for itself
        # With a time limit: while a stranger holds SQLite's lock, each who gets here first waits for it in vain.
        if not self._thread_lock.acquire(timeout=_BUSY_SECONDS):
            raise ServiceBusy(_BUSY)
        try:
            if self._process_lock is None:
                self._process_lock = os.open(
                    f"{self.path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
                )
            fcntl.flock(self._process_lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._process_lock, fcntl.LOCK_UN)
        finally:
            self._thread_lock.release()

    @contextmanager
    def _borrowed(self) -> Iterator[sqlite3.Connection]:
        self._refuse_nesting()
        idle = (
            self._idle
        )  # after a fork in the block it is another list, and the connection not the child's
        try:
            connection = idle.pop()
        except IndexError:
            connection = self._open()
        self._inside.transaction = True
        try:
            yield connection
        finally:
            self._inside.transaction = False
            if len(idle) < _IDLE_CONNECTIONS:
                idle.append(connection)
            else:
                connection.close()

    def _refuse_nesting(self) -> None:
        if getattr(self._inside, "transaction", False):
            raise RuntimeError("transactions do not nest")

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            cached_statements=_CACHED_STATEMENTS,
            check_same_thread=False,  # one thread after the other has it
        )
        # The log is flushed by `settle`, for many at once and outside the lock; with FULL it would be for each
        # and inside. SQLite itself flushes it before it copies it into the file.
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            connection.execute("PRAGMA foreign_keys = ON")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _forget_inherited(self) -> None:
        # A connection must not be used or closed in a forked child. Closing the lock's descriptor is safe: the
        # parent's lock goes with the last of the two.
        _inherited.append(self._idle)
        self._idle = []
        self._inside = threading.local()
        self._thread_lock = threading.Lock()
        if self._flush is not None:
            self._flush = GroupFsync(Path(f"{self.path}-wal"))
        if self._process_lock is not None:
            os.close(self._process_lock)
            self._process_lock = None


_databases: WeakSet[Database] = WeakSet()
_inherited: list[object] = []  # keeps what a fork left from being closed by the garbage collector


def _after_fork() -> None:
    for database in list(_databases):
        database._forget_inherited()


os.register_at_fork(after_in_child=_after_fork)


def open_database(url: str, *, durable: bool, before_commit: CommitHook = no_hook) -> Database:
    """The database at *url*, ``sqlite:PATH``. The file is made by `Database.upgrade`."""
    return Database(Path(url.removeprefix("sqlite:")), durable=durable, before_commit=before_commit)


def _translated(connection: sqlite3.Connection, statement: str) -> None:
    try:
        connection.execute(statement)
    except sqlite3.OperationalError as error:
        raise _translation(error) from error


def _translation(error: sqlite3.OperationalError) -> Exception:
    code = error.sqlite_errorcode & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ServiceBusy(_BUSY)
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
        raise ConfigError(
            f"the database has schema version {row[0]}, this program knows up to {SCHEMA_VERSION}"
        )
