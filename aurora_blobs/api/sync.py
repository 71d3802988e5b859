"""com.atproto.sync: the blobs of an account, for everybody."""

from typing import Any

from flask import Blueprint, Response

from aurora_blobs.api.callers import optional_requester
from aurora_blobs.api.serializers import bare_cid
from aurora_blobs.api.serving import blob_response, say_if_unknown, visible_blob
from aurora_blobs.api.xrpc import query
from aurora_blobs.auth import Administrator, Person
from aurora_blobs.errors import BlobNotFound, RepoNotFound
from aurora_blobs.protocol.cid import parse_cid, shown_cid
from aurora_blobs.protocol.lexicon_params import limit, optional, required
from aurora_blobs.protocol.syntax import parse_did, parse_tid
from aurora_blobs.services import services

bp = Blueprint("sync", __name__)

_DID = required(parse_did)


@query(bp, "com.atproto.sync.getBlob", did=_DID, cid=required(parse_cid))
def get_blob(did: str, cid: str) -> Response:
    """The bytes of a blob that is public, or the caller's own."""
    try:
        entry, public = visible_blob(did, cid)
        return blob_response(entry, public=public)
    except (BlobNotFound, RepoNotFound) as error:
        say_if_unknown(error, did, cid)
        raise


@query(
    bp,
    "com.atproto.sync.listBlobs",
    did=_DID,
    since=optional(parse_tid),
    limit=limit(1000, default=500),
    cursor=optional(),
)
def list_blobs(did: str, since: str | None, limit: int, cursor: str | None) -> dict[str, Any]:
    """The CIDs that the account's records reference."""
    requester = optional_requester()
    services().repos.visible(
        did,
        viewer=requester.did if isinstance(requester, Person) else None,
        admin=isinstance(requester, Administrator),
    )
    cids = services().repos.blobs(did, bare_cid(cursor), since or "", limit)
    shown: dict[str, Any] = {"cids": [shown_cid(cid, services().config.cid_format) for cid in cids]}
    return {"cursor": shown["cids"][-1], **shown} if cids else shown
