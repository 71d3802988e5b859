"""The references to blobs in a record, in today's form and in the one from before 2023.

https://atproto.com/specs/data-model#blob-type
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aurora_blobs.protocol.cid import parse_cid
from aurora_blobs.protocol.syntax import stated_mime_type

MAX_SAFE_INTEGER = 2**53 - 1  # what every implementation of the protocol can represent


@dataclass(frozen=True, slots=True)
class Reference:
    """A record's reference to a blob.

    `mime_type` and `size` are None where the record does not state them; the legacy form has no
    size. What is no media type is not stated.
    """

    cid: str
    mime_type: str | None
    size: int | None


def find_references(value: object) -> Iterator[Reference]:
    """Every reference to a blob in *value*, a record's JSON, at any depth and in either form.

    A blob's CID is given in its ``bafkrei…`` form, any other CID as it stands.
    """
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            reference = _typed_reference(value) or legacy_reference(value)
            if reference is not None:
                yield reference
            else:
                stack.extend(reversed(value.values()))
        elif isinstance(value, list):
            stack.extend(reversed(value))


def _typed_reference(value: dict[str, Any]) -> Reference | None:
    if value.get("$type") != "blob" or value.keys() != {"$type", "ref", "mimeType", "size"}:
        return None
    ref, mime_type, size = value["ref"], value["mimeType"], value["size"]
    if not isinstance(ref, dict) or ref.keys() != {"$link"} or not isinstance(ref["$link"], str):
        return None
    if not isinstance(mime_type, str) or "/" not in mime_type:
        return None
    if not isinstance(size, int) or isinstance(size, bool) or not -1 <= size <= MAX_SAFE_INTEGER:
        return None
    try:
        return Reference(parse_cid(ref["$link"]), stated_mime_type(mime_type), size)
    except ValueError:
        return None


def legacy_reference(value: dict[str, Any]) -> Reference | None:
    """The reference that *value* is in the form from before 2023; None if it is not one.

    That form is ``{"cid", "mimeType"}``.
    """
    if value.keys() != {"cid", "mimeType"}:
        return None
    cid, mime_type = value["cid"], value["mimeType"]
    if not isinstance(cid, str) or not isinstance(mime_type, str) or not mime_type:
        return None
    try:
        return Reference(parse_cid(cid), stated_mime_type(mime_type), None)
    except ValueError:
        return None
