"""The newest blobs as pictures, with filters; and the bytes of one, also where it is hidden."""

from datetime import UTC, datetime
from typing import Any, get_args

from flask import Response, request, url_for
from werkzeug.wsgi import wrap_file

from aurora_blobs.api.ranges import is_listed
from aurora_blobs.api.serving import blob_response
from aurora_blobs.blobs.gallery import Wanted, look
from aurora_blobs.catalog.blobs import Entry, Place, State
from aurora_blobs.catalog.daily_totals import DAY
from aurora_blobs.config_values import parse_size
from aurora_blobs.console.frame import MAX_DID, page, parameter
from aurora_blobs.errors import BlobNotFound, InvalidRequest
from aurora_blobs.media.signatures import UNKNOWN
from aurora_blobs.protocol.cid import parse_blob_cid
from aurora_blobs.protocol.syntax import parse_did, stated_mime_type
from aurora_blobs.services import services
from aurora_blobs.thumbnails.cache import name_of
from aurora_blobs.thumbnails.presets import READABLE, WRITABLE, Preset

_TILE = Preset("inside", 480, 480)
_FORM = "webp"
_FILTERS = {  # the longest text of each
    "account": MAX_DID,
    "type": 100,
    "state": 40,
    "min": 30,
    "max": 30,
    "from": 10,
    "to": 10,
}
_KINDS = {"": "any type", "image/": "pictures", "video/": "films", "audio/": "sound"}
_MAX_CURSOR = 2200  # characters: a time, a DID and a CID
# Of the browser: each use asks whether it is still the administrator's to see.
_CACHING = "private, no-cache"


def gallery() -> Response:
    """A page of entries, as the filters in the query say."""
    given = {name: parameter(name, longest) for name, longest in _FILTERS.items()}
    is_clear = "clear" in request.args
    found, problem = None, None
    try:
        wanted = _wanted(given)
        found = look(services().database, wanted, _parse_place(parameter("after", _MAX_CURSOR)))
    except ValueError as error:
        problem = str(error)
    kept = {name: text for name, text in given.items() if text}
    clear = {"clear": "1"}
    here = kept | clear if is_clear else kept
    after = None if found is None or found.after is None else _shown_place(found.after)
    return page(
        "gallery.html",
        200 if problem is None else 400,
        given=given,
        kinds=_KINDS,
        states=get_args(State),
        problem=problem,
        is_clear=is_clear,
        toggled=_url(kept if is_clear else kept | clear),
        first=_url(here),
        tiles=[] if found is None else [_tile(held.entry, held.state) for held in found.holdings],
        next=None if after is None else _url(here | {"after": after}),
    )


def picture(did: str, cid: str) -> Response:
    """A small picture of a blob."""
    entry = _held_entry(did, cid)
    if entry.mime_type not in READABLE:
        raise InvalidRequest("the blob is not a picture")
    response = Response(mimetype=WRITABLE[_FORM])
    response.headers["Cache-Control"] = _CACHING
    response.set_etag(name_of(entry.cid, _TILE, _FORM), weak=True)
    if is_listed(
        request.headers.get("If-None-Match", ""), response.headers["ETag"].removeprefix("W/")
    ):
        response.status_code = 304
        return response
    derived = services().thumbnails.open(entry, _TILE, _FORM)
    response.content_length = derived.size
    response.response = wrap_file(request.environ, derived.file)
    response.direct_passthrough = True
    return response


def content(did: str, cid: str) -> Response:
    """The bytes of a blob, or a part of them."""
    # Who opens the console by the service's own socket has no nginx.
    response = blob_response(_held_entry(did, cid), public=False, sender="service")
    response.headers["Cache-Control"] = _CACHING
    return response


def _held_entry(did: str, cid: str) -> Entry:
    """The blob *cid* of *did*, also one that is temporary or taken down. Raises BlobNotFound."""
    try:
        found = services().blobs.held(parse_did(did), parse_blob_cid(cid))
    except ValueError as error:
        raise BlobNotFound(str(error)) from None
    return found


def kind_of(entry: Entry) -> str:
    """How a page shows *entry*: ``picture``, ``film``, ``sound`` or ``other``."""
    if entry.mime_type in READABLE:
        return "picture"
    family = entry.mime_type.partition("/")[0]
    return {"video": "film", "audio": "sound"}.get(family, "other")


def _url(query: dict[str, Any]) -> str:
    return url_for("console.gallery_gallery", **query)


def _tile(entry: Entry, state: State) -> dict[str, Any]:
    is_known = stated_mime_type(entry.mime_type) is not None
    return {
        "entry": entry,
        "state": state,
        "kind": kind_of(entry) if state != "missing" else "other",
        "type": entry.mime_type if is_known else UNKNOWN,
    }


def _wanted(given: dict[str, str]) -> Wanted:
    """The filters as values. Raises ValueError, with what is accepted."""
    did = None
    if given["account"]:
        account = services().accounts.find(given["account"])
        if account is None:
            raise ValueError(f"There is no account {given['account']}")
        did = account.did
    until = _parse_day("to", given["to"])
    return Wanted(
        did=did,
        type=given["type"],
        state=_parse_state(given["state"]),
        min_bytes=_parse_bytes("at least", given["min"]),
        max_bytes=_parse_bytes("at most", given["max"]),
        since=_parse_day("from", given["from"]),
        until=None if until is None else until + DAY,
    )


def _parse_state(text: str) -> State | None:
    for state in get_args(State):
        if state == text:
            found: State = state
            return found
    if text:
        raise ValueError(f"There is no state {text}: accepted are {', '.join(get_args(State))}")
    return None


def _parse_bytes(name: str, text: str) -> int | None:
    try:
        return parse_size(text) if text else None
    except ValueError as error:
        raise ValueError(f"{name} {text}: accepted are {error}") from None


def _parse_day(name: str, text: str) -> int | None:
    """Microseconds since the epoch at the beginning of the day *text*, UTC; None for ""."""
    if not text:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{name} {text}: accepted is a day, like 2026-01-31") from None
    return int(day.timestamp()) * 1_000_000


def _parse_place(text: str) -> Place | None:
    if not text:
        return None
    time, _, names = text.partition("/")
    did, _, cid = names.partition("/")
    if not (time.isascii() and time.isdigit() and len(time) <= 18):
        raise ValueError("This page is not there: begin with the first one")
    return int(time), did, cid


def _shown_place(place: Place) -> str:
    return "/".join(map(str, place))
