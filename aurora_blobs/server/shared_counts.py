"""Numbers that the processes of the service share: each adds to its own, and all read the sums.

What a worker has counted is not lost with it: the one that gets its part goes on from there.
"""

import mmap
import threading
from bisect import bisect_left
from collections import deque

from aurora_blobs.server.shared_memory import Shared

_NUMBER = 8  # bytes of a double; it is never seen half written
MOST_NOTED = 100  # by threads that answer no request; a guess, 10 KiB
# A place, bounds and a value, which is added to the number there. Behind that one lies how many
# values were at most the first bound, then how many at most the second, and how many above all.
Note = tuple[int, tuple[float, ...], float]


class SharedCounts(Shared):
    """*size* numbers, each 0 at first, in places from 0 on. Shared as a `SharedTally` is.

    The first is how many processes have joined.

    What is appended to `noted` counts with the next `settle`, of any thread: a request has one,
    before its answer. To count a value takes 1 us where the caches hold something else by then, and
    0.2 us behind another one (measured). What may have no request after it is to `note`.
    """

    def __init__(self, *, size: int, parts: int) -> None:
        self._size = size
        self.noted: deque[Note] = deque()
        self._shared = memoryview(mmap.mmap(-1, parts * size * _NUMBER)).cast("d")
        super().__init__(parts)

    def join(self, part: int) -> None:
        self._all = self._shared
        self._own = self._shared[part * self._size : (part + 1) * self._size]
        self.add(0)

    def leave(self) -> None:
        self._lock = threading.Lock()
        self.noted.clear()
        self._all = self._own = memoryview(mmap.mmap(-1, self._size * _NUMBER)).cast("d")

    def add(self, place: int, amount: float = 1) -> None:
        """Add *amount* to the number at *place*."""
        with self._lock:
            self._own[place] += amount

    def note(self, place: int, bounds: tuple[float, ...], value: float) -> None:
        """Append to `noted`, and count all of it when it is much."""
        self.noted.append((place, bounds, value))
        if len(self.noted) >= MOST_NOTED:
            self.settle()

    def settle(self, place: int = 0, first: float = 0, second: float = 0) -> None:
        """Add *first* to the number at *place*, *second* to the next, and count what is `noted`."""
        noted = self.noted
        with self._lock:
            own = self._own
            own[place] += first
            own[place + 1] += second
            take = noted.popleft
            while noted:
                place, bounds, value = take()
                own[place] += value
                place += 1
                if value > bounds[0]:  # seldom
                    place += bisect_left(bounds, value)
                own[place] += 1

    def sums(self) -> list[float]:
        """The numbers, of all processes together."""
        self.settle()
        starts = range(0, len(self._all), self._size)
        if self._all is not self._own:  # most parts nobody has joined yet
            joined = [start for start in starts if self._all[start]]
        else:
            joined = [0]
        parts = [self._all[start : start + self._size].tolist() for start in joined]
        return list(map(sum, zip(*parts, strict=True)))
