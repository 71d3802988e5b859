"""Store health: a canary at most every 5 s, its result shared by all callers."""

import logging
import threading
import time
from collections.abc import Callable

from aurora_blobs.errors import BlobServiceError
from aurora_blobs.storage.base import BlobBackend

log = logging.getLogger(__name__)

FRESH_SECONDS = 5


class StoreHealth:
    """The result of the last canary. One thread sends one; other callers get the last result."""

    def __init__(self, backend: BlobBackend, seconds: Callable[[], float] = time.monotonic) -> None:
        """*seconds* is a monotonic clock."""
        self._backend = backend
        self._seconds = seconds
        self._probing = threading.Lock()
        self._probed_at: float | None = None
        self._works = True

    def works(self) -> bool:
        """Whether the store took a canary and returned it, at most `FRESH_SECONDS` ago.

        While a canary is under way the result is older. Only the first one is waited for.
        """
        if not self._is_fresh() and self._probing.acquire(blocking=self._probed_at is None):
            try:
                if not self._is_fresh():
                    self._probe()
            finally:
                self._probing.release()
        return self._works

    def _is_fresh(self) -> bool:
        return self._probed_at is not None and self._seconds() - self._probed_at < FRESH_SECONDS

    def _probe(self) -> None:
        try:
            self._backend.probe()
        except (BlobServiceError, OSError) as error:
            if self._works:
                log.warning("the store does not work: %s", error)
            self._works = False
        else:
            if not self._works:
                log.warning("the store works again")
            self._works = True
        self._probed_at = self._seconds()
