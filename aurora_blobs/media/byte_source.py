"""Bytes that are looked at in places: in memory, mapped, or far away."""

from typing import Protocol


class Data(Protocol):
    """`bytes`, an `mmap`, or whatever answers slices as they do: shorter at the end, never an error."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes: ...


class Unreadable(ValueError):
    """The bytes are not what they should be, or what is looked for lies beyond a bound."""


def part(data: Data, at: int, size: int) -> bytes:
    """The *size* bytes at *at*. Raises Unreadable where there are fewer."""
    found = data[at : at + size]
    if len(found) != size:
        raise Unreadable("the bytes end too early")
    return found


def big(data: Data, at: int, size: int) -> int:
    """The number in the *size* bytes at *at*, the most significant first. Raises Unreadable."""
    return int.from_bytes(part(data, at, size), "big")


def little(data: Data, at: int, size: int) -> int:
    """The number in the *size* bytes at *at*, the least significant first. Raises Unreadable."""
    return int.from_bytes(part(data, at, size), "little")
