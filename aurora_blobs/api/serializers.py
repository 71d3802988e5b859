"""How blobs, accounts and cursors look on the wire, for more than one method."""

from typing import Any

from flask import Response, request

from aurora_blobs.accounts.manager import AccountManager
from aurora_blobs.catalog.accounts import Account
from aurora_blobs.catalog.audit import Act
from aurora_blobs.catalog.blobs import AccountUsage, Entry
from aurora_blobs.catalog.takedowns import Takedown
from aurora_blobs.clock import moment
from aurora_blobs.config import Config
from aurora_blobs.errors import MethodNotImplemented
from aurora_blobs.protocol import did_document
from aurora_blobs.protocol.cid import parse_blob_cid, shown_cid
from aurora_blobs.services import services

INVALID_HANDLE = "handle.invalid"  # the protocol's word for an account without a handle


def reference(entry: Entry, config: Config) -> dict[str, Any]:
    """The blob reference of *entry*. https://atproto.com/specs/data-model#blob-type"""
    return {
        "$type": "blob",
        "ref": {"$link": shown_cid(entry.cid, config.cid_format)},
        "mimeType": entry.mime_type,
        "size": entry.size,
    }


def usage_row(usage: AccountUsage) -> dict[str, Any]:
    """What an account holds; `quotaBytes` is None where there is no quota."""
    return {
        "blobCount": usage.blob_count,
        "blobBytes": usage.blob_bytes,
        "temporaryBytes": usage.temporary_bytes,
        "quotaBytes": usage.quota_bytes or None,
    }


def takedown_row(found: Takedown, config: Config) -> dict[str, Any]:
    """A takedown in a list: `cid` is None of an account, `did` of a blob for every account."""
    return {
        "kind": "blob" if found.cid else "account",
        "did": found.did or None,
        "cid": shown_cid(found.cid, config.cid_format) if found.cid else None,
        "ref": found.ref,
        "createdAt": moment(found.created_at),
    }


def act_row(act: Act, config: Config) -> dict[str, Any]:
    """A row of the audit trail in a list."""
    return {
        "actedAt": moment(act.acted_at),
        "actor": act.actor,
        "via": act.via or None,
        "action": act.action,
        "did": act.did or None,
        "cid": shown_cid(act.cid, config.cid_format) if act.cid else None,
        "reason": act.reason,
        "oldValue": act.old_value,
        "newValue": act.new_value,
    }


def without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    """*row* as the lexicons have it: what is not known is not there."""
    return {name: value for name, value in row.items() if value is not None}


def nothing() -> Response:
    """The empty answer of a procedure without an output."""
    response = Response()
    del response.headers["Content-Type"]
    return response


def own_url() -> str:
    """The URL of this service, without a slash at the end.

    NOTE: unless it is configured, it is what the client says, which may be anything.
    """
    return services().config.public_url or request.host_url.removesuffix("/")


def own_host() -> str:
    """The host in `own_url`, with its port if it has one."""
    return own_url().partition("://")[2]


def local_accounts() -> AccountManager:
    """The accounts that this service keeps. Raises MethodNotImplemented if a PDS keeps them."""
    if services().config.accounts != "local":
        raise MethodNotImplemented()
    return services().accounts


def account_document(account: Account) -> dict[str, Any] | None:
    """The DID document of *account*; None unless this service hosts it."""
    if account.handle is None or account.did != f"did:web:{account.handle}":
        return None
    return did_document.account_document(account.did, account.handle, own_url())


def bare_cid(cursor: str | None) -> str:
    """*cursor*, the last CID of a page in either form, as the database has it.

    Text that is not a CID stays as it is. None is the start, the empty text.
    """
    if cursor is None:
        return ""
    try:
        return parse_blob_cid(cursor)
    except ValueError:
        return cursor
