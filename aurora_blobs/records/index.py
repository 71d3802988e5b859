"""The index of records: each write is checked, and makes the blobs that it names public."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from aurora_blobs.catalog import blobs, records, references
from aurora_blobs.catalog.records import Version, record_uri
from aurora_blobs.db import STEP_BYTES, Database, Transaction, account_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import (
    BlobNotFound,
    InvalidMimeType,
    InvalidRequest,
    InvalidSize,
    InvalidSwap,
)
from aurora_blobs.protocol.blob_refs import Reference, find_references, legacy_reference
from aurora_blobs.protocol.cid import parse_blob_cid
from aurora_blobs.protocol.quoting import shown
from aurora_blobs.protocol.syntax import new_tid
from aurora_blobs.records.changes import RecordChanges, RecordLimits
from aurora_blobs.records.data_model import record_cid, record_text
from aurora_blobs.storage.base import BlobBackend

MAX_WRITES = 200  # in one applyWrites, as on the reference PDS
_MAX_BYTES = 2 * STEP_BYTES  # changed by one call with several writes
_PROFILE, _PICTURES = "app.bsky.actor.profile", ("avatar", "banner")

Action = Literal["create", "put", "update", "delete"]
ANY = object()  # as `Write.swap`: whatever is there


@dataclass(frozen=True, slots=True)
class Write:
    """One change of a record. `value` is its JSON, None for a delete; ``put`` creates or updates.

    `swap` is the CID that the record must have before the write: None if there must be no record,
    `ANY` for whatever is there.
    """

    action: Action
    collection: str
    rkey: str
    value: dict[str, Any] | None = None
    swap: object = ANY


@dataclass(frozen=True, slots=True)
class Written:
    """What a write made: the record's URI and its CID, None for a delete."""

    uri: str
    cid: str | None


@dataclass(frozen=True, slots=True)
class _Change:
    """A write, the CID of its record (None for a delete), and the blobs that the record names."""

    write: Write
    cid: str | None
    references: list[Reference]


class Records:
    """The records of all accounts. *clock* gives microseconds since the epoch, UTC."""

    def __init__(
        self,
        database: Database,
        backend: BlobBackend,
        clock: Callable[[], int],
        limits: RecordLimits | None = None,
    ) -> None:
        self._limits = limits or RecordLimits()
        self._database = database
        self._backend = backend
        self._clock = clock
        self._key_lock = threading.Lock()
        self._last_key: str | None = None

    def new_key(self) -> str:
        """A key for a record that came without one, later than every key before it."""
        with self._key_lock:
            self._last_key = new_tid(self._clock(), self._last_key)
            return self._last_key

    def apply(self, did: str, writes: list[Write]) -> list[Written]:
        """Make all of *writes* or none.

        Each blob that they name must be stored, with the type and size that the record states. It
        becomes public; a blob that no record names any more becomes temporary.

        Raises RepoNotFound, BlobNotFound, InvalidMimeType, InvalidSize, InvalidSwap, QuotaExceeded,
        and InvalidRequest, also for more references than one record or one call may have.
        """
        changes = [_prepare(write) for write in writes]
        for change in changes:
            self._limits.check_references(len(change.references))
        now = self._clock()
        only_deletes = all(write.action == "delete" for write in writes)
        spend = Spend.HALF if only_deletes else Spend.NOTHING
        with self._database.write(spend, keys=(account_key(did),)) as tx:
            made = RecordChanges(tx, did, now)
            named_before: set[str] = set()
            for change in changes:
                named_before.update(_make(made, did, change))
                self._check_size(made, changes)
            for change in changes:
                for reference in change.references:
                    self._check_stored(tx, did, reference)
                    references.publish(tx, did, reference.cid)
            for cid in named_before:
                references.retire(tx, did, cid, now)
            total = made.finish()
            if made.added > 0:
                self._limits.check_bytes(total)
        return [Written(_uri(did, change.write), change.cid) for change in changes]

    def _check_size(self, made: RecordChanges, changes: list[_Change]) -> None:
        # One transaction, and a client chooses what is in it. A single write is let through: what
        # an earlier version, or a larger limit, has let in must be able to go.
        if len(changes) == 1:
            return
        rows = 2 * (MAX_WRITES + self._limits.max_references)
        if made.rows > rows:
            raise InvalidRequest(
                f"These writes change more than {rows} records and references to blobs,"
                " those that they replace included: send fewer in one call"
            )
        if made.size > _MAX_BYTES:
            raise InvalidRequest(
                f"These writes change more than {_MAX_BYTES} bytes of records,"
                " those that they replace included: send fewer in one call"
            )

    def with_typed_pictures(
        self, did: str, collection: str, rkey: str, value: dict[str, Any]
    ) -> dict[str, Any]:
        """*value* for an existing record, with a profile's legacy pictures as typed references.

        Clients of before 2023 send back what they read. Raises BlobNotFound for a picture that is
        not here.
        """
        if collection != _PROFILE:
            return value
        legacy: dict[str, Reference] = {}
        for name in _PICTURES:
            picture = value.get(name)
            reference = legacy_reference(picture) if isinstance(picture, dict) else None
            if reference is not None:
                legacy[name] = reference
        if not legacy:
            return value
        with self._database.read() as tx:
            if records.find(tx, did, collection, rkey) is None:
                return value
            typed = {name: _typed(tx, did, reference) for name, reference in legacy.items()}
        return {**value, **typed}

    def _check_stored(self, tx: Transaction, did: str, reference: Reference) -> None:
        state = blobs.find_upload_state(tx, did, reference.cid)
        entry = None if state is None else state.entry
        if state is None or entry is None or not state.stored or state.taken_down:
            raise BlobNotFound(f"Could not find blob: {shown(reference.cid)}")
        if self._backend.stat_is_cheap and self._backend.size(entry.name) != entry.size:
            raise BlobNotFound(f"Could not find blob: {shown(reference.cid)}")
        if reference.mime_type != entry.mime_type:
            raise InvalidMimeType(
                "Referenced Mimetype does not match stored blob. "
                f"Expected: {entry.mime_type}, Got: {reference.mime_type or 'no media type'}"
            )
        if reference.size != entry.size:
            raise InvalidSize(
                "Referenced Size does not match stored blob. "
                f"Expected: {entry.size}, Got: {reference.size}"
            )


