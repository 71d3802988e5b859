"""A record's JSON as AT Protocol's data model has it: its one form, its CID, its text.

https://atproto.com/specs/data-model
"""

import json
from typing import Any

from aurora_blobs.errors import InvalidRequest
from aurora_blobs.protocol import dag_cbor
from aurora_blobs.protocol.blob_refs import MAX_SAFE_INTEGER
from aurora_blobs.protocol.cid import parse_cid
from aurora_blobs.protocol.quoting import Place, path_of, shown, shown_json


def normalize_record(value: Any) -> Any:
    """*value*, a record's JSON, with whole numbers as integers and each link in its one form.

    67.0 is an integer to a client in JavaScript, so it becomes 67 for every reader of the record.
    Raises InvalidRequest for fractions, integers of more than 53 bits, bad links, deep nesting.
    """
    try:
        return _normalize(value, None)
    except RecursionError:
        raise InvalidRequest(f"Invalid record: {dag_cbor.TOO_DEEP}") from None


def _normalize(value: Any, place: Place) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"$link"}:
            return {"$link": _parse_link(value["$link"], place)}
        return {key: _normalize(item, (place, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_normalize(item, (place, index)) for index, item in enumerate(value)]
    if isinstance(value, float):
        if not value.is_integer():
            raise InvalidRequest(
                "Expected one of null, boolean, integer, string, bytes, cid, array or object "
                f"(got {value}) at {path_of(place)}"
            )
        value = int(value)
    if isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
        raise InvalidRequest(
            f"Expected an integer of at most 53 bits (got {shown(str(value))}) at {path_of(place)}"
        )
    return value


def _parse_link(text: object, place: Place) -> str:
    try:
        if isinstance(text, str):
            return parse_cid(text)
    except ValueError:
        pass
    raise InvalidRequest(f"Invalid CID string (got {shown_json(text)}) at {path_of(place)}")


def record_cid(value: object) -> str:
    """The CID of *value*, a record's JSON, over its DAG-CBOR. Raises InvalidRequest."""
    try:
        return dag_cbor.cid_of_block(dag_cbor.encode(normalize_record(value)))
    except ValueError as error:
        raise InvalidRequest(f"Invalid record: {error}") from None


def record_text(value: object) -> str:
    """*value*, a record's JSON, as the `record` table keeps it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
