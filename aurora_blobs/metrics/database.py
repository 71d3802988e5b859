"""Measures the transactions of a database."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from time import perf_counter
from types import TracebackType
from typing import TypeVar

from aurora_blobs.db import Database, Key, Transaction, WrappedDatabase
from aurora_blobs.db.seam import OneChange, Row
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import DatabaseError, InsufficientStorage, ServiceBusy
from aurora_blobs.metrics.meter import INNER_BOUNDS, DatabaseKind, Meter
from aurora_blobs.server.shared_counts import MOST_NOTED

_Result = TypeVar("_Result")
_ERRORS = (DatabaseError, InsufficientStorage, ServiceBusy)


class MeteredDatabase(WrappedDatabase):
    """*database*, whose transactions *meter* counts; reads of one statement if it *has_network*."""

    def __init__(self, database: Database, meter: Meter, *, has_network: bool) -> None:
        super().__init__(database)
        self._meter = meter
        # What each upload asks for, and nothing measures, is not even passed on.
        self.flush_log = database.flush_log  # type: ignore[method-assign]
        if not has_network:
            self.one_shot = database.one_shot  # type: ignore[method-assign]

    def read(self) -> AbstractContextManager[Transaction]:
        return _Timed(self._database.reading(), self._meter, self._meter.reads)

    def one_shot(self) -> Transaction:
        return _Statements(self._database.one_shot(), self._meter)

    def write(
        self, spend: Spend = Spend.NOTHING, *, keys: tuple[Key, ...] = ()
    ) -> AbstractContextManager[Transaction]:
        return _Timed(self._database.writing(spend, keys=keys), self._meter, self._meter.writes)

    def one_change(self, *, keys: tuple[Key, ...]) -> Transaction:
        change = self._database.one_change(keys=keys).all
        return OneChange(
            lambda sql, values: _timed(self._meter, "write", partial(change, sql, *values))
        )


class _Timed(AbstractContextManager[Transaction]):
    """A transaction of *steps*. What its block raises is no failure of the database.

    In place of contextlib's own, not around it: that would be 2 us more of each upload (measured).
    """

    __slots__ = ("_asked", "_began", "_meter", "_places", "_steps")

    def __init__(
        self, steps: Generator[Transaction, None, None], meter: Meter, places: tuple[int, int]
    ) -> None:
        self._steps = steps
        self._meter = meter
        self._places = places

    def __enter__(self) -> Transaction:
        self._asked = perf_counter()
        try:
            tx = next(self._steps)
        except _ERRORS as error:
            self._meter.database_failed(error)
            raise
        self._began = perf_counter()
        return tx

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        try:
            if error is None:
                next(self._steps, None)
                return None
            return contextmanager(lambda: self._steps)().__exit__(kind, error, traceback)
        except _ERRORS as failure:
            self._meter.database_failed(failure)
            raise
        finally:
            noted, asked = self._meter.noted, self._asked
            wait, place = self._places
            noted.append((wait, INNER_BOUNDS, self._began - asked))
            noted.append((place, INNER_BOUNDS, perf_counter() - asked))
            if len(noted) >= MOST_NOTED:
                self._meter.settle()


class _Statements(Transaction):
    """Statements each of which is a transaction."""

    def __init__(self, inner: Transaction, meter: Meter) -> None:
        super().__init__()
        self._inner = inner
        self._meter = meter

    def one(self, sql: str, *values: object) -> Row | None:
        return _timed(self._meter, "read", partial(self._inner.one, sql, *values))

    def all(self, sql: str, *values: object) -> list[Row]:
        return _timed(self._meter, "read", partial(self._inner.all, sql, *values))

    def each(self, sql: str, *values: object) -> Iterator[Row]:
        return iter(self.all(sql, *values))

    def run(self, sql: str, *values: object) -> int:
        return self._inner.run(sql, *values)

    def run_each(self, sql: str, rows: Sequence[Row]) -> int:
        return self._inner.run_each(sql, rows)

    def now(self) -> int:
        return self._inner.now()


def _timed(meter: Meter, kind: DatabaseKind, run: Callable[[], _Result]) -> _Result:
    began = perf_counter()
    try:
        return run()
    except _ERRORS as error:
        meter.database_failed(error)
        raise
    finally:
        meter.statement(kind, perf_counter() - began)
