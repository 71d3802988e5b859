"""Records in their two forms: DAG-CBOR blocks, and JSON with ``$link`` and ``$bytes``.

https://atproto.com/specs/data-model
"""

import struct
from base64 import b32decode, b32encode, b64decode, b64encode
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from typing import Any

import libipld

# Nested maps and lists; a guess. Real records have a dozen, and 32 are recommended:
# https://atproto.com/guides/data-validation#recommended-data-limits
MAX_DEPTH = 128
TOO_DEEP = f"nested too deeply: at most {MAX_DEPTH} levels are accepted"

_RECORD_PREFIX = bytes([0x01, 0x71, 0x12, 0x20])  # CIDv1, codec dag-cbor, sha2-256, 32 bytes
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG = range(7)
_FALSE, _TRUE, _NULL, _DOUBLE = 0xF4, 0xF5, 0xF6, 0xFB
_TAG_CID = b"\xd8\x2a"
_IDENTITY_BASE = b"\x00"  # stands before the bytes of a CID in DAG-CBOR


def cid_of_block(block: bytes) -> str:
    """The CID of *block*, a record or commit as DAG-CBOR: 59 characters, ``bafyrei…``."""
    return "b" + b32encode(cid_bytes_of_block(block)).decode().rstrip("=").lower()


def cid_bytes_of_block(block: bytes) -> bytes:
    """As `cid_of_block`, in its bytes."""
    return _RECORD_PREFIX + sha256(block).digest()


def cid_text(cid: bytes) -> str:
    """The base32 text of *cid*, the bytes of a CID. Raises ValueError."""
    return str(libipld.encode_cid(cid))


def encode(value: Any) -> bytes:
    """The DAG-CBOR form of *value*, JSON. Raises ValueError if it has none."""
    block = bytearray()
    _write(block, value, 0)
    return bytes(block)


def decode(block: bytes) -> Any:
    """The JSON form of *block*. Raises ValueError."""
    return _json_of(decode_raw(block), _link_flags(block), 0)


def decode_raw(block: bytes) -> Any:
    """*block* decoded, with byte strings and CIDs both as bytes. Raises ValueError."""
    try:
        return libipld.decode_dag_cbor(block)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def encode_raw(value: Any) -> bytes:
    """The block of *value*, in which CIDs are bytes. No other bytes in it may begin like a CID."""
    return bytes(libipld.encode_dag_cbor(value))


def decode_raw_all(data: bytes) -> list[Any]:
    """The values in *data*, one behind the other, each as of `decode_raw`. Raises ValueError."""
    try:
        return list(libipld.decode_dag_cbor_multi(data))
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def check_items(block: bytes, limit: int) -> None:
    """Raise ValueError if *block* has more than *limit* values, keys and tags counted.

    Asked before it is decoded: an empty list is one byte of *block*, and 60 in memory.
    """
    if len(block) > limit and next(islice(_majors(block), limit, None), None) is not None:
        raise ValueError(f"more than {limit} values")


def _json_of(value: Any, is_link: Iterator[bool], depth: int) -> Any:
    # In place: a block of empty lists takes 60 times its size once, not twice.
    if depth > MAX_DEPTH:
        raise ValueError(TOO_DEEP)
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_nul(key)
            value[key] = _json_of(item, is_link, depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            value[index] = _json_of(item, is_link, depth + 1)
    elif isinstance(value, str):
        _refuse_nul(value)
    elif isinstance(value, bytes):
        return {"$link": cid_text(value)} if next(is_link) else {"$bytes": _base64(value)}
    return value


def _link_flags(block: bytes) -> Iterator[bool]:
    """For each byte string of *block*, in order, whether it is a CID.

    libipld does not tell the two apart. *block* is well-formed.
    """
    tagged = False
    for major in _majors(block):
        if major == _BYTES:
            yield tagged
        tagged = major == _TAG


def _majors(block: bytes) -> Iterator[int]:
    """The major type of each value, key and tag of *block*, in order.

    Nesting does not matter: a head is followed by its string or by the next head.
    """
    at = 0
    while at < len(block):
        major, code = block[at] >> 5, block[at] & 31
        size = 1 << code - 24 if code >= 24 else 0
        at += 1 + size
        if major in (_BYTES, _TEXT):
            at += int.from_bytes(block[at - size : at]) if size else code
        yield major


def _refuse_nul(text: str) -> None:
    if "\0" in text:
        raise ValueError("a text has a U+0000, which is not accepted")


def _base64(value: bytes) -> str:
    return b64encode(value).decode().rstrip("=")


def _write(block: bytearray, value: Any, depth: int) -> None:
    # Not libipld's encoder: it takes a byte string that begins like a CID for one.
    if depth > MAX_DEPTH:
        raise ValueError(TOO_DEEP)
    if value is None or isinstance(value, bool):
        block.append({None: _NULL, True: _TRUE, False: _FALSE}[value])
    elif isinstance(value, int) and value >= 0:
        _write_head(block, _UNSIGNED, value)
    elif isinstance(value, int):
        _write_head(block, _NEGATIVE, -1 - value)
    elif isinstance(value, float):
        block += struct.pack(">Bd", _DOUBLE, value)
    elif isinstance(value, str):
        _write_string(block, _TEXT, value.encode())
    elif isinstance(value, list):
        _write_head(block, _LIST, len(value))
        for item in value:
            _write(block, item, depth + 1)
    elif value.keys() == {"$link"}:
        block += _TAG_CID
        _write_string(block, _BYTES, _IDENTITY_BASE + _cid_bytes(value["$link"]))
    elif value.keys() == {"$bytes"}:
        _write_string(block, _BYTES, _bytes_of(value["$bytes"]))
    else:
        _write_head(block, _MAP, len(value))
        entries = [(key.encode(), item) for key, item in value.items()]
        for key, item in sorted(entries, key=_map_order):
            _write_string(block, _TEXT, key)
            _write(block, item, depth + 1)


def _map_order(entry: tuple[bytes, Any]) -> tuple[int, bytes]:
    return len(entry[0]), entry[0]


def _write_string(block: bytearray, major: int, data: bytes) -> None:
    _write_head(block, major, len(data))
    block += data


def _write_head(block: bytearray, major: int, argument: int) -> None:
    if argument < 24:
        block.append(major << 5 | argument)
        return
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * size:
            block.append(major << 5 | code)
            block += argument.to_bytes(size, "big")
            return
    raise ValueError("an integer has more than 64 bits")


def _cid_bytes(text: Any) -> bytes:
    # Every CID in a record is in base32: https://atproto.com/specs/data-model#link-and-cid-formats
    if not isinstance(text, str) or not text.startswith("b") or not text.isascii():
        raise ValueError("a $link is not a CID")
    return b32decode(text[1:].upper() + "=" * (-(len(text) - 1) % 8))


def _bytes_of(text: Any) -> bytes:
    if not isinstance(text, str) or not text.isascii():
        raise ValueError("a $bytes is not base64")
    digits = text.rstrip("=")
    return b64decode(digits + "=" * (-len(digits) % 4), validate=True)
