"""SQLite behind the database seam: short transactions of plain SQL on a few connections."""

import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from weakref import WeakSet

from aurora_blobs.clock import system_clock
from aurora_blobs.db.keys import Key
from aurora_blobs.db.seam import (
    BUSY,
    BUSY_SECONDS,
    NO_RESERVE,
    SCHEMA_VERSION,
    STEPS,
    CommitHook,
    Database,
    Row,
    Transaction,
    UpgradeFailed,
    known_version,
    no_hook,
    version_in,
)
from aurora_blobs.disk_space import DiskSpace, Spend, is_full
from aurora_blobs.errors import DatabaseError, InsufficientStorage, ServiceBusy
from aurora_blobs.storage.group_fsync import GroupFsync, make_folder

log = logging.getLogger(__name__)

# Kept open for the next transaction. Each may hold 2 MB of pages, and a process may have hundreds
# of threads.
IDLE_CONNECTIONS = 16
_CACHED_STATEMENTS = 256  # more than the package has: each is parsed once per connection
# A commit that finds this many pages of 4 KiB in the log copies them into the file, while all other
# writers wait. An upload changes a dozen pages, many of them the same ones: with SQLite's default
# of 1000 every 80th upload would do it.
_CHECKPOINT_PAGES = 4000
# On a full disk the log is emptied only if its readers are done by then.
_READERS_MILLISECONDS = 100


class _Transaction(Transaction):
    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._connection = connection
        self._execute = connection.execute

    def one(self, sql: str, *values: object) -> Row | None:
        row: Row | None = self._execute(sql, values).fetchone()
        return row

    def all(self, sql: str, *values: object) -> list[Row]:
        return self._execute(sql, values).fetchall()

    def each(self, sql: str, *values: object) -> Iterator[Row]:
        cursor = self._execute(sql, values)
        try:
            yield from cursor
        finally:
            cursor.close()

    def run(self, sql: str, *values: object) -> int:
        return self._execute(sql, values).rowcount

    def run_each(self, sql: str, rows: Sequence[Row]) -> int:
        return self._connection.executemany(sql, rows).rowcount if rows else 0

    def now(self) -> int:
        return system_clock()


class _OneShot(Transaction):
    """Runs each statement by itself, on any idle connection."""

    def __init__(self, database: "SqliteDatabase") -> None:
        self._database = database

    def one(self, sql: str, *values: object) -> Row | None:
        with _Borrowed(self._database) as connection:
            row: Row | None = connection.execute(sql, values).fetchone()
            return row

    def all(self, sql: str, *values: object) -> list[Row]:
        with _Borrowed(self._database) as connection:
            return connection.execute(sql, values).fetchall()

    def each(self, sql: str, *values: object) -> Iterator[Row]:
        return iter(self.all(sql, *values))

    def run(self, sql: str, *values: object) -> int:
        raise RuntimeError("a one-shot transaction changes nothing")

    def run_each(self, sql: str, rows: Sequence[Row]) -> int:
        return self.run(sql)

    def now(self) -> int:
        return system_clock()


