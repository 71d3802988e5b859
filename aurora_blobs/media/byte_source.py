"""Random access to the bytes of a file, wherever they are: in memory, mapped or in a store."""

from typing import Protocol


class ByteSource(Protocol):
    """`bytes`, an `mmap`, or anything that slices like them: short at the end, never an error."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes: ...


class Unreadable(ValueError):
    """The bytes are malformed, or what is looked for lies beyond a bound."""


def bytes_at(source: ByteSource, at: int, size: int) -> bytes:
    """The *size* bytes at *at*. Raises Unreadable if there are fewer."""
    found = source[at : at + size]
    if len(found) != size:
        raise Unreadable("the bytes end too early")
    return found


def uint_be(source: ByteSource, at: int, size: int) -> int:
    """The big-endian number in the *size* bytes at *at*. Raises Unreadable."""
    return int.from_bytes(bytes_at(source, at, size), "big")


def uint_le(source: ByteSource, at: int, size: int) -> int:
    """The little-endian number in the *size* bytes at *at*. Raises Unreadable."""
    return int.from_bytes(bytes_at(source, at, size), "little")
