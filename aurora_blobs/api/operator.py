"""blue.aurora.admin: what each account holds, what is taken down, and who ordered what."""

from typing import Any

from flask import Blueprint

from aurora_blobs.accounts.audit import (
    parse_action,
    parse_did_or_cid,
    parse_position,
    position_of,
)
from aurora_blobs.api.callers import require_admin
from aurora_blobs.api.serializers import act_row, takedown_row, usage_row, without_nulls
from aurora_blobs.api.xrpc import query
from aurora_blobs.catalog.audit import FIRST
from aurora_blobs.clock import parse_datetime
from aurora_blobs.protocol.lexicon_params import limit, optional
from aurora_blobs.services import services

bp = Blueprint("operator", __name__)

_PAGE = limit(1000, default=100)


@query(bp, "blue.aurora.admin.listUsage", limit=_PAGE, cursor=optional())
def list_usage(limit: int, cursor: str | None) -> dict[str, Any]:
    """The bytes that each account holds, and its quota, by DID."""
    require_admin()
    found = services().blobs.usage_page(cursor or "", limit)
    rows = [
        without_nulls({"did": usage.did, "handle": usage.handle, **usage_row(usage)})
        for usage in found
    ]
    shown: dict[str, Any] = {"accounts": rows}
    return {"cursor": found[-1].did, **shown} if found else shown


@query(bp, "blue.aurora.admin.listTakedowns", limit=_PAGE, cursor=optional())
def list_takedowns(limit: int, cursor: str | None) -> dict[str, Any]:
    """What is taken down, of accounts first. An account may be deleted by now."""
    require_admin()
    cid, _, did = (cursor or "").partition("/")  # of an account, the CID is empty
    found = services().moderation.takedown_page((cid, did), limit)
    rows = [without_nulls(takedown_row(one, services().config)) for one in found]
    shown: dict[str, Any] = {"takedowns": rows}
    return {"cursor": f"{found[-1].cid}/{found[-1].did}", **shown} if found else shown


@query(
    bp,
    "blue.aurora.admin.listAudit",
    subject=optional(parse_did_or_cid),
    action=optional(parse_action),
    actor=optional(),
    since=optional(parse_datetime),
    limit=_PAGE,
    cursor=optional(parse_position),
)
def list_audit(
    subject: str | None,
    action: str | None,
    actor: str | None,
    since: int | None,
    limit: int,
    cursor: tuple[int, int] | None,
) -> dict[str, Any]:
    """What was ordered, by whom and why, the newest first."""
    require_admin()
    found = services().audit.page(
        cursor or FIRST, limit, subject=subject, action=action, actor=actor, since=since or 0
    )
    shown: dict[str, Any] = {
        "acts": [without_nulls(act_row(act, services().config)) for act in found]
    }
    return {"cursor": position_of(found[-1]), **shown} if found else shown