def _prepare(write: Write) -> _Change:
    if write.value is None:
        return _Change(write, None, [])
    cid = record_cid(write.value)
    found = []
    for reference in find_references(write.value):
        if reference.size is None:
            raise InvalidRequest(f"Legacy blobs are not allowed ({shown(reference.cid)})")
        try:
            parse_blob_cid(reference.cid)
        except ValueError:
            raise BlobNotFound(f"Could not find blob: {shown(reference.cid)}") from None
        found.append(reference)
    return _Change(write, cid, found)


def _make(made: RecordChanges, did: str, change: _Change) -> list[str]:
    """Make *change*; the CIDs of blobs that its record named before."""
    write = change.write
    before = made.find(write.collection, write.rkey)
    _check_precondition(change, before, _uri(did, write))
    if before is not None and before.cid == change.cid:
        return []
    if change.cid is None:
        return made.drop(write.collection, write.rkey, before)
    text = record_text(write.value)
    return made.put(write.collection, write.rkey, change.cid, text, change.references, before)


def _check_precondition(change: _Change, before: Version | None, uri: str) -> None:
    cid_before = None if before is None else before.cid
    # As on the reference PDS: what is gone already need not be deleted, whatever it once was.
    if change.write.action == "delete" and before is None:
        return
    if change.write.swap is not ANY and change.write.swap != cid_before:
        raise InvalidSwap(f"Record was at {cid_before or 'null'}")
    # The very same record may be created again: a PDS that reports its writes may report one twice.
    if change.write.action == "create" and cid_before not in (None, change.cid):
        raise InvalidRequest(f"Record already exists: {uri}")
    if change.write.action == "update" and before is None:
        raise InvalidRequest(f"Could not find record: {uri}")


def _uri(did: str, write: Write) -> str:
    return record_uri(did, write.collection, write.rkey)


def _typed(tx: Transaction, did: str, reference: Reference) -> dict[str, Any]:
    state = blobs.find_upload_state(tx, did, reference.cid)
    if state is None or state.entry is None:
        raise BlobNotFound()
    return {
        "$type": "blob",
        "ref": {"$link": reference.cid},
        "mimeType": reference.mime_type or state.entry.mime_type,
        "size": state.entry.size,
    }
