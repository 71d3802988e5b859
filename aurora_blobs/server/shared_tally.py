"""Tallies in memory that the processes of the service share: who has how much of something now.

A process changes its own part and reads all of them, so nobody waits for anybody. A part belongs to
a worker for as long as that lives, and is empty when the next one gets it.
"""

import mmap
import sys
import threading

from aurora_blobs.server.shared_memory import Shared

_WORD = 8  # bytes; a store of a word is never seen half done
_MASK = 2**64 - 1


class SharedTally(Shared):
    """Amounts under names, at most *places* of them in one process.

    Processes that are forked from this one, at most *parts* of them at once, share it from
    `join_all` on. Until then a process counts for itself alone.
    """

    def __init__(self, *, places: int, parts: int) -> None:
        self._places = places
        # First the names of all parts, then their amounts, then the sum of each part.
        self._shared = mmap.mmap(-1, parts * (2 * places + 1) * _WORD)
        super().__init__(parts)

    def join(self, part: int) -> None:
        """Count in *part* of the shared memory, which belongs to this process alone."""
        self._use(self._shared, self.parts, part)

    def leave(self) -> None:
        """Count for this process alone, from nothing."""
        self._lock = threading.Lock()
        self._use(mmap.mmap(-1, (2 * self._places + 1) * _WORD), 1, 0)

    def is_full(self) -> bool:
        """Whether this process has no place left."""
        return not self._free

    def add(self, name: str, amount: int = 1) -> int | None:
        """Note *amount* for *name*; the place that it takes, None where there is none left."""
        try:
            place = self._free.pop()
        except IndexError:
            return None
        self.change(place, amount)
        self._words[self._first + place] = _key(name)
        return place

    def change(self, place: int, amount: int) -> None:
        """Let *amount* be what is noted at *place*."""
        with self._lock:
            self._words[self._sum] += amount - self._words[self._amounts + place]
            self._words[self._amounts + place] = amount

    def remove(self, place: int) -> None:
        """Forget what is noted at *place*."""
        self._words[self._first + place] = 0
        self.change(place, 0)
        self._free.append(place)

    def total(self, name: str) -> int:
        """What all processes have noted for *name*."""
        needle, total, start = _key(name).to_bytes(_WORD, sys.byteorder), 0, 0
        while (found := self._memory.find(needle, start, self._names_end)) >= 0:
            if found % _WORD == 0:
                total += self._words[self._names_end // _WORD + found // _WORD]
            start = found + 1
        return total

    def sum(self) -> int:
        """What all processes have noted for all names."""
        return sum(self._words[self._sums :])

    def _use(self, memory: mmap.mmap, parts: int, part: int) -> None:
        names = parts * self._places
        self._memory = memory
        self._words = memoryview(memory).cast("Q")
        self._names_end = names * _WORD
        self._first = part * self._places
        self._amounts = names + self._first
        self._sums = 2 * names
        self._sum = self._sums + part
        for start in (self._first, self._amounts):
            memory[start * _WORD : (start + self._places) * _WORD] = bytes(self._places * _WORD)
        self._words[self._sum] = 0
        self._free = list(range(self._places))


def _key(name: str) -> int:
    # The hash is the same in all forks of a process, and nobody outside can choose it.
    return hash(name) & _MASK or 1
