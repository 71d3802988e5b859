"""What takes a while to find out, found out by one process for all, in a thread of its own."""

import json
import logging
import mmap
import threading
import time
from collections.abc import Callable, Iterable

from aurora_blobs.errors import BlobServiceError, DatabaseError
from aurora_blobs.metrics.families import FAMILIES, Measured

log = logging.getLogger(__name__)

_WORD = 8
_MAX_BYTES = 2**20  # of an answer; memory that is not used costs nothing
# A question may take up a fiftieth of the time; a guess.
_REST = 50
_BY_NAME = {family.name: family for family in FAMILIES}


class Survey:
    """The last answer of *ask*. Processes that are forked from this one share it.

    Nobody waits for long, however slow the database is: who wants an answer gets the last one, and
    has the question asked again where that is `*rest_seconds*` old, or fifty times as old as the
    question took.
    """

    def __init__(
        self,
        ask: Callable[[], Iterable[Measured]],
        *,
        rest_seconds: float,
        claim_seconds: float = 600,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """After *claim_seconds* a process that asks counts as dead.

        *seconds* is a monotonic clock, the same in all processes.
        """
        self._ask = ask
        self._rest_seconds = rest_seconds
        self._claim_seconds = claim_seconds
        self._seconds = seconds
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        # When it may be asked again (nanoseconds); how many answers there were; the bytes of the
        # last answer and of the one before, which are in two places: nobody reads what is written.
        self._memory = mmap.mmap(-1, 4 * _WORD + 2 * _MAX_BYTES)
        self._words = memoryview(self._memory).cast("Q")

    def latest(self, patience_seconds: float) -> list[Measured]:
        """The last answer; of a question that is asked now, if it comes within this time."""
        self._ask_if_due()
        thread = self._thread
        if thread is not None:
            thread.join(patience_seconds)
        return self._read()

    def _ask_if_due(self) -> None:
        with self._lock:
            now = self._nanoseconds()
            if self._words[0] > now:
                return
            # Two processes may come at the same moment. Then it is asked twice.
            self._words[0] = now + int(self._claim_seconds * 1_000_000_000)
            self._thread = threading.Thread(target=self._run, name="survey", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        began = self._nanoseconds()
        try:
            self._write(list(self._ask()))
        except (BlobServiceError, DatabaseError, OSError) as error:
            log.info("what the service holds cannot be counted now: %s", error)
        ended = self._nanoseconds()
        rest = max(int(self._rest_seconds * 1_000_000_000), _REST * (ended - began))
        self._words[0] = ended + rest

    def _write(self, answer: list[Measured]) -> None:
        text = json.dumps([(one.family.name, one.labels, one.value) for one in answer]).encode()
        if len(text) > _MAX_BYTES:
            log.warning("what the service holds takes more than %d bytes to say", _MAX_BYTES)
            return
        number = self._words[1] + 1
        start = 4 * _WORD + number % 2 * _MAX_BYTES
        self._memory[start : start + len(text)] = text
        self._words[2 + number % 2] = len(text)
        self._words[1] = number

    def _read(self) -> list[Measured]:
        number = self._words[1]
        if number == 0:
            return []
        start = 4 * _WORD + number % 2 * _MAX_BYTES
        text = self._memory[start : start + self._words[2 + number % 2]]
        try:
            answer = json.loads(text)
        except ValueError:  # two processes have written at the same moment
            return []
        return [Measured(_BY_NAME[name], tuple(labels), value) for name, labels, value in answer]

    def _nanoseconds(self) -> int:
        return int(self._seconds() * 1_000_000_000)
