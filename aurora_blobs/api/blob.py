"""blue.aurora.blob: the records that reference a blob, and how much an account holds."""

from typing import Any

from flask import Blueprint

from aurora_blobs.api.callers import require_owner
from aurora_blobs.api.serializers import usage_row, without_nulls
from aurora_blobs.api.xrpc import query
from aurora_blobs.protocol.cid import parse_cid
from aurora_blobs.protocol.lexicon_params import limit, optional, required
from aurora_blobs.services import services

bp = Blueprint("blob", __name__)


@query(
    bp,
    "blue.aurora.blob.listRecords",
    cid=required(parse_cid),
    limit=limit(100, default=50),
    cursor=optional(),
)
def list_records(cid: str, limit: int, cursor: str | None) -> dict[str, Any]:
    """The caller's records that reference a blob."""
    requester = require_owner()
    uris = services().repos.records_of_blob(requester.did, cid, cursor or "", limit)
    shown: dict[str, Any] = {"records": [{"uri": uri} for uri in uris]}
    return {"cursor": uris[-1], **shown} if uris else shown


@query(bp, "blue.aurora.blob.getUsage")
def get_usage() -> dict[str, Any]:
    """The bytes that the caller holds, and its quota."""
    requester = require_owner()
    return without_nulls(usage_row(services().blobs.usage(requester.did)))
