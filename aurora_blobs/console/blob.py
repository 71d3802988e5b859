"""One blob: what is known of it, who holds it, which records name it; takedowns, and its bytes."""

from flask import Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.catalog.blobs import Holding
from aurora_blobs.catalog.takedowns import EVERY_ACCOUNT
from aurora_blobs.console.frame import (
    MAX_DID,
    MAX_REF,
    author,
    field,
    one_page,
    page,
    parameter,
)
from aurora_blobs.console.gallery import kind_of
from aurora_blobs.errors import BlobNotFound
from aurora_blobs.protocol.cid import parse_blob_cid
from aurora_blobs.protocol.syntax import parse_did
from aurora_blobs.services import services

_HOLDERS = 50  # on a page
_DONE = {
    "taken-down": "The blob is taken down.",
    "lifted": "The takedown is lifted.",
    "was-not": "There was no such takedown.",
    "intact": "The bytes were read, and are those of the CID.",
    "wrong": "The bytes were wrong or short: they are set aside, and the blob counts as missing.",
    "absent": "The store has no bytes of this blob.",
}


def blob(cid: str) -> Response:
    """The page of a content, its holders by DID."""
    cid = _parse(cid)
    after_did = parameter("after", MAX_DID)
    found = services().blobs.inspect(cid, after_did=after_did, limit=_HOLDERS + 1, of_holders=True)
    if found is None:
        raise BlobNotFound(f"No account holds {cid}, no record names it and nobody took it down")
    holders, last = one_page(found.holders, _HOLDERS)
    return page(
        "blob.html",
        cid=cid,
        found=found,
        holders=holders,
        shown_holder=_first_here(holders),
        kind_of=kind_of,
        records=found.records[:_HOLDERS],
        more_records=len(found.records) - _HOLDERS,
        next=None if last is None else url_for("console.blob_blob", cid=cid, after=last.entry.did),
        done=_DONE.get(request.args.get("done", "")),
    )


def take_down(cid: str) -> AnyResponse:
    """Take a blob down, for one account or for every one."""
    subject = _subject(cid)
    services().moderation.take_down(subject, field("ref", MAX_REF) or None, author())
    return _done(cid, "taken-down")


def lift(cid: str) -> AnyResponse:
    """Lift one takedown of a blob."""
    is_lifted = services().moderation.lift(_subject(cid), author())
    return _done(cid, "lifted" if is_lifted else "was-not")


def verify(cid: str) -> AnyResponse:
    """Read the bytes now; wrong ones are set aside."""
    right = services().blobs.check_bytes(_parse(cid))
    return _done(cid, {True: "intact", False: "wrong", None: "absent"}[right])


def _subject(cid: str) -> Subject:
    did = field("did", MAX_DID)
    try:
        return Subject(parse_did(did) if did else EVERY_ACCOUNT, parse_blob_cid(cid))
    except ValueError as error:
        raise BlobNotFound(str(error)) from None


def _done(cid: str, what: str) -> AnyResponse:
    return redirect(url_for("console.blob_blob", cid=cid, done=what), 303)


def _parse(cid: str) -> str:
    try:
        return parse_blob_cid(cid)
    except ValueError as error:
        raise BlobNotFound(str(error)) from None


def _first_here(holders: list[Holding]) -> Holding | None:
    """The holder by whose name the bytes are shown; None where they are not here."""
    return next((held for held in holders if held.state != "missing"), None)
