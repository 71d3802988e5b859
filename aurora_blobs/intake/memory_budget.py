"""A bound on the memory that request bodies take together."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


class MemoryBudget:
    """*total* bytes of memory, lent to bodies while they are handled."""

    # The default holds four blobs of the size that the reference PDS allows.
    def __init__(self, total: int = 20 * 1024 * 1024) -> None:
        self._free = total
        self._lock = threading.Lock()

    def lend(self, size: int) -> AbstractContextManager[int]:
        """Lend *size* bytes until the block ends, which gets 0 where fewer are free."""
        return self._lent(size) if size else nullcontext(0)

    @contextmanager
    def _lent(self, size: int) -> Iterator[int]:
        with self._lock:
            lent = size if size <= self._free else 0
            self._free -= lent
        try:
            yield lent
        finally:
            with self._lock:
                self._free += lent
