"""Counts what the processes of the service do, in memory that they share.

All places are laid out before there is a process: a label has no value that was not known then.
prometheus-client's own files for several processes would take four times as long for each number
(measured: 1.9 us, and 3.6 for a histogram), and several requests' worth of it at each upload.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate, product
from math import inf
from typing import Literal, get_args

from aurora_blobs import errors
from aurora_blobs.metrics.families import (
    DATABASE,
    DATABASE_ERRORS,
    DATABASE_WAITS,
    RECEIVED,
    REQUESTS,
    SENT,
    STORE,
    STORE_ERRORS,
    THUMBNAILS,
    UPLOADED,
    UPLOADS,
    WORKER_STARTS,
    Distribution,
    Family,
    Measured,
)
from aurora_blobs.server.shared_counts import SharedCounts

OTHER = "other"
# Of what the service answers; any other one counts as `OTHER`.
_STATUSES = (
    *("200", "204", "206", "302", "304", "308"),
    *("400", "401", "403", "404", "405", "412", "413", "415", "416", "422", "429"),
    *("500", "501", "502", "503", "504", "507"),
)
# Seconds. A small upload takes 5 to 10 ms, a large one as long as its client.
REQUEST_BOUNDS = (0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)
# A transaction of SQLite takes some 0.1 ms, its flush a few; 10 seconds is the longest wait.
INNER_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0)
ANY_SIZE = (inf,)  # of `uploaded`: sizes are summed up, and how many they are

DatabaseKind = Literal["read", "write"]
ThumbnailResult = Literal["kept", "made", "failed", "busy"]
StoreOperation = Literal["put", "open", "size", "delete", "probe"]

# Names of classes, which are more than those on the wire.
_REASONS = {
    kind.__name__: "refused" if kind.status < 500 else "failed"
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.BlobServiceError)
}
_FAILED = ("failed", OTHER)

Labels = tuple[str, ...]
Places = dict[Labels, int]


class Meter:
    """What was counted since the start of the service, of requests of *methods* and the like."""

    def __init__(self, methods: Iterable[str], *, parts: int) -> None:
        """*parts* as of a `SharedCounts`."""
        self._size = 1  # the first place is not ours
        self._counters: dict[Family, Places] = {}
        self._histograms: dict[Family, tuple[Places, tuple[float, ...]]] = {}
        # Two and two that are counted at once lie side by side: SENT, and what was stored first.
        self.received = self._counter(RECEIVED)[()]
        self._counter(SENT)
        self.uploaded = self._counter(UPLOADED)[()]
        outcomes = [("stored", ""), _FAILED, *((result, name) for name, result in _REASONS.items())]
        self._uploads = self._counter(UPLOADS, outcomes)
        kinds = [(kind,) for kind in get_args(DatabaseKind)]
        self._database = self._histogram(DATABASE, kinds, INNER_BOUNDS)
        waits = self._histogram(DATABASE_WAITS, kinds, INNER_BOUNDS)
        self.reads, self.writes = ((waits[kind], self._database[kind]) for kind in kinds)
        self._database_errors = self._counter(
            DATABASE_ERRORS, [(name,) for name in (*_REASONS, errors.DatabaseError.__name__)]
        )
        operations = get_args(StoreOperation)
        stores = self._histogram(STORE, [(name,) for name in operations], INNER_BOUNDS)
        self.stores = {name: stores[(name,)] for name in operations}
        self._store_errors = self._counter(STORE_ERRORS, product(operations, [*_REASONS, OTHER]))
        results = [(name,) for name in get_args(ThumbnailResult)]
        self._thumbnails = self._histogram(THUMBNAILS, results, INNER_BOUNDS)
        # Last, being many: what each request counts lies in one page of memory, and here.
        self._requests = self._histogram(
            REQUESTS, product([*methods, OTHER], [*_STATUSES, OTHER]), REQUEST_BOUNDS
        )
        self._counts = SharedCounts(size=self._size, parts=parts)
        # What each upload has is appended right where it is measured: a call for it would take a
        # third of a microsecond (measured).
        self.noted = self._counts.noted
        self.settle = self._counts.settle

    def request_place(self, method: str, status: str) -> int:
        """The place of requests of *method* that were answered with *status*, three digits.

        Another method than the known ones counts as `OTHER`.
        """
        method = method if (method, OTHER) in self._requests else OTHER
        return self._requests[method, status if (method, status) in self._requests else OTHER]

    def not_stored(self, error: errors.BlobServiceError | None) -> None:
        """An upload was not stored, because of *error*; None is one that nobody expected."""
        name = type(error).__name__
        outcome = (_REASONS.get(name, ""), name)
        self._counts.add(self._uploads.get(outcome, self._uploads[_FAILED]))

    def statement(self, kind: DatabaseKind, seconds: float) -> None:
        """A transaction of one statement took *seconds*, its wait included."""
        self._observe(self._database[(kind,)], seconds)

    def database_failed(self, error: Exception) -> None:
        """A transaction failed with *error*, of the seam."""
        self._counts.add(self._database_errors[(type(error).__name__,)])

    def store_failed(self, operation: StoreOperation, error: Exception) -> None:
        """The store failed with *error*."""
        places = self._store_errors
        failure = (operation, type(error).__name__)
        self._counts.add(places.get(failure, places[operation, OTHER]))

    def thumbnail(self, result: ThumbnailResult, seconds: float) -> None:
        """Somebody who asked for a thumbnail had *result* after *seconds*."""
        self._observe(self._thumbnails[(result,)], seconds)

    def _observe(self, place: int, seconds: float) -> None:
        self._counts.note(place, INNER_BOUNDS, seconds)

    def read(self) -> "Iterator[Measured | Distribution]":
        """What all processes have counted. Of a metric with labels, what is not 0."""
        sums = self._counts.sums()
        yield Measured(WORKER_STARTS, (), sums[0])
        for family, places in self._counters.items():
            for labels, place in places.items():
                if sums[place] or not labels:
                    yield Measured(family, labels, sums[place])
        for family, (places, bounds) in self._histograms.items():
            for labels, place in places.items():
                counts = tuple(accumulate(sums[place + 1 : place + 2 + len(bounds)]))
                if counts[-1]:
                    yield Distribution(family, labels, bounds, counts, sums[place])

    def _counter(self, family: Family, labels: Iterable[Labels] = ((),)) -> Places:
        self._counters[family] = places = self._lay_out(labels, 1)
        return places

    def _histogram(
        self, family: Family, labels: Iterable[Labels], bounds: tuple[float, ...]
    ) -> Places:
        # Each begins with the sum, then how many lay between two bounds.
        places = self._lay_out(labels, len(bounds) + 2)
        self._histograms[family] = places, bounds
        return places

    def _lay_out(self, labels: Iterable[Labels], width: int) -> Places:
        places = {}
        for values in labels:
            places[values] = self._size
            self._size += width
        return places
