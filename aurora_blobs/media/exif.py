"""Two facts in EXIF: the orientation, and whether there is a position.

Exif 2.32 (CIPA DC-008) is TIFF 6.0: directories of entries of 12 bytes, linked by offsets.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Literal, NamedTuple

from aurora_blobs.media.byte_source import ByteSource, Unreadable, bytes_at

HEADER = b"Exif\0\0"  # before the TIFF data in JPEG, and now and then in WebP and PNG
SIDEWAYS = range(5, 9)  # orientations that swap width and height
MAGICS = (b"II*\0", b"MM\0*")
_ORIENTATION, _GPS_DIRECTORY = 0x0112, 0x8825
# Latitude and longitude, of the camera and of its destination.
_POSITIONS = frozenset((2, 4, 20, 22))
_SHORT, _RATIONAL, _SIGNED_RATIONAL = 3, 5, 10
# Bytes of a number by its type: BYTE, SHORT, LONG, their signed twins, and IFD. A pointer should
# be a LONG or an IFD; readers take any.
_INTEGER_SIZES = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 13: 4}
_MAX_ENTRIES = 512  # a guess; cameras write under 50
_MAX_DIRECTORIES = 8  # in a chain; a guess, cameras write two
_MAX_POINTERS = 2  # to positions; cameras write one


class _Entry(NamedTuple):
    tag: int
    kind: int
    value_count: int
    at: int  # the offset of the value, or of its offset


def orientation(source: ByteSource) -> int:
    """The orientation in *source*, TIFF with or without `HEADER`: 1 to 8, and 1 if it has none."""
    try:
        tiff = _Tiff(source)
        for entry in tiff.first_directory():
            if entry.tag == _ORIENTATION and entry.kind == _SHORT and entry.value_count == 1:
                value = tiff.uint(entry.at, 2)
                return value if 1 <= value <= 8 else 1
    except Unreadable:
        pass
    return 1


def has_position(source: ByteSource, at: int = 0) -> bool:
    """Whether the TIFF data at *at* in *source* holds a latitude or a longitude.

    A camera without a fix writes a GPS directory without them, or with zeros as denominators.
    """
    try:
        tiff = _Tiff(source, at)
        pointers = (
            entry
            for entry in islice(tiff.all_entries(), 2 * _MAX_ENTRIES)
            if entry.tag == _GPS_DIRECTORY and entry.kind in _INTEGER_SIZES
        )
        return any(
            tiff.is_position(found)
            for entry in islice(pointers, _MAX_POINTERS)
            for found in tiff.directory(tiff.uint(entry.at, _INTEGER_SIZES[entry.kind]))
        )
    except Unreadable:
        return False


class _Tiff:
    def __init__(self, source: ByteSource, at: int = 0) -> None:
        if source[at : at + len(HEADER)] == HEADER:
            at += len(HEADER)
        magic = source[at : at + 4]
        if magic not in MAGICS:
            raise Unreadable("no TIFF header")
        self._source = source
        self._start = at
        self._order: Literal["little", "big"] = "little" if magic == MAGICS[0] else "big"

    def uint(self, offset: int, size: int) -> int:
        return int.from_bytes(bytes_at(self._source, self._start + offset, size), self._order)

    def first_directory(self) -> Iterator[_Entry]:
        return self.directory(self.uint(4, 4))

    def all_entries(self) -> Iterator[_Entry]:
        """The entries of the first directory and of those that follow it."""
        offset = self.uint(4, 4)
        for _ in range(_MAX_DIRECTORIES):
            yield from self.directory(offset)
            offset = self.uint(offset + 2 + 12 * self.uint(offset, 2), 4)
            if not offset:
                return

    def directory(self, offset: int) -> Iterator[_Entry]:
        for index in range(min(self.uint(offset, 2), _MAX_ENTRIES)):
            at = offset + 2 + 12 * index
            yield _Entry(self.uint(at, 2), self.uint(at + 2, 2), self.uint(at + 4, 4), at + 8)

    def is_position(self, entry: _Entry) -> bool:
        if entry.tag not in _POSITIONS:
            return False
        if entry.kind not in (_RATIONAL, _SIGNED_RATIONAL):
            return entry.value_count > 1  # some programs write text
        offset = self.uint(entry.at, 4)
        denominators = (
            self.uint(offset + 8 * index + 4, 4) for index in range(min(entry.value_count, 3))
        )
        return any(denominators)
