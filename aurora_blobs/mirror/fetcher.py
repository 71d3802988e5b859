"""Fetches the blobs that records of followed accounts name, through the one door into the store."""

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from queue import Full, Queue

from aurora_blobs.auth.fetch import FetchFailed
from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.catalog import blobs as catalog
from aurora_blobs.catalog import upstream
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.catalog.upstream import WantedBlob
from aurora_blobs.db import Database, account_key
from aurora_blobs.errors import STORE_AWAY, BlobServiceError, BlobTooLarge, InsufficientStorage
from aurora_blobs.intake.decoding import parse_encodings
from aurora_blobs.mirror.pauses import BLOB, SILENT_BLOB, pause_seconds
from aurora_blobs.mirror.upstream import Refused, Upstream
from aurora_blobs.protocol.syntax import parse_mime_type

log = logging.getLogger("aurora_blobs")

AT_ONCE = 4  # from one PDS
# Of one PDS: while some of them wait for it, the others wait for the disk.
THREADS = 12
FETCHES_AT_ONCE = 32  # from all PDSes
_PAGE = 200  # blobs per statement
_POLL_SECONDS = 1.0
_OWN_PAUSE_SECONDS = 5.0  # while our own store or database is away
_FAR = 10  # an index into pauses: the longest


class _Failed(Exception):
    """A blob could not be fetched. The next try is after the pause, in seconds."""

    def __init__(self, reason: str, pause: int) -> None:
        super().__init__(reason)
        self.pause = pause


class Fetcher:
    """Fetches from *source* what is due, `AT_ONCE` blobs at a time.

    *places* bounds the fetches of all PDSes together. A blob that has come leaves its place before
    it is stored. What is to be fetched stands in the database, so nothing is forgotten whatever
    dies.
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
        self._places = places, threading.BoundedSemaphore(AT_ONCE)
        self._changed = threading.Condition()
        self._is_woken = False
        self._under_way: set[tuple[str, str]] = set()
        self._done: list[tuple[str, str]] = []
        self._queue: Queue[WantedBlob | None] = Queue(THREADS)

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
                if not self._is_woken:
                    self._changed.wait(_POLL_SECONDS)
                self._is_woken = False
            try:
                while self._round(stop):
                    pass
            except BlobServiceError as error:
                log.warning("blobs cannot be fetched now: %s", error.message)
                stop.wait(_OWN_PAUSE_SECONDS)

    def run(self, stop: threading.Event) -> None:
        """Fetch one blob after the other, until *stop*. For `THREADS` threads."""
        while not stop.is_set():
            wanted = self._queue.get()
            if wanted is None:
                return
            with ExitStack() as place:
                for bound in self._places:
                    place.enter_context(bound)
                is_done = not self._source.is_resting and self._try(wanted, stop, place.close)
            with self._changed:
                key = (wanted.did, wanted.cid)
                if is_done:
                    self._done.append(key)
                else:
                    self._under_way.discard(key)
                self._is_woken = True
                self._changed.notify()

    def _round(self, stop: threading.Event) -> bool:
        """Hand out a page of what is due; whether there was anything new in it."""
        self._forget_done()
        if self._source.is_resting:
            return False
        with self._changed:
            limit = _PAGE + len(self._under_way)
        with self._database.read() as tx:
            due = upstream.wanted(tx, self._source.url, self._clock(), limit)
        new = [wanted for wanted in due if (wanted.did, wanted.cid) not in self._under_way]
        for wanted in new:
            if stop.is_set() or self._source.is_resting:
                return False
            with self._changed:
                self._under_way.add((wanted.did, wanted.cid))
            while not stop.is_set():
                with suppress(Full):
                    self._queue.put(wanted, timeout=_POLL_SECONDS)
                    break
        return bool(new)

    def _forget_done(self) -> None:
        with self._changed:
            done, self._done = self._done, []
        if not done:
            return
        try:
            with self._database.write(keys=tuple({account_key(did) for did, _ in done})) as tx:
                for did, cid in done:
                    upstream.drop_wanted(tx, did, cid)
        finally:
            with self._changed:
                self._under_way.difference_update(done)

    def _try(self, wanted: WantedBlob, stop: threading.Event, has_come: Callable[[], None]) -> bool:
        """Fetch *wanted*; False if it stays due."""
        try:
            try:
                self._fetch(wanted, has_come)
            except _Failed as failure:
                self._note(wanted, failure)
                return False
        except (*STORE_AWAY, InsufficientStorage) as error:
            log.warning("%s of %s cannot be kept now: %s", wanted.cid, wanted.did, error.message)
            stop.wait(_OWN_PAUSE_SECONDS)
            return False
        return True

    def _fetch(self, wanted: WantedBlob, has_come: Callable[[], None]) -> None:
        """Store the blob if it is still wanted. Raises _Failed, and errors of our own store."""
        state = catalog.find_upload_state(self._database.one_shot(), wanted.did, wanted.cid)
        if state is None or not state.expected_by_record or (state.entry and state.stored):
            return
        if state.taken_down:
            raise _Failed("it is taken down here", pause_seconds(BLOB, _FAR))
        try:
            fetch_blob(self._source, self._blobs, wanted.did, wanted.cid, self._max_bytes, has_come)
        except Refused as error:
            if error.is_about_us:
                self._source.rest(error.retry_seconds)
            pauses = SILENT_BLOB if error.status == 429 or error.status >= 500 else BLOB
            raise _Failed(str(error), pause_seconds(pauses, wanted.tries)) from None
        except FetchFailed as error:
            self._source.rest()
            raise _Failed(str(error), pause_seconds(SILENT_BLOB, wanted.tries)) from None
        except (*STORE_AWAY, InsufficientStorage):
            raise
        except BlobServiceError as error:
            raise _Failed(error.message, pause_seconds(SILENT_BLOB, wanted.tries)) from None

    def _note(self, wanted: WantedBlob, failure: _Failed) -> None:
        log.info(
            "%s of %s was not fetched, next try in %d s: %s",
            wanted.cid,
            wanted.did,
            failure.pause,
            failure,
        )
        due_at = self._clock() + failure.pause * 1_000_000
        with self._database.write(keys=(account_key(wanted.did),)) as tx:
            upstream.set_blob_failed(tx, wanted.did, wanted.cid, due_at, str(failure)[:300])


def fetch_blob(
    source: Upstream,
    blobs: BlobManager,
    did: str,
    cid: str,
    max_bytes: int,
    has_come: Callable[[], None] = lambda: None,
) -> Entry:
    """Store the blob, of up to *max_bytes*, as *source* has it; the entry.

    *has_come* is called when the last byte is here. Raises Refused, FetchFailed, and what
    `BlobManager.upload` raises.
    """
    with source.blob(did, cid, max_bytes) as answer:
        if answer.length is not None and answer.length > max_bytes:
            raise BlobTooLarge(f"it has {answer.length} bytes")
        answer.has_come = has_come
        declared_type, bare_type = _types(answer.headers.get("Content-Type"))
        return blobs.upload(
            Incoming(
                stream=answer,
                did=did,
                declared_type=declared_type,
                declared_size=answer.length,
                encodings=parse_encodings(answer.headers.get("Content-Encoding", "")),
                expected_cid=cid,
                upstream_type=bare_type,
            )
        )


def _types(header: str | None) -> tuple[str | None, str | None]:
    """The Content-Type *header* and the media type in it; None where it has none."""
    try:
        return (None, None) if header is None else (header, parse_mime_type(header))
    except ValueError:
        return None, None
