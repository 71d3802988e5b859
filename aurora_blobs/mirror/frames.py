"""The frames of com.atproto.sync.subscribeRepos, parsed and bounded; nothing in them is believed.

https://atproto.com/specs/event-stream and https://atproto.com/specs/sync
"""

from dataclasses import dataclass
from typing import Any

from aurora_blobs.protocol.car_index import parse_cid_bytes
from aurora_blobs.protocol.dag_cbor import check_items, decode_raw_all
from aurora_blobs.protocol.syntax import parse_did, parse_tid

# https://atproto.com/specs/sync: a frame has 5 MB at most, a commit 200 operations and 2 MB of
# blocks.
MAX_FRAME = 5_000_000
MAX_OPERATIONS = 200
_MAX_BLOCKS = 2_000_000
_MAX_ITEMS = 2**13  # values and keys of a frame; 200 operations have 3,000
_MAX_SEQ = 2**63 - 1
_MAX_STATUS = 64  # characters; real ones have a dozen
_ACTIONS = ("create", "update", "delete")


class BadFrame(ValueError):
    """What came is no frame, or has no number: there is no telling what was missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event of the number *seq*, of the account *did*; *time* is the PDS's, as it sent it."""

    seq: int
    did: str | None
    time: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """A change of the record under *key*: *cid* is the new one (bytes), *prev* the one before."""

    key: bytes
    cid: bytes | None
    prev: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit(Event):
    """Changes of records. `commit` and `prev_data` are CIDs (bytes), `blocks` is a CAR file."""

    commit: bytes
    rev: str
    since: str | None
    prev_data: bytes | None
    operations: tuple[Operation, ...]
    blocks: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync(Event):
    """The repository is at a commit, whatever was before; `blocks` is a CAR file with it."""

    rev: str
    blocks: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity(Event):
    """The DID document may have changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Event):
    """The account is as *status* says, None if it is active."""

    status: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable(Event):
    """An event of a known kind that says nothing we can check; *reason* is for the log."""

    reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What the PDS says of the stream itself; *is_error* before it ends the stream."""

    name: str
    message: str
    is_error: bool


Frame = Event | Notice


def parse_frame(data: bytes) -> Frame:
    """The event or notice in *data*. Of an unknown kind it is an `Event` and nothing else.

    Raises BadFrame.
    """
    try:
        check_items(data, _MAX_ITEMS)
        header, body = decode_raw_all(data)
        kind, operation = header.get("t"), header["op"]
        if operation == -1:
            return _notice(body, "error", is_error=True)
        if operation != 1 or not isinstance(kind, str):
            raise ValueError("neither a message nor an error")
        if kind == "#info":
            return _notice(body, "name", is_error=False)
        seq = body["seq"]
        if not isinstance(seq, int) or not 0 < seq <= _MAX_SEQ:
            raise ValueError("no number")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadFrame(f"not a frame: {error}") from None
    did = _did(body)
    parse = _PARSERS.get(kind)
    if parse is None:
        return Event(seq=seq, did=did)
    common: dict[str, Any] = {"seq": seq, "did": did, "time": _text(body.get("time"))}
    try:
        if did is None:
            raise ValueError("no DID")
        if len(data) > MAX_FRAME:
            raise ValueError(f"a frame of {len(data)} bytes, at most {MAX_FRAME} are read")
        return parse(common, body)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return Unusable(**common, reason=f"{kind}: {error or type(error).__name__}")


def _commit(common: dict[str, Any], body: dict[str, Any]) -> Commit:
    if body.get("tooBig"):
        raise ValueError("too big")
    operations = body["ops"]
    if len(operations) > MAX_OPERATIONS:
        raise ValueError(f"{len(operations)} operations, at most {MAX_OPERATIONS} are read")
    since, prev_data = body.get("since"), body.get("prevData")
    return Commit(
        **common,
        commit=parse_cid_bytes(body["commit"]),
        rev=parse_tid(body["rev"]),
        since=None if since is None else parse_tid(since),
        prev_data=None if prev_data is None else parse_cid_bytes(prev_data),
        operations=tuple(map(_operation, operations)),
        blocks=_blocks(body),
    )


def _operation(operation: dict[str, Any]) -> Operation:
    cid, prev = operation.get("cid"), operation.get("prev")
    parsed = Operation(
        operation["path"].encode(),
        None if cid is None else parse_cid_bytes(cid),
        None if prev is None else parse_cid_bytes(prev),
    )
    if operation["action"] not in _ACTIONS:
        raise ValueError("an unknown action")
    if (parsed.cid is None) != (operation["action"] == "delete"):
        raise ValueError("an operation with the CID of another action")
    if (parsed.prev is None) != (operation["action"] == "create"):
        raise ValueError("an operation with the previous CID of another action")
    return parsed


def _sync(common: dict[str, Any], body: dict[str, Any]) -> Sync:
    return Sync(**common, rev=parse_tid(body["rev"]), blocks=_blocks(body))


def _identity(common: dict[str, Any], body: dict[str, Any]) -> Identity:
    return Identity(**common)


def _status(common: dict[str, Any], body: dict[str, Any]) -> Status:
    return Status(**common, status=parse_status(body))


_PARSERS = {
    "#commit": _commit,
    "#sync": _sync,
    "#identity": _identity,
    "#account": _status,
}


def parse_status(body: dict[str, Any]) -> str | None:
    """Why the account in *body*, of an event or an answer, is not active; None if it is.

    Raises ValueError.
    """
    active, status = body.get("active"), body.get("status")
    if not isinstance(active, bool):
        raise ValueError("active is not true or false")
    if active:
        return None
    # Of an unknown status all that counts is that the account is not active.
    return _text(status) or "inactive"


def _notice(body: dict[str, Any], name: str, *, is_error: bool) -> Notice:
    return Notice(_text(body.get(name)), _text(body.get("message")), is_error)


def _did(body: dict[str, Any]) -> str | None:
    try:
        return parse_did(body["repo"] if "repo" in body else body["did"])
    except (KeyError, TypeError, ValueError):
        return None


def _blocks(body: dict[str, Any]) -> bytes:
    blocks = body["blocks"]
    if not isinstance(blocks, bytes):
        raise ValueError("blocks are no bytes")
    if len(blocks) > _MAX_BLOCKS:
        raise ValueError(f"{len(blocks)} bytes of blocks, at most {_MAX_BLOCKS} are read")
    return blocks


def _text(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= _MAX_STATUS else ""
