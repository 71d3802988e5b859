"""What is taken down, searched by CID, DID or reference; and lists of blobs to take down."""

from flask import redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from aurora_blobs.accounts.moderation import Subject
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
from aurora_blobs.errors import InvalidRequest
from aurora_blobs.protocol.cid import parse_blob_cid
from aurora_blobs.protocol.quoting import shown
from aurora_blobs.services import services

MAX_LISTED = 1000  # CIDs of one file; each is a commit, of some milliseconds
_TAKEDOWNS = 50  # on a page


def moderation() -> AnyResponse:
    """A page of takedowns, of accounts first; or what the search leads to."""
    text = parameter("text", MAX_DID)
    cid = _cid_in(text)
    if cid is not None:
        return redirect(url_for("console.blob_blob", cid=cid), 303)
    last_cid, _, last_did = parameter("after", MAX_DID).partition("/")
    after = (last_cid, last_did)
    rows = services().moderation.takedown_page(after, _TAKEDOWNS + 1, text)
    found, last = one_page(rows, _TAKEDOWNS)
    return page(
        "moderation.html",
        text=text,
        takedowns=found,
        next=None
        if last is None
        else url_for("console.moderation_moderation", text=text, after=f"{last.cid}/{last.did}"),
        max_listed=MAX_LISTED,
        done=_done_line(),
    )


def take_down_listed() -> AnyResponse:
    """Take down, for every account, the blobs of a file: a CID a line."""
    ref = field("ref", MAX_REF) or None
    file = request.files.get("list")
    if file is None:
        raise InvalidRequest("There is no file")
    cids, by = _parse_list(file.read()), author()
    for cid in cids:
        services().moderation.take_down(Subject(EVERY_ACCOUNT, cid), ref, by)
    return redirect(url_for("console.moderation_moderation", listed=len(cids)), 303)


def lift() -> AnyResponse:
    """Lift a takedown, also one of an account that is deleted by now."""
    text = field("cid", 200)
    cid = _cid_in(text)
    if text and cid is None:
        raise InvalidRequest(f"Nothing was lifted: this is no CID: {shown(text)}")
    if not services().moderation.lift(Subject(field("did", MAX_DID), cid), author()):
        raise InvalidRequest("There is no such takedown: it may be lifted already")
    return redirect(url_for("console.moderation_moderation", lifted=1), 303)


def _parse_list(data: bytes) -> list[str]:
    """The CIDs in *data*, each once. Raises InvalidRequest, which names the line."""
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        raise InvalidRequest("The list is no text: accepted is a CID a line, in UTF-8") from None
    cids = {}
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        cid = _cid_in(text)
        if cid is None:
            raise InvalidRequest(f"Nothing was done: line {number} is no CID: {shown(text)}")
        cids[cid] = True
    if len(cids) > MAX_LISTED:
        raise InvalidRequest(f"Nothing was done: {len(cids)} CIDs, accepted are {MAX_LISTED}")
    return list(cids)


def _cid_in(text: str) -> str | None:
    try:
        return parse_blob_cid(text)
    except ValueError:
        return None


def _done_line() -> str | None:
    if "lifted" in request.args:
        return "The takedown is lifted."
    text = request.args.get("listed", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        return None
    return f"{text} blobs are taken down for every account."
