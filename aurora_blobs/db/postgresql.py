"""PostgreSQL behind the database seam: transactions under advisory locks, on a bounded pool."""

import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8Dumper

from aurora_blobs.config import ConfigError
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
    known_version,
    no_hook,
    version_in,
)
from aurora_blobs.disk_space import DiskSpace, Spend
from aurora_blobs.errors import DatabaseError, InsufficientStorage, ServiceBusy

log = logging.getLogger(__name__)

_AWAY = "The database does not answer, please try again."
# Without these a client that is cut off, or that stops, keeps everybody's lock for hours.
_SESSION = {
    "lock_timeout": "10s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
    "client_connection_check_interval": "5s",
}
_CLIENT = {
    "application_name": "aurora_blobs",
    "client_encoding": "UTF8",
    "connect_timeout": 5,  # seconds
    "target_session_attrs": "read-write",
    "keepalives_idle": 10,  # seconds, as the next one
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 10_000,  # milliseconds
}
# Every TEXT is compared by its bytes: other collations put the ends of our ranges, "~" and "\x7f",
# before letters. SQLite does not know this one's name.
_COLLATED = 'TEXT COLLATE "C"'
_EVERYTHING = 0  # the number of the lock that a transaction without keys has to itself
_FETCHED = 16  # rows at a time of `Transaction.each`; a record has up to 1 MiB
# What is worth another try, by SQLSTATE. The server is away: connection lost, shutting down, not up
# yet, out of connections, idle for too long, a standby. Or it is busy: conflict with another
# transaction, out of memory, waited too long.
_GONE = re.compile(r"08...|57P..|53300|25P03|25006")
_PASSING = re.compile(r"40...|53[24]..|55P03|57014")
_DISK_FULL = "53100"

_Connection = psycopg.Connection[Row]
_Result = TypeVar("_Result")


class _Transaction(Transaction):
    def __init__(self, connection: _Connection) -> None:
        super().__init__()
        self._connection = connection
        self._execute = connection.execute
        self._cursors = 0

    def one(self, sql: str, *values: object) -> Row | None:
        return self._execute(_numbered(sql), values).fetchone()

    def all(self, sql: str, *values: object) -> list[Row]:
        return self._execute(_numbered(sql), values).fetchall()

    def each(self, sql: str, *values: object) -> Iterator[Row]:
        self._cursors += 1
        name = b"rows%d" % self._cursors
        self._execute(b"DECLARE %b NO SCROLL CURSOR FOR %b" % (name, _numbered(sql)), values)
        while rows := self._execute(b"FETCH %d FROM %b" % (_FETCHED, name)).fetchall():
            yield from rows
            if len(rows) < _FETCHED:
                break

    def run(self, sql: str, *values: object) -> int:
        return self._execute(_numbered(sql), values).rowcount

    def run_each(self, sql: str, rows: Sequence[Row]) -> int:
        if not rows:
            return 0
        with self._connection.cursor() as cursor:
            cursor.executemany(_numbered(sql), rows)
            return cursor.rowcount


class _OneShot(Transaction):
    """Runs each statement by itself, on any idle connection."""

    def __init__(self, database: "PostgresqlDatabase") -> None:
        self._database = database

    def one(self, sql: str, *values: object) -> Row | None:
        with self._database._borrowed(_run(sql, values)) as (_, cursor):
            return cursor.fetchone()

    def all(self, sql: str, *values: object) -> list[Row]:
        with self._database._borrowed(_run(sql, values)) as (_, cursor):
            return cursor.fetchall()

    def each(self, sql: str, *values: object) -> Iterator[Row]:
        return iter(self.all(sql, *values))

    def run(self, sql: str, *values: object) -> int:
        raise RuntimeError("a one-shot transaction changes nothing")

    def run_each(self, sql: str, rows: Sequence[Row]) -> int:
        return self.run(sql)


