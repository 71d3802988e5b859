"""Fetches the blobs that records of followed accounts name, through the one door into the store."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from functools import partial
from queue import Full, Queue
from typing import TypeVar

from aurora_blobs.auth.fetch import FetchFailed
from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.together import MOST_TOGETHER, TOGETHER_BYTES, Together
from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.catalog import blobs as catalog
from aurora_blobs.catalog import upstream
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.catalog.upstream import WantedBlob
from aurora_blobs.db import Database, Transaction, account_key
from aurora_blobs.errors import STORE_AWAY, BlobServiceError, BlobTooLarge, InsufficientStorage
from aurora_blobs.intake.decoding import parse_encodings
from aurora_blobs.mirror.pauses import BLOB, SILENT_BLOB, pause_seconds
from aurora_blobs.mirror.upstream import Refused, Upstream

log = logging.getLogger("aurora_blobs")

AT_ONCE = 4  # from one PDS
# Of one PDS: while some of them wait for it, the others wait for the disk.
THREADS = 12
FETCHES_AT_ONCE = 32  # from all PDSes
_TOGETHER_SECONDS = 0.5  # that the first of several blobs waits for the others
_PAGE = 200  # blobs per statement
_POLL_SECONDS = 1.0
_OWN_PAUSE_SECONDS = 5.0  # while our own store or database is away
_FAR = 10  # an index into pauses: the longest
_OURS_AWAY = (*STORE_AWAY, InsufficientStorage)

_Result = TypeVar("_Result")


class Fetcher:
    """Fetches from *source* what is due, `AT_ONCE` blobs at a time.

    *places* bounds the fetches of all PDSes together. What has come leaves its place before it is
    stored, some blobs together. What is to be fetched stands in the database, so nothing is
    forgotten whatever dies.
    """

    def __init__(
        self,
        source: Upstream,
        blobs: BlobManager,
        database: Database,
        *,
        clock: Callable[[], int],
        max_bytes: int,
        places: threading.BoundedSemaphore,
    ) -> None:
        """*max_bytes* are those of a blob."""
        self._source = source
        self._blobs = blobs
        self._database = database
        self._clock = clock
        self._max_bytes = max_bytes
        # Its own first: who waits for one of these holds no place of others.
        self._places = threading.BoundedSemaphore(AT_ONCE), places
        self._changed = threading.Condition()
        self._is_woken = False
        self._under_way: set[WantedBlob] = set()
        self._queue: Queue[list[WantedBlob] | None] = Queue(THREADS)

    def wake(self) -> None:
        """There may be something to fetch."""
        with self._changed:
            self._is_woken = True
            self._changed.notify()

    def feed(self, stop: threading.Event) -> None:
        """Give the threads of `run` what is due, until *stop*."""
        try:
            self._feed(stop)
        finally:
            # Who waits for something waits at an empty queue.
            with suppress(Full):
                for _ in range(THREADS):
                    self._queue.put_nowait(None)

    def _feed(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with self._changed:
                self._changed.wait_for(self._is_hungry, _POLL_SECONDS)
                self._is_woken = False
            try:
                if self._round(stop):
                    self.wake()
            except BlobServiceError as error:
                log.warning("blobs cannot be fetched now: %s", error.message)
                stop.wait(_OWN_PAUSE_SECONDS)

    def _is_hungry(self) -> bool:
        """Whether it is time for a look: the fewer, the more of what is due each one finds."""
        return self._is_woken and self._queue.qsize() < AT_ONCE

    def run(self, stop: threading.Event) -> None:
        """Fetch what `feed` hands out, until *stop*. For `THREADS` threads."""
        while not stop.is_set():
            handed_out = self._queue.get()
            if handed_out is None:
                return
            due = deque(handed_out)
            while due and not stop.is_set() and not self._source.is_resting:
                try:
                    self._fetch_some(due, stop)
                except _OURS_AWAY as error:
                    log.warning("blobs cannot be kept now: %s", error.message)
                    stop.wait(_OWN_PAUSE_SECONDS)
            self._let_go(due)

    def _let_go(self, wanted: Iterable[WantedBlob]) -> None:
        """Whatever of *wanted* is still due may be handed out again."""
        with self._changed:
            self._under_way.difference_update(wanted)
            self._is_woken = True
            self._changed.notify()

    def _round(self, stop: threading.Event) -> bool:
        """Hand out a page of what is due; whether there was anything new in it."""
        if self._source.is_resting:
            return False
        with self._changed:
            limit = _PAGE + len(self._under_way)
        with self._database.read() as tx:
            due = upstream.wanted(tx, self._source.url, self._clock(), limit)
        with self._changed:
            new = [wanted for wanted in due if wanted not in self._under_way]
        # Few are shared out among all that may be fetched at once.
        size = min(-(-len(new) // AT_ONCE), MOST_TOGETHER)
        for start in range(0, len(new), size or 1):
            if stop.is_set() or self._source.is_resting:
                return False
            some = new[start : start + size]
            with self._changed:
                self._under_way.update(some)
            while not stop.is_set():
                with suppress(Full):
                    self._queue.put(some, timeout=_POLL_SECONDS)
                    break
        return bool(new)

    def _fetch_some(self, due: deque[WantedBlob], stop: threading.Event) -> None:
        """Fetch the first of *due*, as many as are stored together.

        Raises what our own store or database fails with.
        """
        begun: list[WantedBlob] = []
        try:
            with self._blobs.together() as together:
                batch = _Batch(together, self._failed)
                with ExitStack() as place:
                    for bound in self._places:
                        place.enter_context(bound)
                    until = time.monotonic() + _TOGETHER_SECONDS
                    while (
                        due
                        and together.size < TOGETHER_BYTES
                        and time.monotonic() < until
                        and not stop.is_set()
                        and not self._source.is_resting
                    ):
                        begun.append(due.popleft())
                        self._fetch(begun[-1], batch, due)
                batch.keep()
        finally:
            self._let_go(begun)

    def _fetch(self, wanted: WantedBlob, batch: "_Batch", others: deque[WantedBlob]) -> None:
        """Have the blob in *batch*, if it is still wanted; *others* are to come after it."""
        state = catalog.find_upload_state(self._database.one_shot(), wanted.did, wanted.cid)
        if state is None or not state.expected_by_record or (state.entry and state.stored):
            with self._database.write(keys=(account_key(wanted.did),)) as tx:
                upstream.drop_wanted(tx, wanted.did, wanted.cid)
            return
        if state.taken_down:
            self._failed(wanted, pause_seconds(BLOB, _FAR), "it is taken down here")
            return

        def comes_for_long() -> None:
            batch.keep()
            self._let_go(others)
            others.clear()

        silent = pause_seconds(SILENT_BLOB, wanted.tries)
        try:
            fetch_blob(
                self._source,
                partial(batch.receive, wanted),
                wanted.did,
                wanted.cid,
                self._max_bytes,
                comes_for_long=comes_for_long,
                also_write=_drop,
            )
        except Refused as error:
            if error.is_about_us:
                self._source.rest(error.retry_seconds)
            is_silent = error.status == 429 or error.status >= 500
            pause = silent if is_silent else pause_seconds(BLOB, wanted.tries)
            self._failed(wanted, pause, str(error))
        except FetchFailed as error:
            self._source.rest()
            self._failed(wanted, silent, str(error))
        except _OURS_AWAY:
            raise
        except BlobServiceError as error:
            self._failed(wanted, silent, error.message)

    def _failed(self, wanted: WantedBlob, pause: int, reason: str) -> None:
        """Note that the blob is to be tried again after the *pause*, in seconds."""
        log.info(
            "%s of %s was not fetched, next try in %d s: %s", wanted.cid, wanted.did, pause, reason
        )
        due_at = self._clock() + pause * 1_000_000
        with self._database.write(keys=(account_key(wanted.did),)) as tx:
            upstream.set_blob_failed(tx, wanted.did, wanted.cid, due_at, reason[:300])


class _Batch:
    """Blobs that are stored *together*; *failed* is told of each that is refused."""

    def __init__(self, together: Together, failed: Callable[[WantedBlob, int, str], None]) -> None:
        self._together = together
        self._failed = failed
        self._wanted: list[WantedBlob] = []

    def receive(self, wanted: WantedBlob, incoming: Incoming) -> None:
        """Read *wanted*, which comes as *incoming*."""
        self._together.receive(incoming)
        self._wanted.append(wanted)

    def keep(self) -> None:
        """Store what is here. Raises what our own store or database fails with."""
        wanted, self._wanted = self._wanted, []
        away: BlobServiceError | None = None
        for one, outcome in zip(wanted, self._together.keep(), strict=True):
            if isinstance(outcome, _OURS_AWAY):
                away = outcome
            elif isinstance(outcome, BlobServiceError):
                self._failed(one, pause_seconds(SILENT_BLOB, one.tries), outcome.message)
        if away is not None:
            raise away


def _drop(tx: Transaction, entry: Entry) -> None:
    upstream.drop_wanted(tx, entry.did, entry.cid)


def fetch_blob(
    source: Upstream,
    store: Callable[[Incoming], _Result],
    did: str,
    cid: str,
    max_bytes: int,
    comes_for_long: Callable[[], None] = lambda: None,
    also_write: Callable[[Transaction, Entry], None] | None = None,
) -> _Result:
    """What *store* returns for the blob, of up to *max_bytes*, as *source* has it.

    *comes_for_long* is called on the way of a large one, *also_write* as in `Incoming`. Raises
    Refused, FetchFailed, BlobTooLarge, and what *store* raises.
    """
    with source.blob(did, cid, max_bytes) as answer:
        if answer.length is not None and answer.length > max_bytes:
            raise BlobTooLarge(f"it has {answer.length} bytes")
        answer.comes_for_long = comes_for_long
        mime_type = answer.headers.mime_type
        return store(
            Incoming(
                stream=answer,
                did=did,
                declared_type=None if mime_type is None else answer.headers.get("Content-Type"),
                declared_size=answer.length,
                encodings=parse_encodings(answer.headers.get("Content-Encoding", "")),
                expected_cid=cid,
                upstream_type=mime_type,
                also_write=also_write,
            )
        )
