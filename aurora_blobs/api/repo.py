"""com.atproto.repo: uploads of blobs, and the records that reference them."""

import json
from functools import partial
from typing import Any

from flask import Blueprint, Response, request

from aurora_blobs.api.callers import require_owner, require_person, require_person_or_admin
from aurora_blobs.api.envelope import show_rate_limit
from aurora_blobs.api.request_log import log_upload
from aurora_blobs.api.serializers import INVALID_HANDLE, account_document, bare_cid, reference
from aurora_blobs.api.xrpc import json_input, procedure, query
from aurora_blobs.auth import Administrator, Requester
from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.catalog.records import Record
from aurora_blobs.errors import AuthenticationRequired, InvalidRequest, MethodNotImplemented
from aurora_blobs.intake.decoding import parse_encodings
from aurora_blobs.protocol.car import Repository
from aurora_blobs.protocol.cid import parse_cid, shown_cid
from aurora_blobs.protocol.lexicon_params import Param, limit, optional, required
from aurora_blobs.protocol.quoting import shown
from aurora_blobs.protocol.syntax import parse_at_identifier, parse_nsid, parse_record_key
from aurora_blobs.records.index import Write, Written
from aurora_blobs.records.repo_import import CAR_TYPE
from aurora_blobs.records.write_parsing import (
    COLLECTION,
    RKEY,
    SWAP_COMMIT,
    SWAP_RECORD,
    VALIDATE,
    parse_write,
    parse_writes,
    refuse_swap_commit,
)
from aurora_blobs.services import services

bp = Blueprint("repo", __name__)


def refuse_writes() -> None:
    """A mirror takes nothing but what it fetches. Each POST of this family is a write."""
    if request.method == "POST" and request.blueprint == bp.name:
        raise MethodNotImplemented("This service mirrors a PDS: write there")


def refuse_uploads() -> None:
    """A PDS that keeps its blobs here refuses records of blobs which it has not taken itself."""
    if request.path == "/xrpc/com.atproto.repo.uploadBlob" and request.method == "POST":
        raise MethodNotImplemented("The blobs here are those of a PDS: upload there")


_REPO = required(parse_at_identifier)
_RECORD = required(kind=dict)


@procedure(bp, "com.atproto.repo.uploadBlob")
def upload_blob() -> dict[str, Any]:
    """Store the body as a blob of the caller."""
    requester = require_person("session", "service", "oauth")
    headers, size, address = request.headers, request.content_length, request.remote_addr
    declared_type = headers.get("Content-Type")
    if declared_type is not None:
        requester.require_upload(declared_type.partition(";")[0].strip())
    if size is None and "Transfer-Encoding" not in headers:
        raise InvalidRequest("A request body is expected but none was provided")
    own_limits: list[int | None] = []
    incoming = Incoming(
        stream=request.environ["wsgi.input"],
        did=requester.did,
        declared_type=declared_type,
        declared_size=size,
        encodings=parse_encodings(headers.get("Content-Encoding", "")),
        address=address,
        check_type=requester.require_upload,
        note_limit=own_limits.append,
    )
    parts = services()
    entry = parts.blobs.upload(incoming)
    log_upload(entry)
    show_rate_limit(parts.limits.uploads(entry.did, address or "", own_limits[0]))
    return {"blob": reference(entry, parts.config)}


@procedure(bp, "com.atproto.repo.createRecord")
def create_record() -> dict[str, Any]:
    """Store a new record."""
    requester = require_person_or_admin()
    given = json_input(
        repo=_REPO,
        collection=COLLECTION,
        rkey=optional(parse_record_key),
        validate=VALIDATE,
        record=_RECORD,
        swapCommit=SWAP_COMMIT,
    )
    rkey = given["rkey"] or services().records.new_key()
    return _write_one(requester, given, "create", rkey)


@procedure(bp, "com.atproto.repo.putRecord")
def put_record() -> dict[str, Any]:
    """Store a record, new or in place of another."""
    requester = require_person_or_admin()
    given = json_input(
        repo=_REPO,
        collection=COLLECTION,
        rkey=RKEY,
        validate=VALIDATE,
        record=_RECORD,
        swapRecord=SWAP_RECORD,
        swapCommit=SWAP_COMMIT,
    )
    return _write_one(requester, given, "put", given["rkey"], given["swapRecord"])


@procedure(bp, "com.atproto.repo.deleteRecord")
def delete_record() -> dict[str, Any]:
    """Delete a record, if there is one."""
    requester = require_person_or_admin()
    given = json_input(
        repo=_REPO, collection=COLLECTION, rkey=RKEY, swapRecord=SWAP_RECORD, swapCommit=SWAP_COMMIT
    )
    did = _writable(requester, given["repo"])
    requester.require_write(given["collection"], "delete")
    refuse_swap_commit(given["swapCommit"])
    services().records.apply(
        did, [Write("delete", given["collection"], given["rkey"], None, given["swapRecord"])]
    )
    return {}


@procedure(bp, "com.atproto.repo.applyWrites")
def apply_writes() -> dict[str, Any]:
    """Make up to 200 changes, all of them or none."""
    requester = require_person_or_admin()
    given = json_input(
        repo=_REPO, validate=VALIDATE, writes=required(kind=list), swapCommit=SWAP_COMMIT
    )
    did = _writable(requester, given["repo"])
    refuse_swap_commit(given["swapCommit"])
    writes = parse_writes(
        services().lexicons, given["writes"], given["validate"], services().clock()
    )
    for write, _ in writes:
        requester.require_write(write.collection, write.action)
    written = services().records.apply(did, [write for write, _ in writes])
    results = [
        {"$type": f"com.atproto.repo.applyWrites#{write.action}Result", **_shown(done, status)}
        for (write, status), done in zip(writes, written, strict=True)
    ]
    return {"results": results}


