"""Two stores as one, while blobs move between them."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import BinaryIO

from aurora_blobs.errors import BlobNotFound, BlobServiceError
from aurora_blobs.intake.spool import Spooled
from aurora_blobs.protocol.cid import place_of
from aurora_blobs.storage.base import BlobBackend, Store, Stored


class PairBackend(BlobBackend):
    """New blobs go to *first*; *second* is read for those that *first* does not have."""

    def __init__(self, first: Store, second: Store) -> None:
        self.first = first
        self.second = second
        self.stat_is_cheap = first.stat_is_cheap and second.stat_is_cheap
        self.is_local_disk = first.is_local_disk

    def put(self, blob: Spooled) -> None:
        self.first.put(blob)

    def put_many(self, blobs: Sequence[Spooled]) -> None:
        self.first.put_many(blobs)

    def open(self, name: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        try:
            return self.first.open(name, start, stop)
        except BlobNotFound:
            return self.second.open(name, start, stop)

    def size(self, name: str) -> int | None:
        size = self.first.size(name)
        return self.second.size(name) if size is None else size

    def delete(self, name: str) -> None:
        self.check_ours(recently=True)
        # The second first: if only one deletion succeeds, the blob is left where reads begin.
        self.second.delete(name)
        self.first.delete(name)

    def delete_many(self, names: Sequence[str]) -> dict[str, BlobServiceError]:
        self.check_ours(recently=True)  # of both, before one has removed anything
        failures = self.second.delete_many(names)
        return failures | self.first.delete_many([name for name in names if name not in failures])

    def scan(
        self,
        skipped: Callable[[str], None] | None = None,
        start: str = "",
        stop: str | None = None,
    ) -> Iterator[Stored]:
        each = (store.scan(skipped, start, stop) for store in self.stores)
        both = heapq.merge(*each, key=_order)
        for _, same in groupby(both, key=_order):
            yield next(same)

    def probe(self) -> None:
        self.first.probe()
        self.second.probe()

    @property
    def stores(self) -> tuple[Store, ...]:
        return (self.first, self.second)


def _order(stored: Stored) -> str:
    return place_of(stored.name)
