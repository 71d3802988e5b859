"""Numbers that the processes of the service share: each adds to its own, and all read the sums.

What a worker has counted is not lost with it: the one that gets its part goes on from there.
"""

import mmap
import threading

from aurora_blobs.server.shared_memory import Shared

_NUMBER = 8  # bytes of a double; it is never seen half written


class SharedCounts(Shared):
    """*size* numbers, each 0 at first, in places from 0 on. Shared as a `SharedTally` is.

    The first is how many processes have joined.
    """

    def __init__(self, *, size: int, parts: int) -> None:
        self._size = size
        self._shared = memoryview(mmap.mmap(-1, parts * size * _NUMBER)).cast("d")
        super().__init__(parts)

    def join(self, part: int) -> None:
        self._all = self._shared
        self._own = self._shared[part * self._size : (part + 1) * self._size]
        self.add(0)

    def leave(self) -> None:
        self._lock = threading.Lock()
        self._all = self._own = memoryview(mmap.mmap(-1, self._size * _NUMBER)).cast("d")

    def add(self, place: int, amount: float = 1) -> None:
        """Add *amount* to the number at *place*."""
        with self._lock:
            self._own[place] += amount

    def add_each(self, *changes: tuple[int, float]) -> None:
        """Add to several numbers, each a place and an amount, for little more than one costs."""
        with self._lock:
            own = self._own
            for place, amount in changes:
                own[place] += amount

    def sums(self) -> list[float]:
        """The numbers, of all processes together."""
        starts = range(0, len(self._all), self._size)
        if self._all is not self._own:  # most parts nobody has joined yet
            joined = [start for start in starts if self._all[start]]
        else:
            joined = [0]
        parts = [self._all[start : start + self._size].tolist() for start in joined]
        return list(map(sum, zip(*parts, strict=True)))
