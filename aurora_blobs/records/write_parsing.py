"""Writes as clients send them, checked against the lexicons."""

from typing import Any

from aurora_blobs.errors import InvalidRequest, InvalidSwap
from aurora_blobs.protocol.lexicon_params import Param, from_json, optional, required
from aurora_blobs.protocol.lexicons import Lexicons
from aurora_blobs.protocol.quoting import shown_json
from aurora_blobs.protocol.syntax import new_tid, parse_nsid, parse_record_key
from aurora_blobs.records.data_model import normalize_record
from aurora_blobs.records.index import ANY, MAX_WRITES, Action, Write

_NSID = "com.atproto.repo.applyWrites"
_ACTIONS: dict[str, Action] = {
    f"{_NSID}#{action}": action for action in ("create", "update", "delete")
}

COLLECTION = required(parse_nsid)
RKEY = required(parse_record_key)
VALIDATE = optional(kind=bool)
SWAP_COMMIT = optional()
SWAP_RECORD = Param(default=ANY, nullable=True)


def parse_write(
    lexicons: Lexicons,
    action: Action,
    collection: str,
    rkey: str,
    value: dict[str, Any],
    validate: bool | None,
    swap: object = ANY,
) -> tuple[Write, str | None]:
    """The write, and its ``validationStatus`` or None if not validated. Raises InvalidRequest."""
    stated = value.get("$type", collection)
    if stated != collection:
        raise InvalidRequest(f"Invalid $type: expected {collection}, got {shown_json(stated)}")
    if "$type" not in value:
        value = {"$type": collection, **value}
    value = normalize_record(value)
    status = lexicons.check(collection, value, validate)
    return Write(action, collection, rkey, value, swap), status


def parse_writes(
    lexicons: Lexicons, items: list[Any], validate: bool | None, now: int
) -> list[tuple[Write, str | None]]:
    """The ``writes`` of applyWrites, each as `parse_write` gives it; a delete has no status.

    A key that is not given is made of *now*, in microseconds. Raises InvalidRequest.
    """
    if len(items) > MAX_WRITES:
        raise InvalidRequest(f"Too many writes. Max: {MAX_WRITES}")
    writes: list[tuple[Write, str | None]] = []
    last_key = None
    for index, item in enumerate(items):
        action = _ACTIONS.get(str(item.get("$type"))) if isinstance(item, dict) else None
        if action is None:
            raise InvalidRequest(
                f"Invalid {_NSID} input: $.writes[{index}] has no $type of {', '.join(_ACTIONS)}"
            )
        try:
            properties = from_json(_PROPERTIES[action], item)
        except ValueError as error:
            raise InvalidRequest(f"Invalid {_NSID} input: {error} at $.writes[{index}]") from None
        collection, rkey = properties["collection"], properties["rkey"]
        if action == "delete":
            writes.append((Write(action, collection, rkey), None))
            continue
        if rkey is None:
            rkey = last_key = new_tid(now, last_key)
        writes.append(
            parse_write(lexicons, action, collection, rkey, properties["value"], validate)
        )
    return writes


def refuse_swap_commit(cid: str | None) -> None:
    """Raises InvalidSwap for a *cid*: the index has no commits to compare it with."""
    if cid is not None:
        raise InvalidSwap(
            "swapCommit cannot be compared: this service keeps an index of records, not commits"
        )


_VALUE = required(kind=dict)
_PROPERTIES: dict[Action, dict[str, Param]] = {
    "create": {"collection": COLLECTION, "rkey": optional(parse_record_key), "value": _VALUE},
    "update": {"collection": COLLECTION, "rkey": RKEY, "value": _VALUE},
    "delete": {"collection": COLLECTION, "rkey": RKEY},
}
