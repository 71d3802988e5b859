"""PostgreSQL behind the database seam: transactions under advisory locks, on a bounded pool."""

import hashlib
import logging
import math
import os
import re
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from aurora_blobs import patience
from aurora_blobs.config import ConfigError
from aurora_blobs.db.copying import copy_to_file
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
from aurora_blobs.disk_space import DiskSpace, Spend
from aurora_blobs.errors import Conflict, DatabaseError, InsufficientStorage, ServiceBusy

log = logging.getLogger(__name__)

_AWAY = "The database does not answer, please try again."
# Without these a client that is cut off, or that stops, keeps everybody's lock for hours. Of one
# that is cut off both ends know in six seconds, and one that stands still in a transaction loses it
# after as many: the others, who wait for ten, go on, and who finds his connection lost has the time
# to make a new one. Between its statements no transaction of ours does anything that takes long.
_SESSION = {
    "lock_timeout": "10s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "6s",
    "client_connection_check_interval": "5s",
    "tcp_keepalives_idle": "2",  # seconds, as the next one
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "6s",
}
_CLIENT = {
    "application_name": "aurora_blobs",
    "client_encoding": "UTF8",
    "target_session_attrs": "read-write",
    "keepalives_idle": 2,  # seconds, as the next one
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 6000,  # milliseconds
}
# Seconds. A statement is waited for longer than statement_timeout, a beginning a little longer than
# its lock_timeout, so that the server's own word comes first. A commit gets what its beginning has
# left of its time, and at least a moment: the wait for a standby has no time limit on the server.
_STATEMENT_SECONDS = 40
_GRACE_SECONDS = 1
_MOMENT_SECONDS = 2
# Every TEXT is compared by its bytes: other collations put the ends of our ranges, "~" and "\x7f",
# before letters. SQLite does not know this one's name.
_COLLATED = 'TEXT COLLATE "C"'
_EVERYTHING = 0  # the number of the lock that a transaction without keys has to itself
_FETCHED = 16  # rows at a time of `Transaction.each`; a record has up to 1 MiB
# Statements that `Transaction.run_each` sends at once. They have 200 bytes each, so all are on the
# way at once. The server waits without a time limit for the rest of what it has a part of (seen).
_AT_ONCE = 100
# What is worth another try, by SQLSTATE. The server is away: connection lost, shutting down, not up
# yet, out of connections, idle for too long, a standby. Or it is busy: conflict with another
# transaction, out of memory, waited too long.
_GONE = re.compile(r"08...|57P..|53300|25P03|25006")
_PASSING = re.compile(r"40...|53[24]..|55P03|57014")
_CONFLICTS = ("40P01", "40001")  # a deadlock, or no order of transactions in which they are right
_DISK_FULL = "53100"
_READ_ONLY = b"25006"  # another server has taken this one's place
_TABLES = b"""
    SELECT c.relname
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p')
"""
_WARNING = "01000"
# Who has no rights to look at others sees the sessions of the same user, which are those of nodes.
_HANGING = """
    SELECT EXISTS (SELECT 1
                     FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event = 'SyncRep'
                      AND state_change < clock_timestamp() - INTERVAL '5 seconds')
"""
# One that lasts ends with its client, and if that is not heard of for long.
_LASTING = (
    b"SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = '10min'"
)

_Result = TypeVar("_Result")


class _NoAnswer(psycopg.OperationalError):
    """No answer came in time. What was asked for may be done all the same."""


