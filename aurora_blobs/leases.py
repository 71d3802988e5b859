"""Leases: what one process at a time does, over all nodes that share a database.

A lease is over by the database's clock, unless it is renewed. Its holder may be paused meanwhile
and not know: nothing is safe because of a lease. What must not be done by two calls
`Holder.require` in the transaction that does it; all else is safe to be done twice.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from aurora_blobs.catalog import leases
from aurora_blobs.db import Database, Key, Transaction, WrappedDatabase, row_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import DatabaseError, InsufficientStorage, LeaseLost, ServiceBusy

_RENEWAL_SECONDS = leases.SECONDS / 3


class Leases:
    """The leases in *database*, for the node called *node*.

    None is a node that has the database to itself: there are no leases then, everything is had.
    """

    def __init__(
        self,
        database: Database,
        node: str | None = None,
        *,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """*timer* gives seconds that pass evenly."""
        self._database = database
        self._node = node
        self._timer = timer

    @property
    def are_shared(self) -> bool:
        """Whether there are other nodes."""
        return self._node is not None

    def holder(self, family: str) -> "Holder":
        """A new holder of leases of *family*, whose names are ``<family>/…``."""
        node = None if self._node is None else f"{self._node} {secrets.token_hex(8)}"
        return Holder(self._database, family, node, self._timer)


class Holder:
    """Has the leases in `names`, and keeps them as long as `keep` is called often enough."""

    def __init__(
        self, database: Database, family: str, name: str | None, timer: Callable[[], float]
    ) -> None:
        self._database = database
        self._family = family
        self._name = name
        self._timer = timer
        self._renewed_at = timer()
        self.names: list[str] = []

    @property
    def keys(self) -> tuple[Key, ...]:
        """Those of a transaction that takes leases of the family, or gives them back."""
        return (row_key("lease", self._family),)

    def take(self, tx: Transaction, name: str) -> bool:
        """Take the lease ``<family>/<name>``; False if another one has it."""
        full_name = f"{self._family}/{name}"
        if self._name is None:
            return True
        if not leases.take(tx, full_name, self._name):
            return False
        if not self.names:
            self._renewed_at = self._timer()
        self.names.append(full_name)
        return True

    def has(self, tx: Transaction, name: str) -> bool:
        """Whether nobody else has taken ``<family>/<name>`` since."""
        return self._name is None or leases.has(tx, f"{self._family}/{name}", self._name)

    def require(self, tx: Transaction) -> None:
        """Raise LeaseLost if another one has taken any of the leases, so that *tx* fails."""
        if self._name is None:
            return
        for name in self.names:
            if not leases.has(tx, name, self._name):
                raise LeaseLost(f"Another process has taken {name} over.")

    def guarded(self, name: str) -> "Guarded":
        """The database for who has ``<family>/<name>``; who has lost it, changes nothing there.

        Each of its write transactions raises LeaseLost then. The keys of one cover what it changes,
        so whoever takes the lease after its look changes that after its commit.
        """

        def check(tx: Transaction) -> None:
            if not self.has(tx, name):
                raise LeaseLost(f"Another process has taken {self._family}/{name} over.")

        return Guarded(self._database, check)

    def keep(self) -> None:
        """Renew the leases, if it is time. Raises LeaseLost, with all of them given back."""
        if not self.names or self._timer() - self._renewed_at < _RENEWAL_SECONDS:
            return
        with self._database.write(Spend.ALL, keys=self.keys) as tx:
            is_kept = self.renew(tx)
        if not is_kept:
            self.give_back()
            raise LeaseLost("Another process has taken the work over.")

    def renew(self, tx: Transaction) -> bool:
        """Renew the leases now; False if another one has taken any of them."""
        if self._name is None or not self.names:
            return True
        self._renewed_at = self._timer()
        return leases.renew(tx, self.names, self._name)

    def give_back(self) -> None:
        """Let others take the leases at once. Where that fails, they wait until it is over."""
        if not self.names:
            return
        with (
            suppress(ServiceBusy, InsufficientStorage, DatabaseError),
            self._database.write(Spend.ALL, keys=self.keys) as tx,
        ):
            self.forget(tx)
        self.names = []

    def forget(self, tx: Transaction) -> None:
        """As `give_back`, in *tx*."""
        names, self.names = self.names, []
        if self._name is not None:
            leases.give_back(tx, names, self._name)

    @contextmanager
    def having(self, name: str) -> Iterator[bool]:
        """Have the lease ``<family>/<name>`` until the block ends; yields False if another has."""
        if self._name is None:
            yield True
            return
        with self._database.write(Spend.ALL, keys=self.keys) as tx:
            is_had = self.take(tx, name)
        try:
            yield is_had
        finally:
            self.give_back()


class Guarded(WrappedDatabase):
    """*database* for who does something alone: *check* is called in each of its transactions.

    It raises when another process does it by now, so that the transaction fails.
    """

    def __init__(self, database: Database, check: Callable[[Transaction], None]) -> None:
        super().__init__(database)
        self._check = check

    @contextmanager
    def write(
        self, spend: Spend = Spend.NOTHING, *, keys: tuple[Key, ...] = ()
    ) -> Iterator[Transaction]:
        with super().write(spend, keys=keys) as tx:
            self._check(tx)
            yield tx

    @contextmanager
    def alone(self) -> Iterator[Transaction]:
        with super().alone() as tx:
            self._check(tx)
            yield tx
