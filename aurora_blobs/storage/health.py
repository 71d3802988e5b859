"""Store health: a canary at most every 5 s, its result shared by all callers in all processes."""

import logging
import mmap
import threading
import time
from collections.abc import Callable

from aurora_blobs.errors import BlobServiceError
from aurora_blobs.storage.base import BlobBackend

log = logging.getLogger(__name__)

FRESH_SECONDS = 5


class StoreHealth:
    """The result of the last canary. One thread sends one; other callers get the last result.

    Processes that are forked from this one share the result: a failure that one of them has seen is
    no success for another.
    """

    def __init__(self, backend: BlobBackend, seconds: Callable[[], float] = time.monotonic) -> None:
        """*seconds* is a monotonic clock, the same in all processes."""
        self._backend = backend
        self._seconds = seconds
        self._probing = threading.Lock()
        # Nanoseconds: when the last canary came back, or when it was lost, then negative. 0 is
        # neither. A store of 8 bytes is never seen half done.
        self._result = memoryview(mmap.mmap(-1, 8)).cast("q")

    def works(self) -> bool:
        """Whether the store took a canary and returned it, at most `FRESH_SECONDS` ago.

        While a canary is under way the result is older. Only where there is none it is waited for.
        """
        if not self._is_fresh() and self._probing.acquire(blocking=self._result[0] == 0):
            try:
                if not self._is_fresh():
                    self._probe()
            finally:
                self._probing.release()
        return self._result[0] > 0

    def doubt(self) -> None:
        """Forget a canary that came back: something else that the service needs has failed."""
        if self._result[0] > 0:
            self._result[0] = 0

    def _is_fresh(self) -> bool:
        age = self._nanoseconds() - abs(self._result[0])
        return self._result[0] != 0 and age < FRESH_SECONDS * 1_000_000_000

    def _probe(self) -> None:
        worked, began = self._result[0] >= 0, self._nanoseconds()
        try:
            self._backend.probe()
        except (BlobServiceError, OSError) as error:
            if worked:
                log.warning("the store does not work: %s", error)
            self._result[0] = -self._nanoseconds()
        else:
            if not worked:
                log.warning("the store works again")
            # Not if another process lost a canary while this one was under way.
            if -self._result[0] < began:
                self._result[0] = self._nanoseconds()

    def _nanoseconds(self) -> int:
        return max(1, int(self._seconds() * 1_000_000_000))
