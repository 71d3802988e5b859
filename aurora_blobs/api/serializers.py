"""How things look on the wire where more than one method shows them."""

from typing import Any

from flask import Response, request

from aurora_blobs.accounts.manager import AccountManager
from aurora_blobs.catalog.accounts import Account
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.config import Config
from aurora_blobs.errors import MethodNotImplemented
from aurora_blobs.protocol import did_document
from aurora_blobs.protocol.cid import parse_blob_cid, shown_cid
from aurora_blobs.services import services

INVALID_HANDLE = "handle.invalid"  # what the protocol shows where there is none


def reference(entry: Entry, config: Config) -> dict[str, Any]:
    """The typed reference of *entry*. https://atproto.com/specs/data-model#blob-type"""
    return {
        "$type": "blob",
        "ref": {"$link": shown_cid(entry.cid, config.cid_format)},
        "mimeType": entry.mime_type,
        "size": entry.size,
    }


def nothing() -> Response:
    """The answer of a procedure that has nothing to say."""
    response = Response()
    del response.headers["Content-Type"]
    return response


def own_url() -> str:
    """The URL at which the client reached this service, without a slash at the end."""
    return request.host_url.removesuffix("/")


def local_accounts() -> AccountManager:
    """The accounts, where it is this service that keeps them. Raises MethodNotImplemented."""
    if services().config.accounts != "local":
        raise MethodNotImplemented()
    return services().accounts


def account_document(account: Account) -> dict[str, Any] | None:
    """The DID document of *account*, None unless it is this service that answers for it."""
    if account.handle is None or account.did != f"did:web:{account.handle}":
        return None
    return did_document.account_document(account.did, account.handle, own_url())


def bare_cid(cursor: str | None) -> str:
    """*cursor*, the last CID of a page in whichever form, as the rows have it; any other text stays as it is."""
    try:
        return "" if cursor is None else parse_blob_cid(cursor)
    except ValueError:
        return cursor or ""
