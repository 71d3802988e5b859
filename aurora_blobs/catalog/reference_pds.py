"""The blobs of an account in the reference PDS, in its database ``<xx>/<did>/store.sqlite``.

It is another server's. What is not as that server writes it is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from aurora_blobs.db.foreign import ForeignDatabase, ForeignDatabaseError
from aurora_blobs.protocol.cid import parse_blob_cid
from aurora_blobs.protocol.syntax import parse_at_uri, parse_tid, stated_mime_type

TABLES = frozenset({"blob", "record", "record_blob"})
_MAX_REF = 1000  # characters of a takedown's reference; a guess, they are short names


@dataclass(frozen=True, slots=True)
class KeptBlob:
    """A blob. `mime_type` is None if what is stated is none, `takedown_ref` unless taken down."""

    mime_type: str | None
    takedown_ref: str | None


@dataclass(frozen=True, slots=True)
class KeptReference:
    """The record *uri*, of the revision *rev*, names the blob *cid*, as *mime_type* if stated."""

    uri: str
    cid: str
    rev: str
    mime_type: str | None


def check(database: ForeignDatabase, did: str) -> None:
    """Read all that is to be had from the *database* of *did*. Raises ForeignDatabaseError."""
    find_blob(database, "")  # without an index it takes too long, at the first blob and not later
    for cid, mime_type, takedown_ref in database.each(
        "SELECT cid, mimeType, takedownRef FROM blob"
    ):
        _cid(cid)
        _kept_blob(mime_type, takedown_ref)
    for _ in references(database, did):
        pass


def find_blob(database: ForeignDatabase, cid: str) -> KeptBlob | None:
    """The blob *cid*. Raises ForeignDatabaseError."""
    row = database.one("SELECT mimeType, takedownRef FROM blob WHERE cid = ?", cid)
    return None if row is None else _kept_blob(*row)


def references(database: ForeignDatabase, did: str) -> Iterator[KeptReference]:
    """Each reference by a record of *did* that is there. Raises ForeignDatabaseError."""
    for stated_uri, stated_cid in database.each("SELECT recordUri, blobCid FROM record_blob"):
        uri, cid = _record_uri(did, stated_uri), _cid(stated_cid)
        # One by one, not as a join: without an index that would not end.
        record = database.one("SELECT repoRev FROM record WHERE uri = ?", uri)
        if record is not None:
            blob = find_blob(database, cid)
            yield KeptReference(uri, cid, _rev(*record), None if blob is None else blob.mime_type)


def _cid(value: object) -> str:
    try:
        return parse_blob_cid(_text(value))
    except ValueError:
        raise ForeignDatabaseError("a row has no CID of a blob") from None


def _record_uri(did: str, value: object) -> str:
    try:
        uri = parse_at_uri(_text(value))
    except ValueError:
        raise ForeignDatabaseError("a row has no record's address") from None
    if uri.authority != did or uri.rkey is None:
        raise ForeignDatabaseError("a row is not about a record of the account")
    return str(uri)


def _rev(value: object) -> str:
    try:
        return parse_tid(_text(value))
    except ValueError:
        raise ForeignDatabaseError("a record has no revision") from None


def _kept_blob(mime_type: object, takedown_ref: object) -> KeptBlob:
    try:
        ref = None if takedown_ref is None else _text(takedown_ref)
        stated = stated_mime_type(_text(mime_type))
    except ValueError:
        raise ForeignDatabaseError("a blob has a type or a takedown that is no text") from None
    if ref is not None and (len(ref) > _MAX_REF or "\0" in ref):
        raise ForeignDatabaseError("a blob has a takedown whose reference is too long, or no text")
    return KeptBlob(stated, ref)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value
