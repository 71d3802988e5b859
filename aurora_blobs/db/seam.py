"""What every engine gives: transactions of plain SQL with ``?``, and the version of the schema."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from aurora_blobs.config import ConfigError
from aurora_blobs.db.keys import Key
from aurora_blobs.disk_space import DiskSpace, Spend
from aurora_blobs.errors import Conflict

SCHEMA_VERSION = 2
SCHEMA = Path(__file__).parents[1] / "schema.sql"
STEPS = Path(__file__).parent / "steps"  # <version>.sql leads from the one before to it
BUSY_SECONDS = 10  # a lock held longer is answered with 503
BUSY = "The database is busy, please try again."
# What a step of `Database.in_steps` may change. 1,000 rows take 20 to 50 ms, 4 MiB of text 40 ms
# (measured, on SQLite), for which all other writers wait.
STEP_ROWS = 1000
STEP_BYTES = 4 * 2**20
# Seconds between two steps of one job. Without them its thread takes the lock again before any
# thread that waits has woken up.
_STEP_PAUSE = 0.001
# Of `Database.transact`. Without the pause, in seconds, who was stopped was there again before the
# other one had woken up, and the same happened again (seen).
_TRIES = 3
_RETRY_PAUSE = 0.05
NO_RESERVE = DiskSpace()
COPY_SOURCE = "copy_source"  # a table in a database into which another one is being copied

Row = tuple[Any, ...]
_Key = TypeVar("_Key")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Transaction(ABC):
    """One transaction. A statement has ``?`` placeholders, and its values follow it in order.

    `hidden` collects what `hide` was told, `withdrawn` what of it was public, `keeps_others_out`
    whether `keep_others_out` was called, `left_to_kernel` whether `leave_to_kernel` was. The
    functions in `after_commit` are called when the commit is durable and the write lock is free.
    """

    def __init__(self) -> None:
        self.hidden: list[tuple[str, str | None]] = []
        self.withdrawn: list[tuple[str, str | None]] = []
        self.keeps_others_out = False
        self.left_to_kernel = False
        self.after_commit: list[Callable[[], None]] = []

    @abstractmethod
    def one(self, sql: str, *values: object) -> Row | None:
        """The first row, or None."""

    @abstractmethod
    def all(self, sql: str, *values: object) -> list[Row]:
        """Every row."""

    @abstractmethod
    def each(self, sql: str, *values: object) -> Iterator[Row]:
        """Row by row, each read when it is taken, for as long as the transaction lasts."""

    @abstractmethod
    def run(self, sql: str, *values: object) -> int:
        """Change rows; how many were changed."""

    @abstractmethod
    def run_each(self, sql: str, rows: Sequence[Row]) -> int:
        """`run` the statement with the values of each of *rows*; how many rows were changed."""

    def run_all(self, *statements: tuple[str, Row]) -> None:
        """`run` each of *statements* with its values; on a network in one round trip."""
        for sql, values in statements:
            self.run(sql, *values)

    @abstractmethod
    def now(self) -> int:
        """The database's clock, which all nodes share: microseconds since the epoch, UTC.

        It goes on within the transaction. A file's clock is that of its machine.
        """

    def commits_hang(self) -> bool:
        """Whether commits of any node wait for a standby server that does not answer."""
        return False

    def hide(self, did: str, cid: str | None = None, *, was_public: bool = True) -> None:
        """Tell the before-commit hook that this transaction hides *cid* of *did* from the public.

        None is every blob of the account. Unless it *was_public*, no cache is told.
        """
        self.hidden.append((did, cid))
        if was_public:
            self.withdrawn.append((did, cid))

    def keep_others_out(self) -> None:
        """Let nobody write, and nobody link, until the commit is on the disk.

        For what others act on at once and for good. A link that is made because a takedown is
        lifted, or bytes that go because an account does, must not outlast the reason: a power
        failure may undo a commit that is not on the disk.
        """
        self.keeps_others_out = True

    def leave_to_kernel(self) -> None:
        """Do not wait until the commit is on the disk: a power failure may undo it.

        For what ends by itself if it comes back. Where others rely on each commit (PostgreSQL), it
        is waited for all the same.
        """
        self.left_to_kernel = True


class OneChange(Transaction):
    """Each statement that gives rows is a transaction of its own, by *run*."""

    def __init__(self, run: Callable[[str, Row], list[Row]]) -> None:
        super().__init__()
        self._run = run

    def one(self, sql: str, *values: object) -> Row | None:
        return next(iter(self.all(sql, *values)), None)

    def all(self, sql: str, *values: object) -> list[Row]:
        return self._run(sql, values)

    def each(self, sql: str, *values: object) -> Iterator[Row]:
        return iter(self.all(sql, *values))

    def run(self, sql: str, *values: object) -> int:
        raise RuntimeError("it says what it changed: RETURNING")

    def run_each(self, sql: str, rows: Sequence[Row]) -> int:
        return self.run(sql)

    def now(self) -> int:
        raise RuntimeError("it has no time of its own")


# Gets the transaction that is about to be committed. The commit happens inside its block.
CommitHook = Callable[[Transaction], AbstractContextManager[None]]


def no_hook(tx: Transaction) -> AbstractContextManager[None]:
    """Do nothing before or after a commit."""
    return nullcontext()


class DatabaseRefused(ValueError):
    """A database that is none of this program, or cannot be used. The message is one line."""


class CopyBegun(ConfigError):
    """A database into which another one was not copied to its end."""


class UpgradeFailed(ConfigError):
    """A step of the upgrade that the database refused, for *reason*. It is as it was before."""

    def __init__(self, found: int, reason: object) -> None:
        super().__init__(
            f"the upgrade of the database from schema version {found} to {found + 1} failed: "
            f"{' '.join(str(reason).split())}; it is as it was, and the program of before serves "
            "it: look whether the disk and the database are sound, or put a backup in its place "
            "by `backup restore`; if that does not help, report this line"
        )


class Database(ABC):
    """A database. `space` has the reserve for a full disk.

    Whatever fails raises DatabaseError, or ServiceBusy and InsufficientStorage where waiting or
    space helps.
    """

    space: DiskSpace

    @abstractmethod
    def read(self) -> AbstractContextManager[Transaction]:
        """One snapshot for several statements."""

    @abstractmethod
    def one_shot(self) -> Transaction:
        """A transaction of one statement, without the two more that `read` puts around it."""

    @abstractmethod
    def write(
        self, spend: Spend = Spend.NOTHING, *, keys: tuple[Key, ...] = ()
    ) -> AbstractContextManager[Transaction]:
        """All or nothing: committed when the block ends, rolled back when it raises.

        *spend* says how much of the reserve for a full disk it may use up. *keys* names all that
        the block decides on or changes (db/keys.py); without any it has the database to itself.

        The block uses neither network nor files, except to ask a store where `stat_is_cheap` for
        the size of bytes. The before-commit hook may.

        Raises ServiceBusy, InsufficientStorage. After ServiceBusy the changes may be there if the
        database was lost at the commit.
        """

    def reading(self) -> Generator[Transaction, None, None]:
        """As `read`, step by step: begins the transaction, yields it, and ends it."""
        with self.read() as tx:
            yield tx

    def writing(
        self, spend: Spend = Spend.NOTHING, *, keys: tuple[Key, ...] = ()
    ) -> Generator[Transaction, None, None]:
        """As `write`, step by step."""
        with self.write(spend, keys=keys) as tx:
            yield tx

    def transact(
        self,
        work: Callable[[Transaction], _Result],
        spend: Spend = Spend.NOTHING,
        *,
        keys: tuple[Key, ...] = (),
    ) -> _Result:
        """What *work* returns in a transaction as that of `write`, once that is committed.

        For what touches rows that no key covers: such transactions may stop each other. *work* is
        called again then, so it may do nothing but in the transaction that it is given.
        """
        for _ in range(_TRIES - 1):
            with suppress(Conflict), self.write(spend, keys=keys) as tx:
                return work(tx)
            time.sleep(_RETRY_PAUSE)
        with self.write(spend, keys=keys) as tx:
            return work(tx)

    def one_change(self, *, keys: tuple[Key, ...]) -> Transaction:
        """Changes rows by one statement, with RETURNING, which is a transaction as of `write`.

        On a network it is one round trip. The statement is run again if the connection was lost,
        so a second time it changes nothing. It hides nothing.
        """
        return OneChange(partial(self._change, keys))

    def _change(self, keys: tuple[Key, ...], sql: str, values: Row) -> list[Row]:
        with self.write(keys=keys) as tx:
            return tx.all(sql, *values)

    @abstractmethod
    def alone(self) -> AbstractContextManager[Transaction]:
        """The database to itself for as long as it takes: a transaction as those of `write`.

        Others read meanwhile. Who wants to write waits, and gets ServiceBusy in the end.
        """

    def in_steps(
        self,
        step: Callable[[Transaction], bool],
        spend: Spend = Spend.NOTHING,
        *,
        keys: tuple[Key, ...] = (),
    ) -> None:
        """Call *step* in one transaction after the other until it returns False.

        For work whose amount somebody else chose. Each step has to be short: other writers wait for
        it. Those who wait go first between two. *spend*, *keys* and what it raises are those of
        `write`.
        """
        while True:
            with self.write(spend, keys=keys) as tx:
                is_unfinished = step(tx)
            if not is_unfinished:
                return
            time.sleep(_STEP_PAUSE)

    def in_pages(
        self,
        page: Callable[[Transaction, _Key, int], list[_Item]],
        after: _Key,
        key: Callable[[_Item], _Key],
        *,
        limit: int,
    ) -> Iterator[_Item]:
        """What *page* gives after *after*, *limit* at a time, then after the last one's *key*.

        Each page is a snapshot of its own, so nobody holds the log back however long it takes.
        """
        while True:
            with self.read() as tx:
                found = page(tx, after, limit)
            yield from found
            if len(found) < limit:
                return
            after = key(found[-1])

    @abstractmethod
    def flush_log(self) -> None:
        """Put on the disk what any process has committed so far.

        For an answer that rests on another's commit. Does nothing where commits are not durable.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the idle connections. The database opens again when it is used."""

    @abstractmethod
    def version(self) -> int | None:
        """The version of the schema; None if there is none yet. Makes nothing.

        Raises ConfigError for a newer one, and for a database of another program.
        """

    def check_version(self) -> None:
        """Raise ConfigError unless the schema is that of this program."""
        found = self.version()
        if found != SCHEMA_VERSION:
            raise ConfigError(
                f"the database has schema version {found}, this program needs {SCHEMA_VERSION}: "
                "`aurora-blobs init-db` upgrades it"
            )

    @abstractmethod
    def upgrade(self, schema: str) -> None:
        """Make the tables by *schema* if needed, or bring them to it by the steps that are missing.

        A database that is as it should be is read and not changed. Each step is one transaction.

        Raises ConfigError as `version` does, and UpgradeFailed.
        """

    @abstractmethod
    def copy_to(self, path: Path) -> None:
        """Make the SQLite file *path* a copy of one state of this database, which stays in use."""


def version_in(rows: list[Row]) -> int | None:
    """The version that *rows* of `schema_version`, up to two, say; None if they say none."""
    if len(rows) != 1 or not isinstance(rows[0][0], int) or rows[0][0] < 1:
        return None
    version: int = rows[0][0]
    return version


def known_version(version: int | None, tables: Container[str]) -> int:
    """*version*, which a database says that has *tables*.

    Raises ConfigError for None, for a newer one, and for a copy that was not completed.
    """
    if COPY_SOURCE in tables:
        raise CopyBegun(
            "the database is a copy that was begun: the same `aurora-blobs database copy` "
            "completes it"
        )
    if version is None:
        raise ConfigError("the database is none of this program: it does not say its version")
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"the database has schema version {version}, this program knows up to "
            f"{SCHEMA_VERSION}: install the newer program that made it so, or put a backup of "
            "before in its place by `backup restore FOLDER`, on PostgreSQL into an empty database"
        )
    return version
