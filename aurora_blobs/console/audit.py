"""Who ordered what, when and why."""

from flask import Response, url_for

from aurora_blobs.accounts.audit import (
    ACTIONS,
    parse_action,
    parse_did_or_cid,
    parse_position,
    position_of,
)
from aurora_blobs.catalog.audit import FIRST
from aurora_blobs.console.frame import MAX_DID, one_page, page, parameter
from aurora_blobs.services import services

_ACTS = 50  # on a page
_LONGEST = {"subject": MAX_DID, "action": 40, "actor": MAX_DID}  # characters of each filter
_MAX_CURSOR = 40


def audit() -> Response:
    """A page of acts, the newest first, as the filters in the query say."""
    given = {name: parameter(name, longest) for name, longest in _LONGEST.items()}
    rows, problem = [], None
    try:
        cursor = parameter("after", _MAX_CURSOR)
        rows = services().audit.page(
            parse_position(cursor) if cursor else FIRST,
            _ACTS + 1,
            subject=parse_did_or_cid(given["subject"]) if given["subject"] else None,
            action=parse_action(given["action"]) if given["action"] else None,
            actor=given["actor"] or None,
        )
    except ValueError as error:
        problem = str(error)
    acts, last = one_page(rows, _ACTS)
    kept = {name: text for name, text in given.items() if text}
    return page(
        "audit.html",
        200 if problem is None else 400,
        given=given,
        actions=ACTIONS,
        problem=problem,
        acts=acts,
        first=_url(kept),
        next=None if last is None else _url(kept | {"after": position_of(last)}),
    )


def _url(query: dict[str, str]) -> str:
    return url_for("console.audit_audit", **query)  # type: ignore[arg-type]
