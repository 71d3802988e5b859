"""Accounts: all of them; and one, with what it holds, its sessions and records, and orders."""

from flask import Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.catalog.accounts import Account
from aurora_blobs.config_values import parse_size
from aurora_blobs.console.frame import (
    MAX_DID,
    MAX_REF,
    author,
    field,
    one_page,
    page,
    parameter,
)
from aurora_blobs.errors import InvalidRequest, RepoNotFound
from aurora_blobs.services import services

_ACCOUNTS = 50  # on a page
_SESSIONS = 20
_RECORDS = 20
_MAX_SIZE = 30  # characters of a quota
# https://atproto.com/specs/nsid#nsid-syntax, https://atproto.com/specs/record-key
_MAX_NSID, _MAX_RECORD_KEY = 317, 512
_DONE = {
    "quota": "The quota is set.",
    "deactivated": "The account is deactivated.",
    "activated": "The account is active.",
    "taken-down": "The account is taken down.",
    "lifted": "The takedown is lifted.",
    "deleted": "The account is deleted.",
}


def accounts() -> AnyResponse:
    """A page of accounts, by DID; or the one that is searched for."""
    name = parameter("account", MAX_DID)
    problem = None
    if name:
        found = services().accounts.find(name)
        if found is not None:
            return _to(found.did)
        problem = f"There is no account {name}"
    rows = services().accounts.page(parameter("after", MAX_DID), _ACCOUNTS + 1)
    shown, last = one_page(rows, _ACCOUNTS)
    return page(
        "accounts.html",
        200 if problem is None else 404,
        accounts=shown,
        name=name,
        problem=problem,
        next=None if last is None else url_for("console.account_accounts", after=last.did),
        done=_DONE.get(request.args.get("done", "")),
    )


def account(name: str) -> Response:
    """The page of an account, by DID or handle."""
    found = _require(name)
    did, parts = found.did, services()
    collection = parameter("collection", _MAX_NSID)
    rows = []
    if collection:
        cursor = parameter("after", _MAX_RECORD_KEY)
        rows = parts.repos.records(did, collection, cursor, _RECORDS + 1, reverse=True)
    records, last = one_page(rows, _RECORDS)
    return page(
        "account.html",
        account=found,
        counts=parts.accounts.counts(did),
        usage=parts.blobs.usage(did),
        sessions=parts.accounts.sessions(did, _SESSIONS),
        collections=parts.repos.collections(did),
        collection=collection,
        records=records,
        next=None
        if last is None
        else url_for("console.account_account", name=did, collection=collection, after=last.rkey),
        done=_DONE.get(request.args.get("done", "")),
    )


def quota(name: str) -> AnyResponse:
    """Give an account a quota, none, or the default."""
    found, text = _require(name), field("quota", _MAX_SIZE)
    try:
        size = None if text == "default" else parse_size(text)
    except ValueError as error:
        raise InvalidRequest(f"Quota {text}: accepted are {error}, 0 for none, default") from None
    services().accounts.set_quota(found.did, size, author())
    return _to(found.did, "quota")


def deactivate(name: str) -> AnyResponse:
    """Serve nothing of an account until it is activated."""
    found = _require(name)
    services().moderation.update(Subject(found.did, None), None, {"applied": True}, author())
    return _to(found.did, "deactivated")


def activate(name: str) -> AnyResponse:
    """Undo `deactivate`."""
    found = _require(name)
    services().moderation.update(Subject(found.did, None), None, {"applied": False}, author())
    return _to(found.did, "activated")


def take_down(name: str) -> AnyResponse:
    """Take an account down."""
    found = _require(name)
    ref = field("ref", MAX_REF) or None
    services().moderation.take_down(Subject(found.did, None), ref, author())
    return _to(found.did, "taken-down")


def lift(name: str) -> AnyResponse:
    """Lift the takedown of an account."""
    found = _require(name)
    services().moderation.lift(Subject(found.did, None), author())
    return _to(found.did, "lifted")


def delete(name: str) -> AnyResponse:
    """Delete an account, if its DID was typed."""
    found = _require(name)
    if field("typed", MAX_DID) != found.did:
        raise InvalidRequest(f"Nothing was deleted: type {found.did} to delete it")
    services().delete_account(found.did, author())
    return redirect(url_for("console.account_accounts", done="deleted"), 303)


def _require(name: str) -> Account:
    if len(name) > MAX_DID or "\0" in name:
        raise RepoNotFound("There is no such account")
    return services().repos.find(name)


def _to(did: str, done: str | None = None) -> AnyResponse:
    return redirect(url_for("console.account_account", name=did, done=done), 303)
