"""A pass over all blobs in 256 shards, which all nodes share that run it at the same time."""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from aurora_blobs.catalog import jobs
from aurora_blobs.catalog import leases as lease_rows
from aurora_blobs.db import Database, Transaction
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import LeaseLost
from aurora_blobs.leases import Leases
from aurora_blobs.protocol.cid import cid_of_digest

SHARDS = 256
_MOST = 16  # shards that one node has at once
# Whoever was done sooner takes twice as many the next time, so a small store takes few
# transactions; who took longer takes half, so others find some.
_SOON_SECONDS = 1
_LATE_SECONDS = 10

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Shard:
    """The blobs with `low` < CID < `high`, whose digests begin with one of the bytes in `numbers`.

    `name` is that of its row of `job`. `after` is the last CID that was done, `low` if none is.
    """

    name: str
    numbers: range
    low: str
    high: str
    after: str


class SharedPass:
    """One pass of *job*, or a share of it. `taken` counts the shards that were done here.

    Where there are no other nodes it has one shard, of everything.
    """

    def __init__(
        self, database: Database, job: str, leases: Leases | None, *, resumes: bool = False
    ) -> None:
        """*resumes* goes on with what a pass has left that broke off.

        Else a pass is joined only while somebody works on it.
        """
        self._database = database
        self._job = job
        self._leases = leases or Leases(database)
        self._holder = self._leases.holder(job)
        self._resumes = resumes
        self.taken = 0

    def shards(self) -> Iterator[Shard]:
        """Each shard that is done here, in the order of CIDs. It counts as done when the next is
        taken, unless it raises LeaseLost: `keep` and `save` do, when another node has taken it.
        """
        if not self._leases.are_shared:
            yield self._everything()
            if self._resumes:
                with self._database.write(Spend.ALL) as tx:
                    jobs.finish(tx, self._job)
            self.taken = SHARDS
            return
        most, done = 1, list[Shard]()
        try:
            found = self._take(most, done, is_first=True)
            while found:
                began, done = time.monotonic(), []
                for shard in found:
                    yield shard
                    if not self._holder.names:  # given back, since one of them was lost
                        break
                    done.append(shard)
                seconds = time.monotonic() - began
                if seconds < _SOON_SECONDS:
                    most = min(2 * most, _MOST)
                elif seconds > _LATE_SECONDS:
                    most = max(1, most // 2)
                found = self._take(most, done)
        finally:
            self._holder.give_back()

    def keep(self) -> None:
        """To be called often: tells others that this node lives. Raises LeaseLost."""
        self._holder.keep()

    def save(self, tx: Transaction, shard: Shard, position: str, now: int) -> None:
        """*shard* is done up to *position*, a CID. Raises LeaseLost, so that *tx* fails."""
        if not self._holder.has(tx, _place(shard.name)):
            raise LeaseLost(f"Another process has taken {shard.name} over.")
        jobs.save_position(tx, shard.name, position, now)

    def once(self, name: str, items: Iterable[_Item]) -> Iterator[_Item]:
        """*items*, unless another node is at the same under that *name*."""
        holder = self._leases.holder(self._job)
        with holder.having(name) as is_had:
            for item in items if is_had else ():
                yield item
                with suppress(LeaseLost):  # what begins again elsewhere may be done twice
                    holder.keep()

    def _everything(self) -> Shard:
        after = ""
        if self._resumes:
            with self._database.read() as tx:
                after = jobs.find_position(tx, self._job) or ""
        return Shard(self._job, range(SHARDS), "", "~", after)

    def _take(self, most: int, done: list[Shard], *, is_first: bool = False) -> list[Shard]:
        """Up to *most* shards that nobody has; those of *done* are done."""
        holder = self._holder
        with self._database.write(Spend.ALL, keys=holder.keys) as tx:
            for shard in done:
                if holder.has(tx, _place(shard.name)):
                    jobs.finish(tx, shard.name)
                    self.taken += 1
            holder.forget(tx)
            if is_first:
                self._begin(tx)
            taken = {lease.name for lease in lease_rows.held(tx, self._job)}
            free = [left for left in jobs.shards_left(tx, self._job) if left[0] not in taken]
            found = [
                _shard(name, position)
                for name, position in free[:most]
                if holder.take(tx, _place(name))
            ]
        return found

    def _begin(self, tx: Transaction) -> None:
        left = {name for name, _ in jobs.shards_left(tx, self._job)}
        if left.intersection(lease.name for lease in lease_rows.held(tx, self._job)):
            return
        if left and self._resumes:
            return
        # Who was paused and wakes up has no part in the new pass.
        lease_rows.revoke(tx, self._job)
        jobs.begin_shards(tx, self._job, [f"{self._job}/{place:03}" for place in range(SHARDS)])


def _place(name: str) -> str:
    return name.rpartition("/")[2]


def prefix_of(number: int) -> str:
    """How the CIDs begin whose digest begins with the byte *number*."""
    # The first 9 characters are decided by it.
    return cid_of_digest(bytes([number]) + bytes(31))[:9]


# In their order, so that a pass goes through the CIDs in theirs.
_PREFIXES = sorted((prefix_of(number), number) for number in range(SHARDS))


def _shard(name: str, position: str) -> Shard:
    prefix, number = _PREFIXES[int(_place(name))]
    return Shard(name, range(number, number + 1), prefix, f"{prefix}~", position or prefix)
