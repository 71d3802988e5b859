"""Two stores as one, while blobs move from one to the other: written to the first, read from either."""

import heapq
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import groupby
from typing import BinaryIO

from aurora_blobs.errors import BlobNotFound, BlobServiceError
from aurora_blobs.intake.spool import Spooled
from aurora_blobs.protocol.cid import place_of
from aurora_blobs.storage.base import BlobBackend, Stored


class PairBackend(BlobBackend):
    """*first* takes what is new, *second* is looked at for what *first* does not have."""

    def __init__(self, first: BlobBackend, second: BlobBackend) -> None:
        self.first = first
        self.second = second
        self.stat_is_cheap = first.stat_is_cheap and second.stat_is_cheap
        self.is_local_disk = first.is_local_disk

    def put(self, blob: Spooled) -> None:
        self.first.put(blob)

    def open(self, cid: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        try:
            return self.first.open(cid, start, stop)
        except BlobNotFound:
            return self.second.open(cid, start, stop)

    def size(self, cid: str) -> int | None:
        size = self.first.size(cid)
        return self.second.size(cid) if size is None else size

    def delete(self, cid: str) -> None:
        # The second first: what is left when this breaks off between them is where it is looked for.
        self.second.delete(cid)
        self.first.delete(cid)

    def version(self, cid: str) -> str | None:
        version = self.first.version(cid)
        return self.second.version(cid) if version is None else version

    def quarantine(self, cid: str) -> None:
        # As it is read.
        (self.second if self.first.size(cid) is None else self.first).quarantine(cid)

    @property
    def stores(self) -> tuple[BlobBackend, ...]:
        return (self.first, self.second)

    def delete_many(self, cids: Sequence[str]) -> dict[str, BlobServiceError]:
        failures = self.second.delete_many(cids)
        return failures | self.first.delete_many([cid for cid in cids if cid not in failures])

    def purge_quarantine(self, cids: Collection[str]) -> None:
        self.second.purge_quarantine(cids)
        self.first.purge_quarantine(cids)

    def scan(self, skipped: Callable[[str], None] | None = None) -> Iterator[Stored]:
        both = heapq.merge(self.first.scan(skipped), self.second.scan(skipped), key=_order)
        for _, same in groupby(both, key=_order):
            yield next(same)

    def probe(self) -> None:
        self.first.probe()
        self.second.probe()


def _order(stored: Stored) -> str:
    return place_of(stored.cid)
