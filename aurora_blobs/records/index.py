"""Records as an index of what a PDS keeps: which blobs they name, checked each time they are written."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from aurora_blobs.catalog import accounts, blobs, records, references
from aurora_blobs.catalog.records import Record
from aurora_blobs.db import Database, Transaction
from aurora_blobs.errors import (
    BlobNotFound,
    InvalidMimeType,
    InvalidRequest,
    InvalidSize,
    InvalidSwap,
    RepoNotFound,
)
from aurora_blobs.protocol import dag_cbor
from aurora_blobs.protocol.blob_refs import (
    MAX_SAFE_INTEGER,
    Reference,
    find_references,
    legacy_reference,
)
from aurora_blobs.protocol.cid import parse_blob_cid, parse_cid
from aurora_blobs.protocol.syntax import new_tid
from aurora_blobs.storage.base import BlobBackend

_PROFILE, _PICTURES = "app.bsky.actor.profile", ("avatar", "banner")

Action = Literal["create", "put", "update", "delete"]
ANY = object()  # as a `Write.swap`: whatever is there


@dataclass(frozen=True, slots=True)
class Write:
    """One change of a record. `value` is its JSON, None for a delete; ``put`` creates or updates.

    `swap` is the CID that the record must have before: None for "there is none", `ANY` for whatever is there.
    """

    action: Action
    collection: str
    rkey: str
    value: dict[str, Any] | None = None
    swap: object = ANY


@dataclass(frozen=True, slots=True)
class Written:
    """What a write made: the record's URI and CID, None for a delete."""

    uri: str
    cid: str | None


class Records:
    """The records of all accounts. *clock* gives microseconds since the epoch, UTC."""

    def __init__(self, database: Database, backend: BlobBackend, clock: Callable[[], int]) -> None:
        self._database = database
        self._backend = backend
        self._clock = clock

    def new_key(self) -> str:
        """A record key for a record that was given none."""
        return new_tid(self._clock(), None)

    def apply(self, did: str, writes: list[Write]) -> list[Written]:
        """All of *writes* or none. A blob that they name must be here, as they state it; it becomes public.

        A blob that no record names any more becomes temporary.
        Raises RepoNotFound, BlobNotFound, InvalidMimeType, InvalidSize, InvalidSwap, InvalidRequest.
        """
        prepared = [(write, _prepare(write)) for write in writes]
        now = self._clock()
        with self._database.write() as tx:
            account = accounts.find(tx, did)
            if account is None:
                raise RepoNotFound(f"Could not find repo: {did}")
            rev = new_tid(now, account.rev)
            dropped: set[str] = set()
            written = []
            for write, (cid, found) in prepared:
                record = Record(
                    did, write.collection, write.rkey, cid or "", as_text(write.value), rev
                )
                before = records.find(tx, did, write.collection, write.rkey)
                _check_before(write, before, cid, record.uri)
                written.append(Written(record.uri, cid))
                if before is not None and before.cid == cid:
                    continue
                dropped.update(references.drop_record(tx, did, record.uri))
                if cid is None:
                    records.delete(tx, did, write.collection, write.rkey)
                else:
                    records.put(tx, record)
                    for reference in found:
                        references.add(tx, did, record.uri, reference, rev)
            for _, (_, found) in prepared:
                for reference in found:
                    self._check_stored(tx, did, reference)
                    references.publish(tx, did, reference.cid)
            for blob_cid in dropped:
                references.retire(tx, did, blob_cid, now)
            records.set_rev(tx, did, rev)
        return written

    def with_typed_pictures(
        self, did: str, collection: str, rkey: str, value: dict[str, Any]
    ) -> dict[str, Any]:
        """*value*, which is to replace a record, as it can be written: a profile's legacy pictures become typed.

        Clients of before 2023 send back what they read. Raises BlobNotFound for a picture that is not here.
        """
        legacy = {
            name: reference
            for name in _PICTURES
            if collection == _PROFILE
            and isinstance(value.get(name), dict)
            and (reference := legacy_reference(value[name])) is not None
        }
        if not legacy:
            return value
        with self._database.read() as tx:
            if records.find(tx, did, collection, rkey) is None:
                return value
            pictures = {name: _as_typed(tx, did, reference) for name, reference in legacy.items()}
        return {**value, **pictures}

    def _check_stored(self, tx: Transaction, did: str, reference: Reference) -> None:
        state = blobs.find_upload_state(tx, did, reference.cid)
        entry = None if state is None else state.entry
        if state is None or entry is None or not state.stored or state.taken_down:
            raise BlobNotFound(f"Could not find blob: {reference.cid}")
        if self._backend.stat_is_cheap and self._backend.size(reference.cid) != entry.size:
            raise BlobNotFound(f"Could not find blob: {reference.cid}")
        if reference.mime_type != entry.mime_type:
            raise InvalidMimeType(
                "Referenced Mimetype does not match stored blob. "
                f"Expected: {entry.mime_type}, Got: {reference.mime_type}"
            )
        if reference.size != entry.size:
            raise InvalidSize(
                f"Referenced Size does not match stored blob. Expected: {entry.size}, Got: {reference.size}"
            )


