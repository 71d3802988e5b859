"""The boxes of MP4 and QuickTime, ISO/IEC 14496-12, 4.2: a size, a kind, and what is inside."""

from collections.abc import Iterator
from typing import NamedTuple

from aurora_blobs.media.byte_source import Data, Unreadable, big, part

_MAX_BOXES = 200  # side by side; films have under 30, before their fragments


class Box(NamedTuple):
    kind: bytes
    start: int  # of what is inside
    stop: int


def boxes(data: Data, start: int, stop: int) -> Iterator[Box]:
    """The boxes between *start* and *stop*; the last may be cut off. Raises Unreadable."""
    for _ in range(_MAX_BOXES):
        if start + 8 > stop:
            return
        head = part(data, start, 8)
        size, inside = int.from_bytes(head[:4]), start + 8
        if size == 1:
            size, inside = big(data, start + 8, 8), start + 16
        elif size == 0:
            size = stop - start
        if start + size < inside:
            raise Unreadable("a box smaller than its header")
        yield Box(head[4:], inside, min(start + size, stop))
        start += size


def inside(data: Data, box: Box, kind: bytes) -> Box:
    """The first box of *kind* in *box*. Raises Unreadable."""
    for found in boxes(data, box.start, box.stop):
        if found.kind == kind:
            return found
    raise Unreadable("a box is missing")