@procedure(bp, "com.atproto.repo.importRepo")
def import_repo() -> Response:
    """Take over the records of a CAR, `application/vnd.ipld.car`. Their blobs may come later."""
    requester = require_person_or_admin(scopes=frozenset({"com.atproto.access"}))
    requester.require_import()
    if request.mimetype != CAR_TYPE:
        sent = shown(request.mimetype or "none")
        raise InvalidRequest(f"Wrong request encoding (Content-Type): {sent}")
    services().repo_importer.receive(
        request.environ["wsgi.input"],
        did=None if isinstance(requester, Administrator) else requester.did,
        check=partial(_check_importable, requester),
        admit=partial(_admit, requester),
        by_admin=isinstance(requester, Administrator),
        declared_size=request.content_length,
        encodings=parse_encodings(request.headers.get("Content-Encoding", "")),
    )
    return Response()


@query(bp, "com.atproto.repo.listMissingBlobs", limit=limit(1000, default=500), cursor=optional())
def list_missing_blobs(limit: int, cursor: str | None) -> dict[str, Any]:
    """Blobs that the caller's records reference and that are not stored here."""
    requester = require_owner()
    found, after = services().blobs.missing_page(requester.did, bare_cid(cursor), limit)
    shown: dict[str, Any] = {
        "blobs": [
            {
                "cid": shown_cid(named.cid, services().config.cid_format),
                "recordUri": named.record_uri,
            }
            for named in found
        ]
    }
    if after is None:
        return shown
    return {"cursor": shown_cid(after, services().config.cid_format), **shown}


@query(
    bp,
    "com.atproto.repo.getRecord",
    repo=_REPO,
    collection=required(parse_nsid),
    rkey=required(parse_record_key),
    cid=optional(parse_cid),
)
def get_record(repo: str, collection: str, rkey: str, cid: str | None) -> Response:
    """One record."""
    did = services().repos.visible(repo).did
    return _json_response(_shown_record(services().repos.record(did, collection, rkey, cid)))


@query(
    bp,
    "com.atproto.repo.listRecords",
    repo=_REPO,
    collection=required(parse_nsid),
    limit=limit(100, default=50),
    cursor=optional(),
    reverse=Param(bool, default=False),
)
def list_records(
    repo: str, collection: str, limit: int, cursor: str | None, reverse: bool
) -> Response:
    """The records of a collection, newest key first unless *reverse*."""
    did = services().repos.visible(repo).did
    found = services().repos.records(did, collection, cursor or "", limit, reverse)
    cursor_json = f'"cursor":{json.dumps(found[-1].rkey)},' if found else ""
    records_json = ",".join(map(_shown_record, found))
    return _json_response(f'{{{cursor_json}"records":[{records_json}]}}')


@query(bp, "com.atproto.repo.describeRepo", repo=_REPO)
def describe_repo(repo: str) -> dict[str, Any]:
    """The account of a repository, and its collections."""
    account = services().repos.visible(repo)
    return {
        "handle": account.handle or INVALID_HANDLE,
        "did": account.did,
        "didDoc": account_document(account) or {"id": account.did},
        "collections": services().repos.collections(account.did),
        "handleIsCorrect": account.handle is not None,
    }


def _write_one(
    requester: Requester,
    given: dict[str, Any],
    action: Any,
    rkey: str,
    swap: object = SWAP_RECORD.default,
) -> dict[str, Any]:
    did = _writable(requester, given["repo"])
    # Whether a put creates or updates is known only after the write, so it needs both rights.
    needed = ("create", "update") if action == "put" else (action,)
    for right in needed:
        requester.require_write(given["collection"], right)
    refuse_swap_commit(given["swapCommit"])
    collection = given["collection"]
    value = services().records.with_typed_pictures(did, collection, rkey, given["record"])
    write, status = parse_write(
        services().lexicons, action, collection, rkey, value, given["validate"], swap
    )
    (written,) = services().records.apply(did, [write])
    return _shown(written, status)


def _writable(requester: Requester, repo: str) -> str:
    """The DID of *repo*. Raises AuthenticationRequired unless the requester may write in it."""
    if isinstance(requester, Administrator):
        return services().repos.reported(repo)
    if services().repos.find(repo).did != requester.did:
        raise AuthenticationRequired()
    requester.require_active()
    return requester.did


def _check_importable(requester: Requester, did: str) -> None:
    """Raises InvalidRequest, RepoNotFound as soon as it is known whose repository it is."""
    if isinstance(requester, Administrator):
        services().repos.check_reportable(did)
    elif did != requester.did:
        raise InvalidRequest(f"The repository is of {shown(did)}, not of {requester.did}")


def _admit(requester: Requester, repository: Repository) -> None:
    if isinstance(requester, Administrator):
        services().repos.reported(repository.did)


def _shown(written: Written, status: str | None) -> dict[str, Any]:
    if written.cid is None:
        return {}
    shown = {"uri": written.uri, "cid": written.cid}
    return shown if status is None else {**shown, "validationStatus": status}


def _shown_record(record: Record) -> str:
    # The value goes out as it is stored: parsed, it would take 60 times its size.
    uri, cid = json.dumps(record.uri), json.dumps(record.cid)
    return f'{{"uri":{uri},"cid":{cid},"value":{record.value}}}'


def _json_response(text: str) -> Response:
    return Response(text, mimetype="application/json")