def _as_typed(tx: Transaction, did: str, reference: Reference) -> dict[str, Any]:
    state = blobs.find_upload_state(tx, did, reference.cid)
    if state is None or state.entry is None:
        raise BlobNotFound()
    return {
        "$type": "blob",
        "ref": {"$link": reference.cid},
        "mimeType": reference.mime_type,
        "size": state.entry.size,
    }


def record_cid(value: object) -> str:
    """The CID of *value*, a record's JSON, over its DAG-CBOR. Raises InvalidRequest for what that cannot hold.

    https://atproto.com/specs/data-model
    """
    try:
        return dag_cbor.cid_of_block(dag_cbor.encode(plain_record(value)))
    except ValueError as error:
        raise InvalidRequest(f"Invalid record: {error}") from None


def plain_record(value: Any) -> Any:
    """*value*, a record's JSON, with whole numbers as integers and blob links in the one form that DAG-CBOR has.

    So that 67.0, which is an integer to a client in JavaScript, is one to whatever reads the record here.
    Raises InvalidRequest for other fractions, integers of more than 53 bits, and links to nothing.
    """
    try:
        return _plain(value, "$.record")
    except RecursionError:
        raise InvalidRequest("Invalid record: nested too deeply") from None


def _plain(value: Any, path: str) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"$link"}:
            return {"$link": _link(value["$link"], path)}
        return {key: _plain(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float):
        if not value.is_integer():
            raise InvalidRequest(
                f"Expected one of null, boolean, integer, string, bytes, cid, array or object (got {value}) at {path}"
            )
        value = int(value)
    if isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
        raise InvalidRequest(f"Expected an integer of at most 53 bits (got {value}) at {path}")
    return value


def _link(text: object, path: str) -> str:
    try:
        if isinstance(text, str):
            return parse_cid(text)
    except ValueError:
        pass
    raise InvalidRequest(f"Invalid CID string (got {json.dumps(text)}) at {path}")


def _prepare(write: Write) -> tuple[str | None, list[Reference]]:
    if write.value is None:
        return None, []
    cid = record_cid(write.value)
    found = []
    for reference in find_references(write.value):
        if reference.size is None:
            raise InvalidRequest(f"Legacy blobs are not allowed ({reference.cid})")
        try:
            parse_blob_cid(reference.cid)
        except ValueError:
            raise BlobNotFound(f"Could not find blob: {reference.cid}") from None
        found.append(reference)
    return cid, found


def _check_before(write: Write, before: Record | None, cid: str | None, uri: str) -> None:
    if write.swap is not ANY and write.swap != (None if before is None else before.cid):
        raise InvalidSwap(f"Record was at {'null' if before is None else before.cid}")
    # Not for the very same record: whoever reports writes may have to report one again.
    if write.action == "create" and before is not None and before.cid != cid:
        raise InvalidRequest(f"Record already exists: {uri}")
    # Nor for a delete.
    if write.action == "update" and before is None:
        raise InvalidRequest(f"Could not find record: {uri}")


def as_text(value: dict[str, Any] | None) -> str:
    """*value* as the table has it; a record that goes has none."""
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
