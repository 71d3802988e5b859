"""Measures the transactions of a database."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from time import perf_counter
from types import TracebackType
from typing import TypeVar

from aurora_blobs.db import Database, Key, Transaction, WrappedDatabase
from aurora_blobs.db.seam import OneChange, Row
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import DatabaseError, InsufficientStorage, ServiceBusy
from aurora_blobs.metrics.meter import DatabaseKind, Meter

_Result = TypeVar("_Result")
_ERRORS = (DatabaseError, InsufficientStorage, ServiceBusy)


class MeteredDatabase(WrappedDatabase):
    """*database*, whose transactions *meter* counts; reads of one statement if it *has_network*."""

    def __init__(self, database: Database, meter: Meter, *, has_network: bool) -> None:
        super().__init__(database)
        self._meter = meter
        self._has_network = has_network

    def read(self) -> AbstractContextManager[Transaction]:
        return _Timed(super().read(), self._meter, "read")

    def one_shot(self) -> Transaction:
        found = super().one_shot()
        return _Statements(found, self._meter) if self._has_network else found

    def write(
        self, spend: Spend = Spend.NOTHING, *, keys: tuple[Key, ...] = ()
    ) -> AbstractContextManager[Transaction]:
        return _Timed(super().write(spend, keys=keys), self._meter, "write")

    def one_change(self, *, keys: tuple[Key, ...]) -> Transaction:
        change = self._database.one_change(keys=keys).all
        return OneChange(
            lambda sql, values: _timed(self._meter, "write", partial(change, sql, *values))
        )


class _Timed(AbstractContextManager[Transaction]):
    """A transaction. What its block raises is no failure of the database."""

    __slots__ = ("_asked", "_began", "_kind", "_meter", "_transaction")

    def __init__(
        self, transaction: AbstractContextManager[Transaction], meter: Meter, kind: DatabaseKind
    ) -> None:
        self._transaction = transaction
        self._meter = meter
        self._kind: DatabaseKind = kind

    def __enter__(self) -> Transaction:
        self._asked = perf_counter()
        try:
            tx = self._transaction.__enter__()
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
            return self._transaction.__exit__(kind, error, traceback)
        except _ERRORS as failure:
            self._meter.database_failed(failure)
            raise
        finally:
            asked = self._asked
            self._meter.transaction(self._kind, self._began - asked, perf_counter() - asked)


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