class _Session:
    """A connection of psycopg, driven by libpq's own calls.

    psycopg's cursors take 60 to 90 us of a processor for each statement, these 10 (measured): an
    upload has eight of them. If it *prepares*, it does when a statement comes for the second time.

    `deadline`, by `time.monotonic`, is that of all answers; None gives each _STATEMENT_SECONDS.
    `is_undecided` when it was told to commit, and no answer has come in time.
    """

    def __init__(self, connection: psycopg.Connection[Row], *, prepares: bool) -> None:
        self.connection = connection
        self.deadline: float | None = None
        self.is_undecided = False
        self._prepares = prepares
        self._server = connection.pgconn
        self._answers = select.poll()
        self._answers.register(self._server.socket, select.POLLIN)
        # Of each statement that came, and its types: its name once it is prepared, else b"".
        self._names: dict[tuple[str, tuple[int, ...]], bytes] = {}
        self._numbers = count()
        self._until = 0.0  # when the present answer has to be there
        self._is_committing = False
        self._was_warned = False
        self._is_of_no_use = False
        connection.add_notice_handler(self._take_notice)

    @property
    def status(self) -> int:
        return self._server.transaction_status

    @property
    def is_lost(self) -> bool:
        """Whether the server is known to be gone, or to take no changes any more."""
        return self._is_of_no_use or self._server.status != ConnStatus.OK

    def is_over(self) -> bool:
        """Whether all that was asked for is answered by now, or the connection is lost."""
        server = self._server
        ends = 0  # in a row: one is that of a statement's results
        try:
            server.consume_input()
            while ends < 2 and not server.is_busy():
                ends = ends + 1 if server.get_result() is None else 0
        except psycopg.OperationalError:
            return True
        return ends == 2

    def close(self) -> None:
        self.connection.close()

    def script(self, script: bytes) -> PGresult:
        """Run statements without values at once; the result of the last one."""
        self._server.send_query(script)
        return self._answer()

    def take_long(self) -> None:
        """Let the present transaction take as long as it does."""
        self.deadline = math.inf
        self.script(_LASTING)

    def execute(self, sql: str, values: Sequence[object]) -> PGresult:
        """Run a statement with ``?`` for each of *values*."""
        parameters: list[Any] = [_parameter(value) for value in values]
        types = _types(values)
        self._send(self._prepared(sql, types), sql, parameters, types)
        return self._answer()

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Around what ends with COMMIT.

        Raises psycopg.OperationalError, as for an answer that was lost, if the server has stopped
        waiting for a standby: it says so by a warning whose text is in its own language.
        """
        self._is_committing = True
        self._was_warned = False
        try:
            yield
        finally:
            self._is_committing = False
        if self._was_warned:
            raise psycopg.OperationalError("a commit was not waited for until a standby had it")

    def _take_notice(self, notice: psycopg.errors.Diagnostic) -> None:
        self._was_warned = self._was_warned or notice.sqlstate == _WARNING

    def _send(self, name: bytes, sql: str, parameters: list[Any], types: tuple[int, ...]) -> None:
        if name:
            self._server.send_query_prepared(name, parameters)
        else:
            self._server.send_query_params(_numbered(sql), parameters, types)

    def _prepared(self, sql: str, types: tuple[int, ...]) -> bytes:
        """The name of the statement, prepared if it comes for the second time; else empty."""
        name = self._names.get((sql, types))
        if name is None:
            if self._prepares:
                self._names[sql, types] = b""
            return b""
        if not name:
            name = b"aurora%d" % next(self._numbers)
            self._server.send_prepare(name, _numbered(sql), types)
            self._answer()
            self._names[sql, types] = name
        return name

    def at_once(self, statements: Sequence[tuple[str, Sequence[object]]]) -> list[PGresult]:
        """Run *statements* in one round trip: all are sent before any answer is waited for.

        After one that fails, none of those behind it is run.
        """
        server = self._server
        sent = []
        for sql, values in statements:
            parameters: list[Any] = [_parameter(value) for value in values]
            types = _types(values)
            sent.append((self._prepared(sql, types), sql, parameters, types))
        server.enter_pipeline_mode()
        try:
            for statement in sent:
                self._send(*statement)
            server.pipeline_sync()
            self._flush()
            results = []
            for _ in statements:
                results.append(self._next_result())
                self._next_result()  # the end of one statement's results
            self._next_result()  # that of all
            server.exit_pipeline_mode()
        except BaseException:
            self._is_of_no_use = True
            raise
        return [self._checked(result) for result in results]

    def _answer(self) -> PGresult:
        """The last result of what was sent, which is the first one that failed."""
        self._flush()
        last = None
        while (result := self._next_result()) is not None:
            last = result
        return self._checked(last)

    def _flush(self) -> None:
        """Send what is not sent yet. The time for its answer begins."""
        deadline = self.deadline
        self._until = time.monotonic() + _STATEMENT_SECONDS if deadline is None else deadline
        while self._server.flush():
            poll = select.poll()
            poll.register(self._server.socket, select.POLLIN | select.POLLOUT)
            self._wait(poll)

    def _next_result(self) -> PGresult | None:
        # Waiting inside get_result would stop all threads of the process.
        while self._server.is_busy():
            self._wait(self._answers)
        return self._server.get_result()

    def _wait(self, poll: select.poll) -> None:
        seconds = max(0, self._until - time.monotonic())
        if not poll.poll(None if seconds == math.inf else 1000 * seconds):
            self._is_of_no_use = True
            self.is_undecided = self._is_committing
            what = "commit (is a synchronous standby away?)" if self.is_undecided else "statement"
            raise _NoAnswer(f"a {what} was not answered in time")
        self._server.consume_input()

    def _checked(self, result: PGresult | None) -> PGresult:
        if result is None:
            self._is_of_no_use = True
            raise psycopg.OperationalError("the connection was lost")
        if result.status not in _DONE:
            state = result.error_field(DiagnosticField.SQLSTATE)
            self._is_of_no_use = state in (None, _READ_ONLY)
            if state is None:  # libpq's own: the server went away in the middle
                raise psycopg.OperationalError(result.get_error_message())
            raise psycopg.errors.error_from_result(result)
        return result


def _types(values: Sequence[object]) -> tuple[int, ...]:
    # Else a number's size decides about its type, and so about the statement's plan.
    return tuple(_INT8 if isinstance(value, int) else 0 for value in values)


def _parameter(value: object) -> bytes | None:
    match value:
        case None:
            return None
        case int():
            return b"%d" % value
        case str():
            if "\0" in value:  # libpq's texts end there
                raise psycopg.DataError("a text has a U+0000, which PostgreSQL does not take")
            return value.encode()
    raise TypeError(f"no value of a statement: {type(value)}")


def _rows(result: PGresult) -> list[Row]:
    columns = [
        (column, _DECODERS.get(result.ftype(column), bytes.decode))
        for column in range(result.nfields)
    ]
    value = result.get_value
    return [
        tuple(
            None if (found := value(row, column)) is None else decode(found)
            for column, decode in columns
        )
        for row in range(result.ntuples)
    ]


# By the number of a type; all others are texts.
_INT8 = 20
_DECODERS: dict[int, Callable[[bytes], Any]] = {
    16: b"t".__eq__,
    **dict.fromkeys((_INT8, 21, 23), int),
}
_DONE = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)


class _Transaction(Transaction):
    def __init__(self, session: _Session) -> None:
        super().__init__()
        self._session = session
        self._execute = session.execute
        self._cursors = 0

    def one(self, sql: str, *values: object) -> Row | None:
        return next(iter(_rows(self._execute(sql, values))), None)

    def all(self, sql: str, *values: object) -> list[Row]:
        return _rows(self._execute(sql, values))

    def each(self, sql: str, *values: object) -> Iterator[Row]:
        self._cursors += 1
        name = f"rows{self._cursors}"
        self._execute(f"DECLARE {name} NO SCROLL CURSOR FOR {sql}", values)
        while rows := _rows(self._session.script(f"FETCH {_FETCHED} FROM {name}".encode())):
            yield from rows
            if len(rows) < _FETCHED:
                break

    def run(self, sql: str, *values: object) -> int:
        return self._execute(sql, values).command_tuples or 0

    def run_each(self, sql: str, rows: Sequence[Row]) -> int:
        count = 0
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            results = self._session.at_once([(sql, row) for row in some])
            count += sum(result.command_tuples or 0 for result in results)
        return count

    def run_all(self, *statements: tuple[str, Row]) -> None:
        self._session.at_once(statements)

    def now(self) -> int:
        return _now(self)

    def commits_hang(self) -> bool:
        [(hang,)] = self.all(_HANGING)
        return bool(hang)


class _OneShot(Transaction):
    """Runs each statement by itself, on any idle connection."""

    def __init__(self, database: "PostgresqlDatabase") -> None:
        self._database = database

    def one(self, sql: str, *values: object) -> Row | None:
        return next(iter(self.all(sql, *values)), None)

    def all(self, sql: str, *values: object) -> list[Row]:
        with self._database._borrowed(lambda session: session.execute(sql, values)) as (_, result):
            return _rows(result)

    def each(self, sql: str, *values: object) -> Iterator[Row]:
        return iter(self.all(sql, *values))

    def run(self, sql: str, *values: object) -> int:
        raise RuntimeError("a one-shot transaction changes nothing")

    def run_each(self, sql: str, rows: Sequence[Row]) -> int:
        return self.run(sql)

    def now(self) -> int:
        return _now(self)


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
        prepares: bool = True,
    ) -> None:
        """As `SqliteDatabase`, with up to *connections*; whoever has to wait for one waits too.

        *prepares*: a session may know statements of transactions before the present one.
        """
        self.space = space
        self._parameters = _parameters(url, durable=durable)
        self._before_commit = before_commit
        self._busy_seconds = busy_seconds
        self._connections = connections
        self._prepares = prepares
        self._make_pool()
        _databases.add(self)

    def _make_pool(self) -> None:
        self._idle: list[_Session] = []
        self._undecided: list[tuple[_Session, list[threading.Semaphore]]] = []
        self._inside = threading.local()  # .transaction is True in a thread that is in one
        self._slots = threading.Semaphore(self._connections)
        self._most_writers = max(1, self._connections * 3 // 4)
        self._writers = threading.Semaphore(self._most_writers)
        self._failed_at = -self._busy_seconds  # when no connection could be made, by monotonic()

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        with self._borrowed(_begin_snapshot) as (session, _):
            yield _Transaction(session)

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
        with self._committed(keys) as (_, tx):
            yield tx

    def _change(self, keys: tuple[Key, ...], sql: str, values: Row) -> list[Row]:
        self.space.require()
        self._refuse_nesting()
        deadline = self._deadline()

        def change(session: _Session) -> list[Row]:
            begin = _beginning(keys, deadline)
            with session.committing():
                *_, result, _ = session.at_once([*begin, (sql, values), ("COMMIT", ())])
            return _rows(result)

        with self._borrowed(change, deadline, writes=True) as (_, rows):
            return rows

    @contextmanager
    def alone(self) -> Iterator[Transaction]:
        self.space.require()
        with self._committed(()) as (session, tx):
            session.take_long()
            # Programs of others are kept out as well: so all statements see one state.
            for (name,) in _rows(session.script(_TABLES)):
                session.script(b'LOCK TABLE "%b" IN SHARE MODE' % name.encode())
            yield tx

    @contextmanager
    def _committed(self, keys: tuple[Key, ...]) -> Iterator[tuple[_Session, Transaction]]:
        """A transaction that has the locks of *keys*, and its session; committed at the end."""
        with self._locked(keys) as (session, patience_seconds):
            tx = _Transaction(session)
            yield session, tx
            with self._before_commit(tx):
                _commit(session, patience_seconds)
        for call in tx.after_commit:
            call()

    def flush_log(self) -> None:
        """Nothing: what others can see is on the disk."""

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
        self._end_undecided(is_over=lambda _: True)

    def version(self) -> int | None:
        with self._borrowed(_version) as (session, found):
            encoding = session.connection.info.parameter_status("server_encoding")
            if encoding != "UTF8":
                raise ConfigError(f"the database has the encoding {encoding}: accepted is UTF8")
            return found

    def upgrade(self, schema: str) -> None:
        # A database that is right is left alone: even a statement that changes nothing would wait
        # for everybody who writes, and deadlocks with them were seen.
        while self.version() != SCHEMA_VERSION:
            with self._locked(()) as (session, patience_seconds):
                session.take_long()
                found = _version(session)  # again: another process may have been first
                if found is None:
                    session.script(_collated(schema))
                    session.script(
                        b"INSERT INTO schema_version (version) VALUES (%d)" % SCHEMA_VERSION
                    )
                elif found < SCHEMA_VERSION:
                    try:
                        session.script(_collated((STEPS / f"{found + 1}.sql").read_text()))
                    except psycopg.Error as error:
                        raise UpgradeFailed(found, error) from error
                    session.script(b"UPDATE schema_version SET version = %d" % (found + 1))
                    log.warning("the database goes from version %s to %s", found, found + 1)
                _commit(session, patience_seconds)

    def copy_to(self, path: Path) -> None:
        found = self.version()
        if found != SCHEMA_VERSION:
            raise ConfigError(
                f"the database has schema version {found}, not {SCHEMA_VERSION}: pg_dump copies it"
            )
        with self._borrowed(_begin_snapshot) as (session, _):
            session.take_long()
            copy_to_file(_Transaction(session), path)

    @contextmanager
    def _locked(self, keys: tuple[Key, ...]) -> Iterator[tuple[_Session, float]]:
        """Lend a session that is in a transaction which has the locks of *keys*.

        With it come the seconds that its commit may take.
        """
        self._refuse_nesting()
        deadline = self._deadline()
        with self._borrowed(partial(_begin, keys, deadline), deadline, writes=True) as lent:
            yield lent

    @contextmanager
    def _borrowed(
        self,
        first: Callable[[_Session], _Result],
        deadline: float | None = None,
        *,
        writes: bool = False,
    ) -> Iterator[tuple[_Session, _Result]]:
        """Lend a session and what *first* gave in it. What is not committed is rolled back.

        *first* is tried again in another session if the one that was idle turns out to be lost.
        """
        self._refuse_nesting()
        began = time.monotonic()
        deadline = self._deadline() if deadline is None else deadline
        turns: list[threading.Semaphore] = []
        with _translated():
            try:
                with _waiting():
                    self._take_turns(turns, deadline, writes)
                    session, result = self._began(first, began, deadline, turns)
                self._inside.transaction = True
                idle = self._idle
                try:
                    yield session, result
                finally:
                    self._inside.transaction = False
                    if idle is self._idle:
                        self._take_back(session, turns)
                    else:  # after a fork inside the block, the connection is not the child's
                        _inherited.append(session)
            finally:
                for turn in turns:
                    turn.release()

    def _deadline(self) -> float:
        """Until when a transaction that begins now waits for its session and its locks."""
        return time.monotonic() + patience.left_of(self._busy_seconds, at_least=_MOMENT_SECONDS)

    def _take_turns(self, turns: list[threading.Semaphore], deadline: float, writes: bool) -> None:
        """Wait until a session is free, and put what holds it into *turns*."""
        if self._undecided:
            self._end_undecided(is_over=_Session.is_over)
            if writes and len(self._undecided) >= self._most_writers:
                raise ServiceBusy(_AWAY)
        for turn in (self._writers, self._slots) if writes else (self._slots,):
            if not turn.acquire(timeout=max(0, deadline - time.monotonic())):
                raise ServiceBusy(BUSY)
            turns.append(turn)

    def _began(
        self,
        first: Callable[[_Session], _Result],
        began: float,
        deadline: float,
        turns: list[threading.Semaphore],
    ) -> tuple[_Session, _Result]:
        while True:
            try:
                session, is_new = self._idle.pop(), False
            except IndexError:
                session, is_new = self._connect(began, deadline), True
            session.deadline = deadline + _GRACE_SECONDS
            try:
                result = first(session)
            except BaseException:
                is_lost = session.is_lost
                self._take_back(session, turns)
                # A new connection needs a moment.
                if is_new or not is_lost or time.monotonic() > deadline - _MOMENT_SECONDS:
                    raise
            else:
                session.deadline = None
                return session, result

    def _take_back(self, session: _Session, turns: list[threading.Semaphore]) -> None:
        """Make *session* idle, or end it.

        One that is undecided keeps its *turns*: it is one of the server's for as long as that waits
        for the standby, also if we close it, and the number of those is bounded.
        """
        if session.is_undecided:
            self._undecided.append((session, turns.copy()))
            turns.clear()
            return
        try:
            if session.status in _OPEN and not session.is_lost:
                session.deadline = time.monotonic() + _MOMENT_SECONDS
                session.script(b"ROLLBACK")
        except psycopg.Error as error:
            log.info("a connection to the database was lost: %s", _first_line(error))
        if session.status == TransactionStatus.IDLE and not session.is_lost:
            self._idle.append(session)
        else:
            session.close()

    def _end_undecided(self, *, is_over: Callable[[_Session], bool]) -> None:
        """Close the undecided sessions that are over, and give back their turns."""
        for _ in range(len(self._undecided)):
            try:
                session, turns = self._undecided.pop(0)
            except IndexError:  # another thread has it
                return
            if not is_over(session):
                self._undecided.append((session, turns))
                continue
            session.close()
            for turn in turns:
                turn.release()

    def _connect(self, began: float, deadline: float) -> _Session:
        # Whoever has waited for one that could not connect does not wait again for the same.
        if self._failed_at > began:
            raise ServiceBusy(_AWAY)
        try:
            connection = psycopg.connect(
                **{"connect_timeout": self._connect_seconds(deadline), **self._parameters},
                autocommit=True,
            )
        except psycopg.OperationalError:
            self._failed_at = time.monotonic()
            raise
        return _Session(connection, prepares=self._prepares)

    def _connect_seconds(self, deadline: float) -> int:
        """What each address of the server has, so that all have had their turn by *deadline*."""
        # A name often has two, of IPv6 and of IPv4.
        addresses = max(2, str(self._parameters.get("host", "")).count(",") + 1)
        # psycopg does not take less than two seconds.
        return max(2, int((deadline - time.monotonic()) / addresses))

    def _refuse_nesting(self) -> None:
        if getattr(self._inside, "transaction", False):
            raise RuntimeError("transactions do not nest")

    def _forget_inherited(self) -> None:
        # A forked child must neither use nor close a connection.
        _inherited.extend((self._idle, self._undecided))
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


def _begin_snapshot(session: _Session) -> None:
    session.script(b"BEGIN ISOLATION LEVEL REPEATABLE READ")


def _begin(keys: tuple[Key, ...], deadline: float, session: _Session) -> float:
    """Begin a transaction that has the locks of *keys*, waited for until *deadline*.

    The seconds that its commit may take.
    """
    numbers = _numbers(keys)
    if numbers:
        locks = f"pg_advisory_xact_lock_shared({_EVERYTHING})"
        locks += "".join(f", pg_advisory_xact_lock({number})" for number in numbers)
    else:
        locks = f"pg_advisory_xact_lock({_EVERYTHING})"
    script = f"BEGIN; SET LOCAL lock_timeout = {_milliseconds(deadline)}; SELECT {locks}"
    session.script(script.encode())
    return max(_MOMENT_SECONDS, deadline - time.monotonic())


def _beginning(keys: tuple[Key, ...], deadline: float) -> list[tuple[str, Row]]:
    """What `_begin` does, as statements with values: those are prepared, so they are few."""
    numbers = _numbers(keys)
    if numbers:
        locks = "SELECT pg_advisory_xact_lock_shared(?)" + ", pg_advisory_xact_lock(?)" * len(
            numbers
        )
    else:
        locks = "SELECT pg_advisory_xact_lock(?)"
    return [
        ("BEGIN", ()),
        ("SELECT set_config('lock_timeout', ?, TRUE)", (f"{_milliseconds(deadline)}ms",)),
        (locks, (_EVERYTHING, *numbers)),
    ]


def _numbers(keys: tuple[Key, ...]) -> list[int]:
    """Those of the locks of *keys*, in order: no two transactions wait for each other."""
    return sorted({_number(key) for key in keys})


def _milliseconds(deadline: float) -> int:
    return max(1, int(1000 * (deadline - time.monotonic())))


def _number(key: Key) -> int:
    """The number of the lock of *key*, 64 bits: its kind, and the beginning of a hash."""
    kind, name = key
    return kind << 56 | int.from_bytes(hashlib.sha256(name.encode()).digest()[:7])


def _commit(session: _Session, patience_seconds: float) -> None:
    session.deadline = time.monotonic() + patience_seconds
    with _waiting(), session.committing():
        result = session.script(b"COMMIT")
    # After a statement that failed, COMMIT rolls back, and says so without an error.
    if result.command_status != b"COMMIT":
        raise DatabaseError("a statement had failed, so nothing was committed")


@cache
def _numbered(sql: str) -> bytes:
    """*sql* with ``$1``, ``$2``, … in place of each ``?``."""
    first, *rest = sql.split("?")
    parts = [f"${number}{part}" for number, part in enumerate(rest, 1)]
    return "".join([first, *parts]).encode()


def _collated(script: str) -> bytes:
    return re.sub(r"\bTEXT\b", _COLLATED, script).encode()


def _now(tx: Transaction) -> int:
    [(now,)] = tx.all("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)")
    return int(now)


def _version(session: _Session) -> int | None:
    names = [name for (name,) in _rows(session.script(_TABLES))]
    if not names:
        return None
    rows: list[Row] = []
    if "schema_version" in names:
        rows = _rows(session.script(b"SELECT version FROM schema_version LIMIT 2"))
    return known_version(version_in(rows), names)


@contextmanager
def _waiting() -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        patience.note_wait(time.monotonic() - began)


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
        if state in _CONFLICTS:
            log.warning("transactions were in each other's way: %s", _first_line(error))
            raise Conflict(BUSY) from error
        if _PASSING.match(state or ""):
            log.warning("the database is busy: %s", _first_line(error))
            raise ServiceBusy(BUSY) from error
        raise DatabaseError(str(error)) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
