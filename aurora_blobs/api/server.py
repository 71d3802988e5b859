"""com.atproto.server: local accounts, their sessions and states, and the service itself."""

import logging
from typing import Any

from flask import Blueprint, Response, g, request

from aurora_blobs import logs
from aurora_blobs.accounts.manager import LogIn
from aurora_blobs.accounts.sign_ups import MAX_USES
from aurora_blobs.api.callers import (
    author,
    credentials,
    require_admin,
    require_owner,
    require_person,
)
from aurora_blobs.api.envelope import show_rate_limit
from aurora_blobs.api.serializers import (
    INVALID_HANDLE,
    account_document,
    local_accounts,
    nothing,
    own_host,
)
from aurora_blobs.api.xrpc import json_input, procedure, query
from aurora_blobs.auth.session import ACCESS_SCOPE, ACCESS_SCOPES, TAKENDOWN_SCOPE
from aurora_blobs.catalog.accounts import Account
from aurora_blobs.errors import AuthenticationRequired, InvalidPassword, InvalidRequest
from aurora_blobs.protocol.did_document import names_host
from aurora_blobs.protocol.lexicon_params import Param, optional, required
from aurora_blobs.protocol.quoting import shown
from aurora_blobs.protocol.syntax import parse_did
from aurora_blobs.records.data_model import record_cid
from aurora_blobs.services import services

log = logging.getLogger("aurora_blobs.requests")

bp = Blueprint("server", __name__)

_FULL = frozenset({ACCESS_SCOPE})  # excludes app passwords
_FIRST_TID = "2222222222222"  # the revision of an account without records


@procedure(bp, "com.atproto.server.createAccount")
def create_account() -> dict[str, Any]:
    """Make an account and log it in."""
    accounts = local_accounts()
    given = json_input(
        handle=required(),
        email=optional(),
        password=optional(),
        did=optional(parse_did),
        inviteCode=optional(),
        plcOp=optional(kind=dict),
    )
    address = request.remote_addr or ""
    invite_code = services().sign_ups.admit(given["inviteCode"], address)
    if given["plcOp"] is not None:
        raise InvalidRequest('Unsupported input: "plcOp"')
    if given["email"] is None:
        raise InvalidRequest("Email is required")
    if given["password"] is None:
        raise InvalidPassword("Password is required")
    show_rate_limit(services().limits.sign_up(address))
    if given["did"] is not None:
        _check_owns(given["did"])
    account = accounts.create(
        handle=given["handle"],
        email=given["email"],
        password=given["password"],
        did=given["did"],
        invite_code=invite_code,
    )
    logs.event(log, logging.INFO, "signed up", did=account.did, address=address)
    return {**_names(account), **_tokens(accounts.open_session(account))}


@procedure(bp, "com.atproto.server.createInviteCode")
def create_invite_code() -> dict[str, Any]:
    """Make a code with which so many accounts can be created."""
    local_accounts()
    by = require_admin()
    given = json_input(
        useCount=Param(int, required=True, low=1, high=MAX_USES), forAccount=optional(parse_did)
    )
    code = services().sign_ups.invite(
        uses=given["useCount"], for_account=given["forAccount"], by=by
    )
    return {"code": code}


@procedure(bp, "com.atproto.server.createSession")
def create_session() -> dict[str, Any]:
    """Log in."""
    accounts = local_accounts()
    given = json_input(
        identifier=required(), password=required(), allowTakendown=optional(kind=bool)
    )
    # Before the password is compared: a right one, too, would fail on a full disk.
    services().database.space.require()
    with services().limits.password_attempt(request.remote_addr or ""):
        account = accounts.with_password(given["identifier"], given["password"])
    log_in = accounts.log_in(account, allow_taken_down=given["allowTakendown"] is True)
    logs.event(log, logging.INFO, "logged in", did=account.did, address=request.remote_addr)
    return {**_tokens(log_in), **_session(log_in.account)}


@procedure(bp, "com.atproto.server.refreshSession")
def refresh_session() -> dict[str, Any]:
    """New tokens for a refresh token, which cannot be used again."""
    log_in = local_accounts().renew(services().authenticator.refresh(credentials()))
    return {**_tokens(log_in), **_session(log_in.account)}


