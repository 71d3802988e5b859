"""A number of each process of the service, which it sets itself and all others see."""

import mmap

from aurora_blobs.server.shared_memory import Shared

_NUMBER = 8  # bytes; a store of one is never seen half done


class SharedGauge(Shared):
    """Numbers from 0 on, shared as a `SharedTally` is. Nobody waits for anybody.

    That of a process that was killed stays until another one gets its part.
    """

    def __init__(self, *, parts: int) -> None:
        # Each plus one: 0 is nobody.
        self._shared = memoryview(mmap.mmap(-1, parts * _NUMBER)).cast("q")
        super().__init__(parts)

    def join(self, part: int) -> None:
        self._part: int | None = part
        self.set(0)

    def leave(self) -> None:
        self._part = None

    def set(self, number: int | None) -> None:
        """Let *number* be that of this process; with None it is not seen any more."""
        if self._part is not None:
            self._shared[self._part] = 0 if number is None else number + 1

    def least_other(self) -> tuple[int, int] | None:
        """The least number of another process, and whose part it is; None if none is seen."""
        others = (
            (number - 1, part)
            for part, number in enumerate(self._shared)
            if number and part != self._part
        )
        return min(others, default=None) if self._part is not None else None
