"""com.atproto.sync: everybody fetches what is public."""

from typing import Any

from flask import Blueprint, Response, request
from werkzeug.wsgi import wrap_file

from aurora_blobs.cid import parse_cid
from aurora_blobs.fields import limit, optional, required
from aurora_blobs.syntax import parse_did, parse_tid
from aurora_blobs.views.shapes import shown_cid
from aurora_blobs.xrpc import optional_requester, query, services

bp = Blueprint("sync", __name__)

_DID = required(parse_did)
_PUBLIC = "public, max-age=300, must-revalidate"  # a takedown is not outlived by caches for long


@query(bp, "com.atproto.sync.getBlob", did=_DID, cid=required(parse_cid))
def get_blob(did: str, cid: str) -> Response:
    """The bytes of a blob that is public, or the caller's own."""
    requester = optional_requester()
    entry = services().blobs.describe(
        did,
        cid,
        viewer=None if requester is None else requester.did,
        admin=requester is not None and requester.kind == "admin",
    )
    response = Response(mimetype=entry.mime_type)
    response.headers["Content-Length"] = str(entry.size)
    response.headers["Content-Disposition"] = f'attachment; filename="{shown_cid(entry.cid, services().config)}"'
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["X-Content-Type-Options"] = "nosniff"
    if requester is None:
        response.headers["Cache-Control"] = _PUBLIC
    response.set_etag(entry.cid)
    # Opened last: nothing between here and the server closing it may fail.
    response.response = wrap_file(request.environ, services().blobs.open(entry))
    response.direct_passthrough = True
    return response


@query(
    bp,
    "com.atproto.sync.listBlobs",
    did=_DID,
    since=optional(parse_tid),
    limit=limit(1000, default=500),
    cursor=optional(),
)
def list_blobs(did: str, since: str | None, limit: int, cursor: str | None) -> dict[str, Any]:
    """The CIDs that records of the account name."""
    requester = optional_requester()
    services().repos.visible(
        did,
        viewer=None if requester is None else requester.did,
        admin=requester is not None and requester.kind == "admin",
    )
    cids = services().repos.blobs(did, cursor or "", since or "", limit)
    shown: dict[str, Any] = {"cids": [shown_cid(cid, services().config) for cid in cids]}
    return {"cursor": cids[-1], **shown} if cids else shown