@procedure(bp, "com.atproto.server.deleteSession")
def delete_session() -> Response:
    """Log out."""
    local_accounts().log_out(services().authenticator.refresh(credentials()))
    return nothing()


@query(bp, "com.atproto.server.getSession")
def get_session() -> dict[str, Any]:
    """The account of the session."""
    accounts = local_accounts()
    requester = require_person(
        "session", scopes=ACCESS_SCOPES | {TAKENDOWN_SCOPE}, allow_taken_down=True
    )
    return _session(accounts.require(requester.did))


@procedure(bp, "com.atproto.server.deactivateAccount")
def deactivate_account() -> Response:
    """Stop serving and changing what the account holds. *deleteAfter* is ignored."""
    accounts = local_accounts()
    requester = require_person("session", scopes=_FULL)
    json_input(deleteAfter=optional())
    accounts.deactivate(requester.did, author(requester.did))
    return nothing()


@procedure(bp, "com.atproto.server.activateAccount")
def activate_account() -> Response:
    """Undo deactivateAccount."""
    accounts = local_accounts()
    requester = require_person("session", scopes=_FULL)
    accounts.activate(requester.did, author(requester.did))
    return nothing()


@procedure(bp, "com.atproto.server.requestAccountDelete")
def request_account_delete() -> Response:
    """Succeed without sending mail: deleteAccount, which comes next, accepts any token."""
    local_accounts()
    require_person("session", scopes=_FULL, allow_taken_down=True)
    return nothing()


@procedure(bp, "com.atproto.server.deleteAccount")
def delete_account() -> Response:
    """Delete an account and all that it has, for its password."""
    accounts = local_accounts()
    given = json_input(did=required(parse_did), password=required(), token=required())
    with services().limits.password_attempt(request.remote_addr or ""):
        accounts.check_password(given["did"], given["password"])
    services().delete_account(given["did"], author(given["did"]))
    return nothing()


@query(bp, "com.atproto.server.checkAccountStatus")
def check_account_status() -> dict[str, Any]:
    """The counts by which a client follows a migration."""
    requester = require_owner()
    account = services().accounts.require(requester.did)
    counts = services().accounts.counts(account.did)
    rev = account.rev or _FIRST_TID
    return {
        "activated": account.deactivated_at is None,
        "validDid": _is_valid_did(account),
        # There are no commits. This CID stands for the index at that revision.
        "repoCommit": record_cid({"did": account.did, "rev": rev}),
        "repoRev": rev,
        "repoBlocks": counts.records,
        "indexedRecords": counts.records,
        "privateStateValues": 0,
        "expectedBlobs": counts.expected_blobs,
        "importedBlobs": counts.imported_blobs,
    }


@query(bp, "com.atproto.server.describeServer")
def describe_server() -> dict[str, Any]:
    """The service's DID, limits and handle domains."""
    config = services().config
    is_local = config.accounts == "local"
    return {
        "did": config.service_did,
        "availableUserDomains": list(config.handle_domains) if is_local else [],
        "inviteCodeRequired": is_local and services().sign_ups.policy == "invite",
        "blobUploadLimit": config.max_blob_size,
        "links": {},
        "contact": {},
    }


def _check_owns(did: str) -> None:
    """Raise AuthenticationRequired unless a service token shows that the caller is *did*."""
    if not services().authenticator.newcomer(credentials(), g.nsid, did):
        raise AuthenticationRequired(f"Missing auth to create account with did: {shown(did)}")


def _is_valid_did(account: Account) -> bool:
    document = account_document(account) or services().identities.document(account.did)
    return document is not None and names_host(document, own_host())


def _tokens(log_in: LogIn) -> dict[str, Any]:
    return {"accessJwt": log_in.access_token, "refreshJwt": log_in.refresh_token}


def _names(account: Account) -> dict[str, Any]:
    names: dict[str, Any] = {"did": account.did, "handle": account.handle or INVALID_HANDLE}
    document = account_document(account)
    return names if document is None else {**names, "didDoc": document}


def _session(account: Account) -> dict[str, Any]:
    # No mail is sent, so no address is confirmed.
    session = {
        **_names(account),
        "email": account.email,
        "emailConfirmed": False,
        "active": account.active,
    }
    return session if account.active else {**session, "status": account.status}
