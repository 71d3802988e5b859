"""The objects of a PDS, which are blobs: what is stored, copied and deleted under their keys."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from aurora_blobs.accounts.queries import RepoQueries
from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.catalog import accounts, blobs, objects, references, takedowns
from aurora_blobs.catalog.audit import PDS, Author
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.catalog.objects import Listed
from aurora_blobs.db import Database, Transaction
from aurora_blobs.db.keys import Key as RowKey
from aurora_blobs.db.keys import account_key, blob_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import WrongBytes
from aurora_blobs.intake.body import Reader
from aurora_blobs.intake.spool import CHUNK
from aurora_blobs.object_api.layout import Key, Kind
from aurora_blobs.object_api.payload import wrong_sha256
from aurora_blobs.object_api.refusals import Refusal
from aurora_blobs.protocol.cid import cid_of_digest

# Why a blob is taken down that the PDS has put aside. Other takedowns the PDS does not lift.
QUARANTINE_REF = "quarantined by the PDS"
_STEP = 100  # deletions in one transaction
_PAGE = 1000  # rows per statement of a list


@dataclass(frozen=True, slots=True)
class Body:
    """*size* bytes in *stream*. *sha256* is what they are to have, if that is known."""

    stream: Reader
    size: int
    declared_type: str | None = None
    sha256: bytes | None = None


class Objects:
    """The objects of all accounts. *clock* gives microseconds since the epoch, UTC.

    What is staged is a temporary blob and a name for it, for *grace_seconds*. What is stored is a
    public blob. What is quarantined is one that is taken down, by *by*.
    """

    def __init__(
        self,
        manager: BlobManager,
        database: Database,
        repos: RepoQueries,
        *,
        grace_seconds: int,
        clock: Callable[[], int],
        by: Author = PDS,
    ) -> None:
        self._blobs = manager
        self._database = database
        self._repos = repos
        self._grace = grace_seconds * 1_000_000
        self._clock = clock
        self._by = by

    def find(self, key: Key) -> Entry:
        """The blob that is the object *key*; its bytes are here. Raises Refusal."""
        with self._database.read() as tx:
            entry, is_stored = self._find(tx, key)
        if not is_stored:
            # Perhaps they have come back.
            return self._blobs.describe(key.did, entry.cid, viewer=key.did, look_again=True)
        return entry

    def find_or_none(self, key: Key) -> Entry | None:
        """The blob that is the object *key*; None if it is none, or its bytes are lost."""
        try:
            with self._database.read() as tx:
                entry, is_stored = self._find(tx, key)
        except Refusal:
            return None
        return entry if is_stored else None

    def put(self, key: Key, body: Body) -> Entry:
        """Store *body* as the object *key*; durable on return.

        Raises Refusal, and as `BlobManager.upload`.
        """
        self._admit(key.did)
        stated = None if body.sha256 is None else cid_of_digest(body.sha256)
        expected = stated if key.kind is Kind.STAGED else key.name
        if stated not in (None, expected):
            raise Refusal("BadDigest", f"The body is not that of {key.name}")
        if key.kind is Kind.QUARANTINED:
            entry = self.find_or_none(key)
            if entry is not None:
                _check_bytes(body.stream, entry.cid)  # what is taken down is not stored again
                return entry
        incoming = Incoming(
            stream=body.stream,
            did=key.did,
            declared_type=body.declared_type,
            declared_size=body.size,
            expected_cid=expected,
            also_write=partial(self._name, key),
            writes_alone=key.kind is Kind.QUARANTINED,
        )
        try:
            entry = self._blobs.upload(incoming)
        except WrongBytes:
            if stated is not None:
                raise wrong_sha256() from None
            raise
        if key.kind is Kind.STORED and entry.unreferenced_since is None:
            self._database.flush_log()  # nothing was written, and who wrote it may have died
        return entry

    def copy(self, source: Key, target: Key) -> Entry:
        """Let *target* be what *source* is; nothing is copied. Durable on return. Raises Refusal.

        Once more, it changes nothing.
        """
        do = _COPIES.get((source.kind, target.kind))
        if do is None or source.did != target.did:
            raise Refusal("NotImplemented", f"No PDS copies {source} to {target}")
        with self._database.write(do.spend, keys=do.keys(target)) as tx:
            entry = do.write(self, tx, source, target)
        if entry.unreferenced_since is None:
            self._database.flush_log()  # as in `put`
        return entry

    def delete(self, keys: Sequence[Key]) -> None:
        """Let *keys* be no objects any more. They need not be any.

        A power failure may bring uploads back, until their grace time is over.
        """
        left = list(keys)
        rests_on_others = False  # on deletions that may not be on the disk yet

        def delete_some(tx: Transaction) -> bool:
            nonlocal rests_on_others
            some = left[:_STEP]
            for key in some:
                rests_on_others |= not self._delete(tx, key)
            if all(key.kind is Kind.STAGED for key in some):
                tx.leave_to_kernel()  # a PDS does it with each promotion, and waits
            del left[:_STEP]
            return bool(left)

        if left:
            owners = {account_key(key.did) for key in keys}
            self._database.in_steps(delete_some, Spend.ALL, keys=tuple(owners))
        if rests_on_others:
            self._database.flush_log()

    def listed(
        self, after: Key | None, kind: Kind, *, rows: int = _PAGE
    ) -> Iterator[tuple[Key, Listed]]:
        """The objects of *kind* by DID and name, after *after* or from the first.

        They are read *rows* at a time.
        """
        position = ("", "") if after is None else (after.did, after.name)
        found = self._database.in_pages(
            partial(self._page, kind), position, lambda last: (last.did, last.name), limit=rows
        )
        return ((Key(kind, row.did, row.name), row) for row in found)

    def _page(
        self, kind: Kind, tx: Transaction, after: tuple[str, str], limit: int
    ) -> list[Listed]:
        if kind is Kind.STAGED:
            return objects.page_of_staged(tx, after, self._clock(), limit)
        if kind is Kind.STORED:
            return objects.page_of_stored(tx, after, limit)
        return objects.page_of_taken_down(tx, after, QUARANTINE_REF, limit)

    def _admit(self, did: str) -> None:
        """Raise Refusal for an account that is taken down here; a new one is made."""
        account = accounts.find(self._database.one_shot(), did)
        if account is None:
            self._repos.reported(did)
            account = accounts.find(self._database.one_shot(), did)
        if account is not None and account.takedown_at is not None:
            raise Refusal("AccessDenied", f"The account {did} is taken down here")

    def _name(self, key: Key, tx: Transaction, entry: Entry) -> None:
        if key.kind is Kind.STAGED:
            objects.stage(tx, key.did, key.name, entry.cid, self._clock() + self._grace)
        else:
            references.publish(tx, key.did, entry.cid)
        if key.kind is Kind.QUARANTINED:
            takedowns.apply(tx, entry.cid, key.did, QUARANTINE_REF, self._clock(), self._by)

    def _find(self, tx: Transaction, key: Key) -> tuple[Entry, bool]:
        """The blob of *key*, and whether its bytes are here, as far as is known."""
        cid = key.name
        if key.kind is Kind.STAGED:
            cid = objects.find_staged(tx, key.did, key.name, self._clock()) or ""
        found = blobs.find_availability(tx, key.did, cid)
        if found is None or found.entry is None:
            raise _no_such(key)
        is_there = key.kind is Kind.STAGED or found.entry.unreferenced_since is None
        if key.kind is Kind.QUARANTINED:
            is_there &= takedowns.find_ref(tx, cid, key.did) == QUARANTINE_REF
        elif found.taken_down:
            is_there = False
        if not is_there:
            raise _no_such(key)
        return found.entry, found.stored

    def _promote(self, tx: Transaction, source: Key, target: Key) -> Entry:
        entry, is_stored = self._find(tx, source)
        if entry.cid != target.name:
            raise Refusal("BadDigest", f"{source} is {entry.cid}, not {target.name}")
        if not is_stored:
            raise _no_such(source)
        references.publish(tx, target.did, entry.cid)
        return entry

    def _take_down(self, tx: Transaction, source: Key, target: Key) -> Entry:
        _check_same(source, target)
        entry = self._entry_or_none(tx, target)
        if entry is None:
            entry, _ = self._find(tx, source)
            now = self._clock()
            takedowns.apply(tx, target.name, target.did, QUARANTINE_REF, now, self._by)
        return entry

    def _lift(self, tx: Transaction, source: Key, target: Key) -> Entry:
        _check_same(source, target)
        entry = self._entry_or_none(tx, source)
        if entry is None:
            return self._find(tx, target)[0]
        takedowns.lift(tx, source.name, source.did, self._by)
        if takedowns.find_ref(tx, source.name, source.did) is not None:
            raise Refusal("AccessDenied", "The blob is taken down here, for every account")
        return entry

    def _entry_or_none(self, tx: Transaction, key: Key) -> Entry | None:
        try:
            return self._find(tx, key)[0]
        except Refusal:
            return None

    def _delete(self, tx: Transaction, key: Key) -> bool:
        """Let *key* be no object any more; False if it was none that others may have deleted."""
        if key.kind is Kind.STAGED:
            objects.unstage(tx, key.did, key.name)
            return True
        is_there = self._entry_or_none(tx, key) is not None
        return is_there and objects.release(tx, key.did, key.name, self._clock())


@dataclass(frozen=True, slots=True)
class _Copy:
    """What a copy does, how much of the reserve of disk space it may use up, and its keys."""

    write: Callable[[Objects, Transaction, Key, Key], Entry]
    spend: Spend
    keys: Callable[[Key], tuple[RowKey, ...]]


def _stay(self: Objects, tx: Transaction, source: Key, target: Key) -> Entry:
    _check_same(source, target)
    return self._find(tx, source)[0]


def _of_blob(target: Key) -> tuple[RowKey, ...]:
    return account_key(target.did), blob_key(target.name)


def _alone(target: Key) -> tuple[RowKey, ...]:
    return ()  # takedowns change without keys


_COPIES = {
    (Kind.STAGED, Kind.STORED): _Copy(Objects._promote, Spend.HALF, _of_blob),
    (Kind.STORED, Kind.QUARANTINED): _Copy(Objects._take_down, Spend.ALL, _alone),
    (Kind.QUARANTINED, Kind.STORED): _Copy(Objects._lift, Spend.ALL, _alone),
    (Kind.STORED, Kind.STORED): _Copy(_stay, Spend.LEFT, _of_blob),
}


def _check_same(source: Key, target: Key) -> None:
    if source.name != target.name:
        raise Refusal("BadDigest", f"{source} is not {target.name}")


def _check_bytes(stream: Reader, cid: str) -> None:
    """Read *stream* to its end. Raises WrongBytes unless it is the blob *cid*."""
    digest = sha256()
    while data := stream.read(CHUNK):
        digest.update(data)
    found = cid_of_digest(digest.digest())
    if found != cid:
        raise WrongBytes(f"The bytes are those of {found}")


def _no_such(key: Key) -> Refusal:
    return Refusal("NoSuchKey", f"The specified key does not exist: {key}")
