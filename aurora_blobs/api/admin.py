"""com.atproto.admin: takedowns, account states, passwords, deletion."""

from typing import Any

from flask import Blueprint, Response

from aurora_blobs.accounts.moderation import Subject, parse_subject
from aurora_blobs.api.callers import require_admin
from aurora_blobs.api.serializers import local_accounts, nothing
from aurora_blobs.api.xrpc import json_input, procedure, query
from aurora_blobs.errors import InvalidRequest
from aurora_blobs.protocol.cid import parse_blob_cid
from aurora_blobs.protocol.lexicon_params import optional, required
from aurora_blobs.protocol.syntax import parse_at_uri, parse_did
from aurora_blobs.services import services

bp = Blueprint("admin", __name__)


@procedure(bp, "com.atproto.admin.updateSubjectStatus")
def update_subject_status() -> dict[str, Any]:
    """Take down an account or a blob, deactivate an account, or undo either."""
    by = require_admin()
    given = json_input(
        subject=required(kind=dict), takedown=optional(kind=dict), deactivated=optional(kind=dict)
    )
    services().moderation.update(
        parse_subject(given["subject"]), given["takedown"], given["deactivated"], by
    )
    shown = {"subject": given["subject"]}
    return shown if given["takedown"] is None else {**shown, "takedown": given["takedown"]}


@query(
    bp,
    "com.atproto.admin.getSubjectStatus",
    did=optional(parse_did),
    uri=optional(parse_at_uri),
    blob=optional(parse_blob_cid),
)
def get_subject_status(did: str | None, uri: object, blob: str | None) -> dict[str, Any]:
    """Whether an account or a blob is taken down, and whether an account is deactivated."""
    require_admin()
    if blob is not None and did is None:
        raise InvalidRequest("Must provide a did to request blob state")
    if did is None:
        raise InvalidRequest("No provided subject, accepted are did, and did with blob")
    return services().moderation.status(Subject(did, blob))


@procedure(bp, "com.atproto.admin.updateAccountPassword")
def update_account_password() -> Response:
    """Give an account a new password, and end its sessions."""
    accounts = local_accounts()
    by = require_admin()
    given = json_input(did=required(parse_did), password=required())
    accounts.set_password(given["did"], given["password"], by)
    return nothing()


@procedure(bp, "com.atproto.admin.deleteAccount")
def delete_account() -> dict[str, Any]:
    """Delete an account and all that it has."""
    by = require_admin()
    given = json_input(did=required(parse_did))
    services().delete_account(services().repos.find(given["did"]).did, by)
    return {}
