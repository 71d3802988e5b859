"""The collector: removes expired temporary blobs, unowned bytes and other rows that have expired.

Any number of collectors and servers may run at once. Each thing is removed in a transaction of its
own, which first checks that it is still over. Bytes go by the removal rule of catalog/blobs.py.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

from aurora_blobs.accounts.hiding import finish_hiding
from aurora_blobs.blobs.deletion import (
    delete_account,
    delete_unowned,
    delete_unowned_if,
    finish_deletion,
)
from aurora_blobs.catalog import accounts, blobs, expiry, removals, upstream
from aurora_blobs.catalog import leases as lease_rows
from aurora_blobs.catalog.expiry import ExpiredBlob
from aurora_blobs.catalog.removals import Removal
from aurora_blobs.db import Database, Key, Transaction, account_key, blob_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import STORE_AWAY, InsufficientStorage, LeaseLost
from aurora_blobs.intake.stale_files import stale_files
from aurora_blobs.leases import Leases
from aurora_blobs.maintenance.shards import Shard, SharedPass
from aurora_blobs.protocol.cid import cid_of_name
from aurora_blobs.storage.base import BlobBackend, Unfinished

_STEP = 500  # rows per statement
# Accounts of a mirror that go like what they own, and why.
_GONE = (
    (upstream.DELETED, "its PDS has deleted it"),
    (upstream.BARRED, "the settings do not allow it any more"),
)
_MAX_FAILURES = 3  # in a row; then the store is away, and the rest can wait

# The operator's words in `blobs gc`.
Kind = Literal[
    "account",
    "temporary",
    "unheld",
    "removal",
    "spool",
    "unfinished",
    "parts",
    "session",
    "token",
    "deletion",
    "counter",
    "object",
    "invite",
    "lease",
    "picture",
]


@dataclass(frozen=True, slots=True)
class _ExpiringRows:
    """One kind of rows that expire by themselves, with its statements.

    `count` takes the time now, `forget` also the most that it may delete; both give a number.
    """

    kind: Kind
    reason: str
    count: Callable[[Transaction, int], int]
    forget: Callable[[Transaction, int, int], int]


_EXPIRING_ROWS = (
    _ExpiringRows(
        "session", "log-ins that are over", expiry.count_sessions, expiry.forget_sessions
    ),
    _ExpiringRows(
        "token", "one-time tokens that have expired", expiry.count_tokens, expiry.forget_tokens
    ),
    _ExpiringRows(
        "deletion",
        "deletions of accounts whose tokens are over",
        expiry.count_deletions,
        expiry.forget_deletions,
    ),
    _ExpiringRows(
        "counter", "counters of a time that is over", expiry.count_counters, expiry.forget_counters
    ),
    _ExpiringRows(
        "object",
        "names of uploads through the object API that are over",
        expiry.count_staged_objects,
        expiry.forget_staged_objects,
    ),
    _ExpiringRows(
        "invite",
        "invite codes that have been over for 30 days",
        expiry.count_invites,
        expiry.forget_invites,
    ),
    _ExpiringRows(
        "lease",
        "work of processes that died",
        lambda tx, now: lease_rows.count_over(tx),
        lambda tx, now, limit: lease_rows.forget_over(tx, limit),
    ),
)


@dataclass(frozen=True, slots=True)
class Collected:
    """One thing, or *count* rows of one kind, that was removed or would be.

    `size` is in bytes, `since` in microseconds and None for rows. `failure` says why it could not
    be removed, None if it could.
    """

    kind: Kind
    reason: str
    cid: str | None = None
    did: str | None = None
    size: int = 0
    since: int | None = None
    count: int = 1
    failure: str | None = None

    @property
    def is_blob(self) -> bool:
        """Whether it is one of the store's blobs, not a remainder or rows."""
        return self.kind in ("temporary", "unheld")


# A candidate, and the call that removes it; False if it is not over any more.
_Candidate = tuple[Collected, Callable[[], bool]]