class _Borrowed:
    """Lends a connection to its block: the idle one that was used last, or a new one.

    A class, because a generator takes 3 µs more for an upload (measured), a hundredth of it.
    """

    def __init__(self, database: "SqliteDatabase") -> None:
        self._database = database
        self._idle = database._idle

    def __enter__(self) -> sqlite3.Connection:
        self._database._refuse_nesting()
        try:
            self._connection = self._idle.pop()
        except IndexError:
            self._connection = self._database._another()
        self._database._inside.transaction = True
        return self._connection

    def __exit__(
        self, kind: object, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._database._inside.transaction = False
        # A fork inside the block gave the child another list: the connection is not the child's.
        if len(self._idle) < IDLE_CONNECTIONS:
            self._idle.append(self._connection)
        else:
            self._connection.close()
        if isinstance(error, sqlite3.Error):
            raise DatabaseError(str(error)) from error


class SqliteDatabase(Database):
    """SQLite in WAL mode. Readers see a snapshot and never wait; writers queue.

    A transaction has a connection to itself: the idle one that was used last, because its cache is
    the most recent.
    """

    def __init__(
        self,
        path: Path,
        *,
        durable: bool,
        before_commit: CommitHook = no_hook,
        busy_seconds: float = BUSY_SECONDS,
        space: DiskSpace = NO_RESERVE,
    ) -> None:
        """*durable*: a commit is on the disk when it returns, else when the kernel writes it.

        *space* has the reserve for a full disk.
        Each commit of `write` runs inside *before_commit*. A transaction that does not get SQLite's
        lock, or that of this process, within *busy_seconds* raises ServiceBusy.
        """
        self.path = path
        self.space = space
        self._before_commit = before_commit
        self._busy_seconds = busy_seconds
        self._flush = GroupFsync(Path(f"{path}-wal")) if durable else None
        self._idle: list[sqlite3.Connection] = []
        self._opening = threading.Lock()
        self._inside = threading.local()  # .transaction is True in a thread that is in one
        # SQLite waits by sleeping and is unfair: under load some writers waited 1.2 s (measured).
        # Writers of this process queue on the first lock, processes on the second.
        self._thread_lock = threading.Lock()
        self._process_lock: int | None = None
        _databases.add(self)

    def reading(self) -> Generator[Transaction, None, None]:
        with _Borrowed(self) as connection:
            connection.execute("BEGIN")
            try:
                yield _Transaction(connection)
            finally:
                connection.execute("ROLLBACK")

    read = contextmanager(reading)  # type: ignore[arg-type]

    def one_shot(self) -> Transaction:
        return _OneShot(self)

    def writing(
        self, spend: Spend = Spend.NOTHING, *, keys: tuple[Key, ...] = ()
    ) -> Generator[Transaction, None, None]:
        with self._write_lock(), _Borrowed(self) as connection:
            self._have_room(connection, spend)
            changes_before = connection.total_changes
            try:
                connection.execute("BEGIN IMMEDIATE")
                tx = _Transaction(connection)
                yield tx
                with self._before_commit(tx):
                    connection.execute("COMMIT")
                    if tx.keeps_others_out:
                        self.flush_log()
            except sqlite3.OperationalError as error:
                raise self._translated(error) from error
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            has_changed = connection.total_changes != changes_before
        if has_changed and not (tx.keeps_others_out or tx.left_to_kernel):
            self.flush_log()
        for call in tx.after_commit:
            call()

    write = contextmanager(writing)  # type: ignore[arg-type]

    @contextmanager
    def alone(self) -> Iterator[Transaction]:
        turn = ExitStack()
        with turn:
            turn.enter_context(self._write_lock())
            with _Borrowed(self) as connection:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    # For SQLite's own lock others wait a bounded time, unlike for a flock.
                    turn.close()
                    tx = _Transaction(connection)
                    yield tx
                    with self._before_commit(tx):
                        connection.execute("COMMIT")
                except sqlite3.OperationalError as error:
                    raise self._translated(error) from error
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        self.flush_log()
        for call in tx.after_commit:
            call()

    def flush_log(self) -> None:
        if self._flush is not None:
            self._flush.flush()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
        if self._process_lock is not None:
            os.close(self._process_lock)
            self._process_lock = None

    def version(self) -> int | None:
        if not self.path.exists():
            return None
        self.space.make_room(Spend.ALL)  # a program that starts makes SQLite's other files
        with _Borrowed(self) as connection:
            return _version(connection)

    def upgrade(self, schema: str) -> None:
        if self.version() == SCHEMA_VERSION:
            return
        make_folder(self.path.parent)
        _create_private(self.path)
        # Without the lock, two processes that create the same file get "database is locked" at
        # once, whatever the timeout.
        with self._write_lock(), _Borrowed(self) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            found = _version(connection)
            if found is None:
                _run(connection, schema, "INSERT INTO schema_version (version) VALUES (?)")
            else:
                for version in range(found, SCHEMA_VERSION):
                    step = (STEPS / f"{version + 1}.sql").read_text()
                    try:
                        _run(connection, step, "UPDATE schema_version SET version = ?", version + 1)
                    except sqlite3.Error as error:
                        raise UpgradeFailed(version, error) from error
                    log.warning("the database went from version %s to %s", version, version + 1)

    def copy_to(self, path: Path) -> None:
        _create_private(path)
        target = sqlite3.connect(path)
        try:
            with _Borrowed(self) as connection:
                connection.backup(target)
        finally:
            target.close()

    def _have_room(self, connection: sqlite3.Connection, spend: Spend) -> None:
        if spend is Spend.NOTHING:
            self.space.require()
        elif spend is not Spend.LEFT and self.space.is_short():
            # Emptied, the log gives back what it took on a full disk: else it would use up the
            # reserve long before it is copied into the file for its size.
            with suppress(sqlite3.OperationalError):
                connection.execute(f"PRAGMA busy_timeout = {_READERS_MILLISECONDS}")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            connection.execute(f"PRAGMA busy_timeout = {int(self._busy_seconds * 1000)}")
            self.space.make_room(spend)

    def _translated(self, error: sqlite3.OperationalError) -> Exception:
        # One of Python's own has none: a text that is not UTF-8.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return ServiceBusy(BUSY)
        # Where SQLite cannot make a file or let one grow, it does not say why.
        if code == sqlite3.SQLITE_FULL or (
            code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR) and is_full(self.path.parent)
        ):
            return InsufficientStorage("no space left for the database")
        return error

    @contextmanager
    def _write_lock(self) -> Iterator[None]:
        self._refuse_nesting()  # a nested transaction would wait for itself
        # With a timeout: while a stranger holds SQLite's own lock, whoever has this one waits for
        # that in vain.
        if not self._thread_lock.acquire(timeout=self._busy_seconds):
            raise ServiceBusy(BUSY)
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

    def _refuse_nesting(self) -> None:
        if getattr(self._inside, "transaction", False):
            raise RuntimeError("transactions do not nest")

    def _another(self) -> sqlite3.Connection:
        """A connection that has become idle meanwhile, or a new one.

        One is opened at a time. Of hundreds of threads that go on at once, when what they waited
        for is there, most find one that was given back. Each new one reads the whole schema: a
        thousand who waited for one blob took up to 54 MiB of a process, now 19 (measured).
        """
        with self._opening:
            try:
                return self._idle.pop()
            except IndexError:
                return self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connected()
        except sqlite3.Error as error:
            raise DatabaseError(str(error)) from error

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            # Never makes a file: where the folder is not mounted, it would be an empty database.
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=self._busy_seconds,
            isolation_level=None,
            cached_statements=_CACHED_STATEMENTS,
            check_same_thread=False,  # threads use it one after the other
        )
        # `flush_log` flushes the log for many commits at once, outside the lock. FULL would flush
        # it for each commit, inside. SQLite flushes the log before it copies it into the file.
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            connection.execute("PRAGMA foreign_keys = ON")
            add_functions(connection)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _forget_inherited(self) -> None:
        # A forked child must neither use nor close a connection. It may close the descriptor of
        # the lock: the parent's lock lasts until both are closed.
        _inherited.append(self._idle)
        self._idle = []
        self._opening = threading.Lock()
        self._inside = threading.local()
        self._thread_lock = threading.Lock()
        if self._flush is not None:
            self._flush = GroupFsync(Path(f"{self.path}-wal"))
        if self._process_lock is not None:
            os.close(self._process_lock)
            self._process_lock = None