class PostgresqlDatabase(Database):
    """PostgreSQL in READ COMMITTED. Readers see a snapshot and never wait for writers.

    The first statement of a writer takes its locks, so each of its other ones sees what whoever had
    them before has committed. They are released by the commit, which is on the disk by then: there
    is no log to flush.

    A process has a bounded number of connections. Some are for readers alone, since writers keep
    theirs while they wait for each other.
    """

    def __init__(
        self,
        url: str,
        *,
        durable: bool,
        before_commit: CommitHook = no_hook,
        busy_seconds: float = BUSY_SECONDS,
        space: DiskSpace = NO_RESERVE,
        connections: int,
    ) -> None:
        """As `SqliteDatabase`, with up to *connections*; whoever has to wait for one waits too."""
        self.space = space
        self._parameters = _parameters(url, durable=durable)
        self._before_commit = before_commit
        self._busy_seconds = busy_seconds
        self._connections = connections
        self._make_pool()
        _databases.add(self)

    def _make_pool(self) -> None:
        self._idle: list[_Connection] = []
        self._inside = threading.local()  # .transaction is True in a thread that is in one
        self._slots = threading.Semaphore(self._connections)
        self._writers = threading.Semaphore(max(1, self._connections * 3 // 4))
        self._failed_at = -self._busy_seconds  # when no connection could be made, by monotonic()

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        begin = partial(_execute, b"BEGIN ISOLATION LEVEL REPEATABLE READ")
        with self._borrowed(begin) as (connection, _):
            yield _Transaction(connection)

    def one_shot(self) -> Transaction:
        return _OneShot(self)

    @contextmanager
    def write(
        self, spend: Spend = Spend.NOTHING, *, keys: tuple[Key, ...] = ()
    ) -> Iterator[Transaction]:
        if spend is Spend.NOTHING:
            self.space.require()
        elif spend is not Spend.LEFT:
            self.space.make_room(spend)
        with self._locked(keys) as connection:
            tx = _Transaction(connection)
            yield tx
            with self._before_commit(tx):
                _commit(connection)
        for call in tx.after_commit:
            call()

    def flush_log(self) -> None:
        """Nothing: what others can see is on the disk."""

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def version(self) -> int | None:
        with self._borrowed(_version) as (connection, found):
            encoding = connection.info.parameter_status("server_encoding")
            if encoding != "UTF8":
                raise ConfigError(f"the database has the encoding {encoding}: accepted is UTF8")
            return found

    def upgrade(self, schema: str) -> None:
        # A database that is right is left alone: even a statement that changes nothing would wait
        # for everybody who writes, and deadlocks with them were seen.
        while self.version() != SCHEMA_VERSION:
            with self._locked(()) as connection:
                found = _version(connection)  # again: another process may have been first
                if found is None:
                    _execute(_collated(schema), connection)
                    _execute(
                        b"INSERT INTO schema_version (version) VALUES (%d)" % SCHEMA_VERSION,
                        connection,
                    )
                elif found < SCHEMA_VERSION:
                    step = (STEPS / f"{found + 1}.sql").read_text()
                    _execute(_collated(step), connection)
                    _execute(b"UPDATE schema_version SET version = %d" % (found + 1), connection)
                    log.warning("the database goes from version %s to %s", found, found + 1)
                _commit(connection)

    def copy_to(self, path: Path) -> None:
        raise ConfigError("this database is not copied by this program: pg_dump does that")

    @contextmanager
    def _locked(self, keys: tuple[Key, ...]) -> Iterator[_Connection]:
        """Lend a connection that is in a transaction which has the locks of *keys*."""
        self._refuse_nesting()
        deadline = time.monotonic() + self._busy_seconds
        with (
            self._turn(self._writers, deadline),
            self._borrowed(partial(_begin, keys, deadline), deadline) as (connection, _),
        ):
            yield connection

    @contextmanager
    def _borrowed(
        self, first: Callable[[_Connection], _Result], deadline: float | None = None
    ) -> Iterator[tuple[_Connection, _Result]]:
        """Lend a connection and what *first* gave on it. What is not committed is rolled back.

        *first* is tried again on another connection if the one that was idle turns out to be lost.
        """
        self._refuse_nesting()
        began = time.monotonic()
        deadline = began + self._busy_seconds if deadline is None else deadline
        with _translated(), self._turn(self._slots, deadline):
            idle = self._idle
            connection, result = self._began(first, began, deadline)
            self._inside.transaction = True
            try:
                yield connection, result
            finally:
                self._inside.transaction = False
                if idle is self._idle:
                    self._take_back(connection)
                else:  # after a fork inside the block, the connection is not the child's
                    _inherited.append(connection)

    def _began(
        self, first: Callable[[_Connection], _Result], began: float, deadline: float
    ) -> tuple[_Connection, _Result]:
        while True:
            try:
                connection, is_new = self._idle.pop(), False
            except IndexError:
                connection, is_new = self._connect(began), True
            try:
                return connection, first(connection)
            except BaseException:
                is_lost = connection.closed
                self._take_back(connection)
                if is_new or not is_lost or time.monotonic() > deadline:
                    raise

    def _take_back(self, connection: _Connection) -> None:
        try:
            if connection.pgconn.transaction_status in _OPEN:
                _execute(b"ROLLBACK", connection)
        except psycopg.Error as error:
            log.info("a connection to the database was lost: %s", _first_line(error))
        if connection.pgconn.transaction_status == TransactionStatus.IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def _connect(self, began: float) -> _Connection:
        # Whoever has waited for one that could not connect does not wait again for the same.
        if self._failed_at > began:
            raise ServiceBusy(_AWAY)
        try:
            connection = psycopg.connect(
                **self._parameters, autocommit=True, cursor_factory=psycopg.RawCursor
            )
        except psycopg.OperationalError:
            self._failed_at = time.monotonic()
            raise
        # Else a number's size decides about its type, and so about the statement's plan.
        connection.adapters.register_dumper(int, Int8Dumper)
        return connection

    @contextmanager
    def _turn(self, semaphore: threading.Semaphore, deadline: float) -> Iterator[None]:
        if not semaphore.acquire(timeout=max(0, deadline - time.monotonic())):
            raise ServiceBusy(BUSY)
        try:
            yield
        finally:
            semaphore.release()

    def _refuse_nesting(self) -> None:
        if getattr(self._inside, "transaction", False):
            raise RuntimeError("transactions do not nest")

    def _forget_inherited(self) -> None:
        # A forked child must neither use nor close a connection.
        _inherited.append(self._idle)
        self._make_pool()


_OPEN = (TransactionStatus.INTRANS, TransactionStatus.INERROR)

_databases: WeakSet[PostgresqlDatabase] = WeakSet()
_inherited: list[object] = []  # connections that the garbage collector must not close


def _after_fork() -> None:
    for database in list(_databases):
        database._forget_inherited()


os.register_at_fork(after_in_child=_after_fork)


def _parameters(url: str, *, durable: bool) -> dict[str, Any]:
    """Those of libpq for *url*, whose own ones win."""
    try:
        stated = conninfo_to_dict(url)
        # A password with "/" ends as a port and the name of a database, which errors quote.
        is_clear = re.fullmatch("[0-9,]*", str(stated.get("port", ""))) is not None
        is_clear = is_clear and "@" not in str(stated.get("dbname", ""))
    except psycopg.ProgrammingError:
        is_clear = False
    if not is_clear:  # libpq's message would quote the URL, and perhaps the password
        raise ConfigError(
            "DATABASE_URL is none that PostgreSQL's library reads: accepted is "
            "postgresql://USER:PASSWORD@HOST:PORT/NAME, in each of them %40 for @ and %2F for /"
        )
    session = {**_SESSION, "synchronous_commit": "on" if durable else "off"}
    options = "".join(f"-c {name}={value} " for name, value in session.items())
    return {**_CLIENT, **stated, "options": options + str(stated.get("options", ""))}


def _begin(keys: tuple[Key, ...], deadline: float, connection: _Connection) -> None:
    """Begin a transaction that has the locks of *keys*, waited for until *deadline*."""
    # In order of their numbers, so that no two transactions wait for each other.
    numbers = sorted({_number(key) for key in keys})
    if numbers:
        locks = f"pg_advisory_xact_lock_shared({_EVERYTHING})"
        locks += "".join(f", pg_advisory_xact_lock({number})" for number in numbers)
    else:
        locks = f"pg_advisory_xact_lock({_EVERYTHING})"
    milliseconds = max(1, int(1000 * (deadline - time.monotonic())))
    script = f"BEGIN; SET LOCAL lock_timeout = {milliseconds}; SELECT {locks}"
    _execute(script.encode(), connection)


def _number(key: Key) -> int:
    """The number of the lock of *key*, 64 bits: its kind, and the beginning of a hash."""
    kind, name = key
    return kind << 56 | int.from_bytes(hashlib.sha256(name.encode()).digest()[:7])


def _commit(connection: _Connection) -> None:
    # After a statement that failed, COMMIT rolls back, and says so without an error.
    if _execute(b"COMMIT", connection).statusmessage != "COMMIT":
        raise DatabaseError("a statement had failed, so nothing was committed")


def _execute(script: bytes, connection: _Connection) -> psycopg.Cursor[Row]:
    """Run *script*, statements without values, at once."""
    return connection.execute(script, prepare=False)


def _run(sql: str, values: tuple[Any, ...]) -> Callable[[_Connection], psycopg.Cursor[Row]]:
    return lambda connection: connection.execute(_numbered(sql), values)


@cache
def _numbered(sql: str) -> bytes:
    """*sql* with ``$1``, ``$2``, … in place of each ``?``."""
    first, *rest = sql.split("?")
    parts = [f"${number}{part}" for number, part in enumerate(rest, 1)]
    return "".join([first, *parts]).encode()


def _collated(script: str) -> bytes:
    return re.sub(r"\bTEXT\b", _COLLATED, script).encode()


def _version(connection: _Connection) -> int | None:
    names = connection.execute(
        b"""
        SELECT c.relname
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p')
        """
    ).fetchall()
    if not names:
        return None
    rows: list[Row] = []
    if ("schema_version",) in names:
        rows = connection.execute(b"SELECT version FROM schema_version LIMIT 2").fetchall()
    return known_version(version_in(rows))


@contextmanager
def _translated() -> Iterator[None]:
    """Turn psycopg's errors into those of the seam."""
    try:
        yield
    except psycopg.Error as error:
        state = error.sqlstate
        if state == _DISK_FULL:
            raise InsufficientStorage("no space left for the database") from error
        is_unknown = state is None and isinstance(error, psycopg.OperationalError)
        if is_unknown or _GONE.match(state or ""):
            log.warning("the database does not answer: %s", _first_line(error))
            raise ServiceBusy(_AWAY) from error
        if _PASSING.match(state or ""):
            log.warning("the database is busy: %s", _first_line(error))
            raise ServiceBusy(BUSY) from error
        raise DatabaseError(str(error)) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