class Collector:
    """Collects, once per `run`. `failure` says why the last one did not come to its end, or None.

    *grace_seconds* is the configured grace time; tests have a tiny one. *clock* gives microseconds
    since the epoch, UTC.
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
        leases: Leases | None = None,
        idle_uploads: Callable[[], Iterator[Unfinished]] = lambda: iter(()),
    ) -> None:
        """*sweep_pictures* removes what was derived from blobs that are gone, and counts it.

        Nodes that *leases* knows of share the work. *idle_uploads* are those in parts of which no
        more will come.
        """
        self._backend = backend
        self._database = database
        self._spool = spool
        self._grace = int(grace_seconds * 1_000_000)
        self._clock = clock
        self._sweep_pictures = sweep_pictures
        self._leases = leases
        self._idle_uploads = idle_uploads
        self.failure: str | None = None

    def estimate(self) -> tuple[int, int]:
        """About how many blobs, and bytes, `run` would collect now."""
        with self._database.read() as tx:
            return expiry.total_expired(tx, self._clock() - self._grace)

    def run(self, *, dry_run: bool = False) -> Iterator[Collected]:
        """Remove all that is over; with *dry_run* only list it.

        What needs no store is removed where the store is away, too. Ends early if much fails.
        """
        if not dry_run:
            finish_hiding(self._database)
        self.failure = None
        failures = 0
        # What is only listed is listed whole.
        shared = SharedPass(self._database, "gc", None if dry_run else self._leases)
        for found, remove in self._candidates(self._clock(), shared):
            if dry_run:
                yield found
                continue
            try:
                is_removed = remove()
            except (*STORE_AWAY, InsufficientStorage) as error:
                yield replace(found, failure=error.message)
                failures += 1
                if failures == _MAX_FAILURES:
                    self.failure = f"too many removals failed, one after the other: {error.message}"
                    return
            else:
                failures = 0
                if is_removed:
                    yield found
        pictures = 0 if dry_run else self._sweep_pictures()
        if pictures:
            yield Collected(
                "picture", "derived from blobs that are gone or taken down", count=pictures
            )
        if not dry_run:
            # Who had nothing to remove has not noticed that the store is away.
            try:
                self._backend.confirm()
            except STORE_AWAY as error:
                self.failure = error.message

    def _candidates(self, now: int, shared: SharedPass) -> Iterator[_Candidate]:
        before = now - self._grace
        yield from shared.once("removals", self._removals())
        yield from shared.once("accounts", self._deleted_accounts())
        for status, reason in _GONE:
            yield from shared.once(f"upstream {status}", self._gone(status, reason, before))
        for shard in shared.shards():
            with suppress(LeaseLost):
                for candidate in chain(
                    self._temporary(before, shard), self._unowned(before, shard)
                ):
                    yield candidate
                    shared.keep()
        yield from self._stale_files()
        for left in self._idle_uploads():
            found = Collected("parts", "no more of them come", size=left.size, since=left.since)
            yield found, left.remove
        yield from shared.once("unfinished", self._unfinished(before))
        yield from shared.once("rows", self._expired_rows(now))

    def _deleted_accounts(self) -> Iterator[_Candidate]:
        found = self._database.in_pages(
            accounts.find_deletions, "", lambda last: last[0], limit=_STEP
        )
        for did, since in found:
            deletion = Collected("account", "its deletion broke off", did=did, since=since)
            yield deletion, partial(self._finish_deletion, did)

    def _finish_deletion(self, did: str) -> bool:
        # What was derived of its blobs goes with `sweep_pictures`.
        return finish_deletion(
            self._database, self._backend, did, self._clock, on_gone=lambda cids: None
        )

    def _gone(self, status: str, reason: str, before: int) -> Iterator[_Candidate]:
        for since, did in self._database.in_pages(
            lambda tx, after, limit: upstream.gone(tx, status, before, after, limit),
            (0, ""),
            lambda last: last,
            limit=_STEP,
        ):
            found = Collected("account", reason, did=did, since=since)
            yield found, partial(self._delete_account, did, status, before)

    def _delete_account(self, did: str, status: str, before: int) -> bool:
        return delete_account(
            self._database,
            self._backend,
            did,
            self._clock,
            on_gone=lambda cids: None,
            check=lambda tx: upstream.forget_gone(tx, did, status, before),
        )

    def _temporary(self, before: int, shard: Shard) -> Iterator[_Candidate]:
        expired = self._database.in_pages(
            lambda tx, after, limit: expiry.expired(
                tx, before, shard.low, shard.high, after, limit
            ),
            (0, "", ""),
            lambda last: (last.since, last.did, last.cid),
            limit=_STEP,
        )
        for blob in expired:
            found = Collected(
                "temporary",
                "no record names it",
                cid=blob.cid,
                did=blob.did,
                size=blob.size,
                since=blob.since,
            )
            remove_owner = partial(_remove_owner_if_expired, blob=blob, before=before)
            yield found, partial(self._discard, blob.cid, remove_owner, account_key(blob.did))

    def _unowned(self, before: int, shard: Shard) -> Iterator[_Candidate]:
        after: str | None = shard.low
        while after is not None:
            with self._database.read() as tx:
                step, after = expiry.unowned(tx, before, after, shard.high, _STEP)
            for blob in step:
                found = Collected(
                    "unheld",
                    "no account holds it",
                    cid=blob.cid,
                    size=blob.size,
                    since=blob.created_at,
                )
                is_over = partial(expiry.is_unowned, cid=blob.cid, created_at=blob.created_at)
                yield found, partial(self._discard, blob.cid, is_over)

    def _discard(self, cid: str, check: Callable[[Transaction], bool], *keys: Key) -> bool:
        gone = delete_unowned_if(
            check, self._database, self._backend, [cid], self._clock, keys=keys
        )
        return gone is not None

    def _removals(self) -> Iterator[_Candidate]:
        # Whatever their age: another one's that is under way may be done twice.
        for removal in self._database.in_pages(
            removals.unended, 0, lambda last: last.id, limit=_STEP
        ):
            found = Collected(
                "removal",
                "its removal has not ended",
                cid=cid_of_name(removal.name),
                since=removal.began_at,
            )
            yield found, partial(self._sweep, removal)

    def _sweep(self, removal: Removal) -> bool:
        keys = (blob_key(cid_of_name(removal.name)),)
        with self._database.write(Spend.ALL, keys=keys) as tx:
            own = removals.begin_again(tx, removal, self._clock())
        if own is None:
            return False
        self._backend.delete(removal.name)
        with self._database.write(Spend.ALL, keys=keys) as tx:
            removals.end(tx, [own])
            removals.sweep(tx, removal, self._clock())
        return True

    def _stale_files(self) -> Iterator[_Candidate]:
        for path, cid in stale_files(self._spool):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # removed by another collector
            found = Collected(
                "spool",
                f"{path.name}: its upload died",
                cid=cid,
                size=status.st_size,
                since=status.st_mtime_ns // 1000,
            )
            yield found, partial(self._remove_stale_file, path, cid)

    def _remove_stale_file(self, path: Path, cid: str | None) -> bool:
        if cid is not None:
            delete_unowned(self._database, self._backend, [cid], self._clock, leftovers=[cid])
        path.unlink(missing_ok=True)
        return True

    def _unfinished(self, before: int) -> Iterator[_Candidate]:
        # Only past the grace time: the process that sends a blob's parts may be on any machine.
        for store in self._backend.stores:
            try:
                for left in store.unfinished(before):
                    is_upload = left.cid is not None
                    found = Collected(
                        "unfinished",
                        f"{'its upload to' if is_upload else 'a trial of'} the store broke off",
                        cid=left.cid,
                        size=left.size,
                        since=left.since,
                    )
                    yield found, left.remove
            except STORE_AWAY as error:
                reason = "the store could not be asked what uploads have left there"
                yield Collected("unfinished", reason, failure=error.message), lambda: True

    def _expired_rows(self, now: int) -> Iterator[_Candidate]:
        with self._database.read() as tx:
            counts = [(rows, rows.count(tx, now)) for rows in _EXPIRING_ROWS]
        for rows, count in counts:
            if count:
                found = Collected(rows.kind, rows.reason, count=count)
                yield found, partial(self._forget, rows, now)

    def _forget(self, rows: _ExpiringRows, now: int) -> bool:
        self._database.in_steps(lambda tx: rows.forget(tx, now, _STEP) == _STEP, Spend.ALL)
        return True


def _remove_owner_if_expired(tx: Transaction, blob: ExpiredBlob, before: int) -> bool:
    if not expiry.is_expired(tx, blob.did, blob.cid, before):
        return False
    blobs.remove_owner(tx, blob.did, blob.cid)
    return True
