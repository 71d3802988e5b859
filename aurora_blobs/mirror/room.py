"""How much a mirror of the network keeps: what was not read for longest goes first."""

import logging
import threading
from collections.abc import Callable
from functools import partial

from aurora_blobs.blobs.deletion import delete_unowned_if
from aurora_blobs.catalog import accounts, blobs, reads
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.catalog.reads import Read
from aurora_blobs.db import Database, Transaction, account_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import BlobServiceError
from aurora_blobs.storage.base import BlobBackend

log = logging.getLogger("aurora_blobs")

# Guesses. A blob that is read all the time costs a row once a minute, and all of them a transaction
# once a second.
_EVERY = 60 * 1_000_000
_FLUSH_EVERY = 1_000_000
_MOST_NOTED = 10_000  # reads that are remembered, so that they are not noted again
_STEP = 100  # blobs that are looked at in one statement
# One part in so many goes beyond what has to: else each blob that comes would have all accounts
# summed up. What is left is shared by the processes of a machine.
_SLACK, _SHARES = 20, 8


class Room:
    """Keeps *max_bytes* of blobs, and *max_account_bytes* of one account; 0 is no bound.

    *clock* gives microseconds since the epoch, UTC; *on_gone* gets the CIDs of bytes that go.
    """

    def __init__(
        self,
        database: Database,
        backend: BlobBackend,
        clock: Callable[[], int],
        *,
        max_bytes: int,
        max_account_bytes: int,
        on_gone: Callable[[list[str]], None],
    ) -> None:
        self._database = database
        self._backend = backend
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_account_bytes = max_account_bytes
        self._on_gone = on_gone
        self._left = 0  # bytes that may come before all are summed up again
        self._noted: dict[tuple[str, str], int] = {}
        self._pending: dict[tuple[str, str], int] = {}
        self._flushed_at = 0
        self._lock = threading.Lock()

    @property
    def largest(self) -> int | None:
        """The bytes of the largest blob that has room; None if any has."""
        bounds = (self._max_bytes, self._max_account_bytes)
        return min((size for size in bounds if size), default=None)

    def note(self, did: str, cid: str) -> None:
        """A blob that is here is read."""
        if self.largest is None:
            return
        now = self._clock()
        with self._lock:
            noted_at = self._noted.get((did, cid))
            if noted_at is not None and 0 <= now - noted_at < _EVERY:
                return
            if len(self._noted) >= _MOST_NOTED:
                self._noted.clear()
            self._noted[did, cid] = self._pending[did, cid] = now
            is_time = not 0 <= now - self._flushed_at < _FLUSH_EVERY
        if is_time:
            self._flush()

    def keep(self, entry: Entry) -> None:
        """Make room for *entry*, which was just stored."""
        if self.largest is None:
            return
        with self._lock:
            self._pending[entry.did, entry.cid] = self._clock()
        self._flush()
        try:
            self._make_room(entry)
        except BlobServiceError as error:
            log.warning("there is no room made for what is fetched now: %s", error.message)

    def _make_room(self, entry: Entry) -> None:
        if self._max_account_bytes:
            account = accounts.find(self._database.one_shot(), entry.did)
            over = 0 if account is None else account.blob_bytes - self._max_account_bytes
            self._evict(entry, over, partial(reads.oldest_of, did=entry.did))
        if not self._max_bytes:
            return
        with self._lock:
            self._left -= entry.size
            is_near = self._left < 0
        if is_near:
            total = reads.total(self._database.one_shot())
            if total > self._max_bytes:
                most = self._max_bytes - self._max_bytes // _SLACK
                total -= self._evict(entry, total - most, reads.oldest)
            with self._lock:
                self._left = max(self._max_bytes - total, 0) // _SHARES

    def _evict(self, kept: Entry, excess: int, oldest: Callable[..., list[Read]]) -> int:
        """Remove *excess* bytes of blobs, but not *kept*; the bytes that went."""
        gone = 0
        while gone < excess:
            with self._database.read() as tx:
                step = oldest(tx, limit=_STEP)
            before = gone
            for read in step:
                if gone < excess and (read.did, read.cid) != (kept.did, kept.cid):
                    gone += self._remove(read)
            if gone == before:
                break
        return gone

    def _remove(self, read: Read) -> int:
        def check(tx: Transaction) -> bool:
            return reads.is_unread_since(tx, read) and blobs.remove_owner(tx, read.did, read.cid)

        removed = delete_unowned_if(
            check,
            self._database,
            self._backend,
            [read.cid],
            self._clock,
            Spend.ALL,
            keys=(account_key(read.did),),
        )
        if removed is None:
            return 0
        if removed:
            self._on_gone(removed)
        return read.size

    def _flush(self) -> None:
        """Write down what was read. What cannot be written is forgotten."""
        with self._lock:
            pending, self._pending = self._pending, {}
            self._flushed_at = self._clock()
        if not pending:
            return
        keys = tuple(account_key(did) for did in sorted({did for did, _ in pending}))
        try:
            with self._database.write(Spend.HALF, keys=keys) as tx:
                for (did, cid), used_at in pending.items():
                    reads.note(tx, did, cid, used_at)
        except BlobServiceError as error:
            log.warning("what was read is not noted now: %s", error.message)
