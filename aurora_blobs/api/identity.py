"""The handles, DIDs and profiles of local accounts: com.atproto.identity and ``/.well-known/``."""

from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, request

from aurora_blobs.api.callers import optional_requester
from aurora_blobs.api.serializers import INVALID_HANDLE, account_document, local_accounts, own_url
from aurora_blobs.api.xrpc import query
from aurora_blobs.auth import Person
from aurora_blobs.catalog.accounts import Account
from aurora_blobs.errors import HandleNotFound, InvalidRequest
from aurora_blobs.protocol.blob_refs import find_references
from aurora_blobs.protocol.did_document import did_web_answers, service_document
from aurora_blobs.protocol.lexicon_params import required
from aurora_blobs.protocol.syntax import parse_at_identifier, parse_handle
from aurora_blobs.services import services

bp = Blueprint("identity", __name__)


@query(bp, "com.atproto.identity.resolveHandle", handle=required(parse_handle))
def resolve_handle(handle: str) -> dict[str, Any]:
    """The DID of a local handle."""
    account = local_accounts().find(handle)
    if account is None or not account.active:
        raise HandleNotFound()
    return {"did": account.did}


@query(bp, "app.bsky.actor.getProfile", actor=required(parse_at_identifier))
def get_profile(actor: str) -> dict[str, Any]:
    """The profile of a local account, which some clients read directly after a login."""
    accounts, requester = local_accounts(), optional_requester()
    account = accounts.find(actor)
    if account is None or not (
        account.active or (isinstance(requester, Person) and requester.did == account.did)
    ):
        raise InvalidRequest("Profile not found")
    profile = accounts.profile(account.did)
    texts = {
        name: profile[name]
        for name in ("displayName", "description")
        if isinstance(profile.get(name), str)
    }
    return {
        "did": account.did,
        "handle": account.handle or INVALID_HANDLE,
        **texts,
        **_pictures(account, profile),
    }


@bp.get("/.well-known/did.json")
def did_document() -> dict[str, Any]:
    """The DID document of the service or local account whose ``did:web`` names this host."""
    config = services().config
    if did_web_answers(config.service_did, request.host):
        return service_document(config.service_did, own_url())
    account = _account_of_host()
    document = None if account is None else account_document(account)
    if document is None:
        abort(404, "no such DID here")
    return document


@bp.get("/.well-known/atproto-did")
def atproto_did() -> Response:
    """The DID of the local account whose handle is this host. https://atproto.com/specs/handle"""
    account = _account_of_host()
    if account is None or not account.active:
        abort(404, "no such handle here")
    return Response(account.did, content_type="text/plain; charset=utf-8")


def _account_of_host() -> Account | None:
    host = request.host.rpartition(":")[0] if ":" in request.host else request.host
    return services().accounts.find(host) if services().config.accounts == "local" else None


def _pictures(account: Account, profile: dict[str, Any]) -> dict[str, str]:
    urls = {}
    for name in ("avatar", "banner"):
        for reference in find_references(profile.get(name)):
            where = urlencode({"did": account.did, "cid": reference.cid})
            urls[name] = f"{own_url()}/xrpc/com.atproto.sync.getBlob?{where}"
    return urls