_databases: WeakSet[SqliteDatabase] = WeakSet()
_inherited: list[object] = []  # connections that the garbage collector must not close


def _after_fork() -> None:
    for database in list(_databases):
        database._forget_inherited()


os.register_at_fork(after_in_child=_after_fork)


def add_functions(connection: sqlite3.Connection) -> None:
    """Give *connection* the functions of the SQL standard that its SQLite lacks."""
    if sqlite3.sqlite_version_info < (3, 43):
        connection.create_function(
            "octet_length", 1, lambda text: len(text.encode()), deterministic=True
        )


def _create_private(path: Path) -> None:
    # It holds password hashes. SQLite gives its other files the mode of this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def statements(script: str) -> Iterator[str]:
    """The statements of *script*, one by one."""
    # Not executescript: it commits first, so a script that fails half-way would stay half done.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _run(
    connection: sqlite3.Connection, script: str, note: str, version: int = SCHEMA_VERSION
) -> None:
    """Run *script*, and *note* with *version*, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements(script):
            connection.execute(statement)
        connection.execute(note, (version,))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection) -> int | None:
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not names:
        return None
    found = stated_version(connection) if "schema_version" in names else None
    return known_version(found, names)


def stated_version(connection: sqlite3.Connection) -> int | None:
    """The version that the table for it says, known here or not; None if it says none."""
    return version_in(connection.execute("SELECT version FROM schema_version LIMIT 2").fetchall())
