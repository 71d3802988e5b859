"""The boxes of MP4 and QuickTime: a size, a kind and a content. ISO/IEC 14496-12, 4.2."""

from collections.abc import Iterator
from typing import NamedTuple

from aurora_blobs.media.byte_source import ByteSource, Unreadable, bytes_at, uint_be

_MAX_BOXES = 200  # side by side; videos have under 30 before their fragments


class Box(NamedTuple):
    kind: bytes
    start: int  # of the content
    stop: int


def boxes(source: ByteSource, start: int, stop: int) -> Iterator[Box]:
    """The boxes between *start* and *stop*; the last may be cut off. Raises Unreadable."""
    for _ in range(_MAX_BOXES):
        if start + 8 > stop:
            return
        head = bytes_at(source, start, 8)
        size, content = int.from_bytes(head[:4]), start + 8
        if size == 1:
            size, content = uint_be(source, start + 8, 8), start + 16
        elif size == 0:
            size = stop - start
        if start + size < content:
            raise Unreadable("a box smaller than its header")
        yield Box(head[4:], content, min(start + size, stop))
        start += size


def child(source: ByteSource, box: Box, kind: bytes) -> Box:
    """The first box of *kind* in *box*. Raises Unreadable if there is none."""
    for found in boxes(source, box.start, box.stop):
        if found.kind == kind:
            return found
    raise Unreadable("a box is missing")
