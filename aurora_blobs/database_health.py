"""Database health: whether it answers in two seconds, takes writes, and has our version."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

from aurora_blobs.catalog import schema
from aurora_blobs.clock import SharedClock
from aurora_blobs.db import SCHEMA_VERSION, Database
from aurora_blobs.errors import DatabaseError, ServiceBusy

# A node of the next version has upgraded the database; this one is replaced soon.
_VERSIONS = (SCHEMA_VERSION, SCHEMA_VERSION + 1)
# Of a server that is cut off, nothing is heard for ten; whoever asks for health does not wait so
# long.
_PATIENCE_SECONDS = 2


class DatabaseHealth:
    """Asks *database* in a thread of its own, one at a time. Sets *clock* if it is the database's.

    A question that is not answered in time is still under way, and whoever asks next waits for it.
    """

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._asked: Future[bool] | None = None

    def works(self) -> bool:
        """Whether it answers, ends its commits, and has a version that this program serves."""
        try:
            return self._question().result(_PATIENCE_SECONDS)
        except (TimeoutError, DatabaseError, ServiceBusy):
            return False

    def _question(self) -> Future[bool]:
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = Future()
                threading.Thread(target=self._ask, args=(self._asked,), daemon=True).start()
            return self._asked

    def _ask(self, answer: Future[bool]) -> None:
        try:
            with self._database.read() as tx:
                version, hangs = schema.version(tx), tx.commits_hang()
            if isinstance(self._clock, SharedClock):
                self._clock.set()
        except BaseException as error:
            answer.set_exception(error)
        else:
            answer.set_result(version in _VERSIONS and not hangs)
