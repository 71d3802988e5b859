"""The checksums that S3's clients send with a body.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

import zlib
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import md5, sha1, sha256
from typing import Protocol

from aurora_blobs.object_api.refusals import Refusal

_PREFIX = "x-amz-checksum-"
# Of these headers, how it is done, what is announced, and what an answer is to have.
_NOT_CHECKSUMS = ("x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type")
_CASTAGNOLI = 0x82F63B78  # CRC-32C, reflected; RFC 3720, appendix B.4
_LANES = 4096  # that many parts of a piece are taken one byte further at a time; measured


class Checksum(Protocol):
    """As a `hashlib` object."""

    def update(self, data: bytes, /) -> object: ...

    def digest(self) -> bytes: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


class _Crc32c:
    """Neither Python nor zlib has it. One byte after the other it takes eight times as long."""

    def __init__(self) -> None:
        self._value = 0xFFFFFFFF

    def update(self, data: bytes) -> None:
        rows = len(data) // _LANES
        if rows:
            self._value = self._add_lanes(data[: rows * _LANES], rows)
        for byte in data[rows * _LANES :]:
            self._value = _TABLE[(self._value ^ byte) & 0xFF] ^ (self._value >> 8)

    def digest(self) -> bytes:
        return (self._value ^ 0xFFFFFFFF).to_bytes(4, "big")

    def _add_lanes(self, data: bytes, rows: int) -> int:
        """The register after *data*: that of each lane of *rows* bytes, and all of them joined.

        Byte k of the registers of all lanes is one bytes object, and a step is five of its
        operations: a look-up for all lanes is `bytes.translate`, an exclusive or that of two
        integers.
        """
        planes = [bytes(_LANES)] * 4
        for row in range(rows):
            index = _xor(planes[0], data[row::rows])
            shifted = [*planes[1:], bytes(_LANES)]
            planes = [
                _xor(plane, index.translate(table))
                for plane, table in zip(shifted, _PLANE_TABLES, strict=True)
            ]
        shift = _shift_tables(rows)
        value = self._value
        for lane in zip(*planes, strict=True):
            value = _shifted(value, shift) ^ int.from_bytes(bytes(lane), "little")
        return value


def _xor(one: bytes, other: bytes) -> bytes:
    both = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return both.to_bytes(_LANES, "little")


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_CASTAGNOLI if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _table()
_PLANE_TABLES = [bytes(value >> 8 * plane & 0xFF for value in _TABLE) for plane in range(4)]


@lru_cache(maxsize=64)
def _shift_tables(count: int) -> list[list[int]]:
    """For each byte of a register, what its values become behind *count* bytes that are 0.

    The register's change is linear: from the 32 powers of two the others follow.
    """
    powers = [1 << bit for bit in range(32)]
    step = [_TABLE[power & 0xFF] ^ power >> 8 for power in powers]
    result = powers
    while count:
        if count & 1:
            result = [_applied(step, value) for value in result]
        step = [_applied(step, value) for value in step]
        count >>= 1
    return [[_applied(result, byte << 8 * place) for byte in range(256)] for place in range(4)]


def _applied(matrix: list[int], value: int) -> int:
    found = 0
    for bit in range(32):
        if value >> bit & 1:
            found ^= matrix[bit]
    return found


def _shifted(value: int, tables: list[list[int]]) -> int:
    first, second, third, fourth = tables
    return (
        first[value & 0xFF]
        ^ second[value >> 8 & 0xFF]
        ^ third[value >> 16 & 0xFF]
        ^ fourth[value >> 24]
    )


_ALGORITHMS: dict[str, Callable[[], Checksum]] = {
    "x-amz-checksum-crc32": _Crc32,
    "x-amz-checksum-crc32c": _Crc32c,
    "x-amz-checksum-sha1": lambda: sha1(usedforsecurity=False),
    "x-amz-checksum-sha256": sha256,
    "content-md5": lambda: md5(usedforsecurity=False),
}


def checksum(name: str) -> Checksum:
    """The one whose value is in the header or trailer *name*. Raises Refusal."""
    try:
        return _ALGORITHMS[name]()
    except KeyError:
        raise Refusal(
            "NotImplemented",
            "Of checksums CRC32, CRC32C, SHA1, SHA256 and Content-MD5 are checked here",
        ) from None


def stated(headers: Mapping[str, str]) -> dict[str, bytes]:
    """The checksums in *headers*, by the header's name. Raises Refusal."""
    names = [
        name
        for name in headers
        if name == "content-md5" or (name.startswith(_PREFIX) and name not in _NOT_CHECKSUMS)
    ]
    return {name: parse_value(name, headers[name]) for name in names}


def parse_value(name: str, text: str) -> bytes:
    """The checksum *text*, in Base64, of the header *name*. Raises Refusal."""
    size = len(checksum(name).digest())
    try:
        value = b64decode(text.strip(), validate=True)
    except (Base64Error, ValueError):
        value = b""
    if len(value) != size:
        code = "InvalidDigest" if name == "content-md5" else "InvalidRequest"
        raise Refusal(code, f"Value for {name} header is invalid.")
    return value
