"""Collects what is over: temporary blobs past their grace, bytes that nobody holds, and small things that expire.

Any number of collectors and servers may run at once. Each thing goes in a transaction of its own, which first makes
sure that it is still over; bytes go by the locking rule of catalog/blobs.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from aurora_blobs.blobs.deletion import discard, discard_if
from aurora_blobs.catalog import blobs, expiry
from aurora_blobs.catalog.expiry import Expired
from aurora_blobs.db import Database, Transaction
from aurora_blobs.errors import STORE_AWAY
from aurora_blobs.intake.spool import stale_files
from aurora_blobs.storage.base import BlobBackend

_STEP = 500  # rows per statement
_MAX_FAILURES = 3  # in a row; then the store is away and the rest can wait


@dataclass(frozen=True, slots=True)
class Collected:
    """One thing that went, or would go. `since` is in microseconds, None where it is a count of things.

    `kind` is "temporary", "unheld", "spool", "unfinished", "session", "token", "deletion", "counter" or "picture";
    `failure` is None where all went well.
    """

    kind: str
    reason: str
    cid: str | None = None
    did: str | None = None
    size: int = 0
    since: int | None = None
    count: int = 1
    failure: str | None = None


class Collector:
    """Collects, once per `run`.

    *grace_seconds* is the configured one; tests have a tiny one. *clock* gives microseconds since the epoch, UTC.
    """

    def __init__(
        self,
        backend: BlobBackend,
        database: Database,
        *,
        spool: Path,
        grace_seconds: float,
        clock: Callable[[], int],
        sweep_pictures: Callable[[], int] = lambda: 0,
    ) -> None:
        """*sweep_pictures* throws out what was derived from blobs that are gone, and counts it."""
        self._backend = backend
        self._database = database
        self._spool = spool
        self._grace = int(grace_seconds * 1_000_000)
        self._clock = clock
        self._sweep_pictures = sweep_pictures

    def ahead(self) -> tuple[int, int]:
        """About how many blobs, and bytes, `run` would collect now."""
        with self._database.read() as tx:
            return expiry.total_expired(tx, self._clock() - self._grace)

    def run(self, *, dry_run: bool = False) -> Iterator[Collected]:
        """Collect all that is over, or with *dry_run* only tell. Ends early where the store is away."""
        failures = 0
        for found, take in self._candidates(self._clock()):
            if dry_run:
                yield found
                continue
            try:
                taken = take()
            except STORE_AWAY as error:
                yield replace(found, failure=error.message)
                failures += 1
                if failures == _MAX_FAILURES:
                    return
            else:
                failures = 0
                if taken:
                    yield found
        pictures = 0 if dry_run else self._sweep_pictures()
        if pictures:
            yield Collected(
                "picture", "derived from blobs that are gone or taken down", count=pictures
            )

    def _candidates(self, now: int) -> Iterator[tuple[Collected, Callable[[], bool]]]:
        """What seems to be over, and how to take it; that answers False where it is not over any more."""
        before = now - self._grace
        yield from self._temporary(before)
        yield from self._unheld(before)
        yield from self._spooled()
        yield from self._unfinished(before)
        yield from self._small(now)

    def _temporary(self, before: int) -> Iterator[tuple[Collected, Callable[[], bool]]]:
        after = (0, "", "")
        while True:
            with self._database.read() as tx:
                step = expiry.expired(tx, before, after, _STEP)
            if not step:
                return
            for blob in step:
                found = Collected(
                    "temporary", "no record names it", blob.cid, blob.did, blob.size, blob.since
                )
                yield (
                    found,
                    partial(self._discard, blob.cid, partial(_let_go, blob=blob, before=before)),
                )
            after = (step[-1].since, step[-1].did, step[-1].cid)

    def _unheld(self, before: int) -> Iterator[tuple[Collected, Callable[[], bool]]]:
        after: str | None = ""
        while after is not None:
            with self._database.read() as tx:
                step, after = expiry.unowned(tx, before, after, _STEP)
            for blob in step:
                found = Collected(
                    "unheld", "no account holds it", blob.cid, None, blob.size, blob.created_at
                )
                is_over = partial(expiry.is_unowned, cid=blob.cid, created_at=blob.created_at)
                yield found, partial(self._discard, blob.cid, is_over)

    def _discard(self, cid: str, check: Callable[[Transaction], bool]) -> bool:
        return discard_if(check, self._database, self._backend, [cid], self._clock) is not None

    def _spooled(self) -> Iterator[tuple[Collected, Callable[[], bool]]]:
        for path, cid in stale_files(self._spool):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # swept by another collector
            found = Collected(
                "spool",
                f"{path.name}: its upload died",
                cid,
                None,
                status.st_size,
                status.st_mtime_ns // 1000,
            )
            yield found, partial(self._sweep, path, cid)

    def _sweep(self, path: Path, cid: str | None) -> bool:
        if cid is not None:
            discard(self._database, self._backend, [cid], self._clock)
        path.unlink(missing_ok=True)
        return True

    def _unfinished(self, before: int) -> Iterator[tuple[Collected, Callable[[], bool]]]:
        # By the grace time as well: whoever sends the parts of a blob may be any process, anywhere.
        for store in self._backend.stores:
            try:
                for left in store.unfinished(before):
                    reason = "its upload to the store broke off"
                    yield (
                        Collected("unfinished", reason, left.cid, None, left.size, left.since),
                        left.remove,
                    )
            except STORE_AWAY as error:
                reason = "the store was to be asked for uploads that broke off"
                yield Collected("unfinished", reason, failure=error.message), lambda: True

    def _small(self, now: int) -> Iterator[tuple[Collected, Callable[[], bool]]]:
        with self._database.read() as tx:
            numbers = expiry.count_over(tx, now)
        for number, (kind, reason, forget) in zip(numbers, _SMALL, strict=True):
            if number:
                yield Collected(kind, reason, count=number), partial(self._forget, forget, now)

    def _forget(self, forget: Callable[[Transaction, int, int], int], now: int) -> bool:
        forgotten = _STEP
        while forgotten == _STEP:
            with self._database.write() as tx:
                forgotten = forget(tx, now, _STEP)
        return True


def _let_go(tx: Transaction, blob: Expired, before: int) -> bool:
    if not expiry.is_expired(tx, blob.did, blob.cid, before):
        return False
    blobs.remove_owner(tx, blob.did, blob.cid)
    return True


# In the order of `expiry.count_over`.
_SMALL = (
    ("session", "log-ins that are over", expiry.forget_sessions),
    ("token", "one-time tokens that have expired", expiry.forget_tokens),
    ("deletion", "deletions of accounts whose tokens are over", expiry.forget_deletions),
    ("counter", "counters of a time that is over", expiry.forget_counters),
)
