"""The two facts that matter in EXIF: which way is up, and whether it says where the picture was taken.

Exif 2.32 (CIPA DC-008), which is TIFF 6.0: directories of entries of 12 bytes, linked by offsets.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from aurora_blobs.media.byte_source import Data, Unreadable, part

HEADER = b"Exif\0\0"  # stands before the TIFF data in JPEG, and now and then in WebP and PNG
MAGICS = (b"II*\0", b"MM\0*")
_ORIENTATION, _GPS_DIRECTORY = 0x0112, 0x8825
_POSITIONS = frozenset(
    (2, 4, 20, 22)
)  # latitude and longitude, of the camera and of its destination
_SHORT, _LONG, _RATIONAL, _SIGNED_RATIONAL = 3, 4, 5, 10
_MAX_ENTRIES = 512  # a guess; cameras write under 50


class _Entry(NamedTuple):
    tag: int
    kind: int
    values: int
    at: int  # where the value or its offset is


def orientation(data: Data) -> int:
    """The orientation in *data* (TIFF, with or without `HEADER`), 1 to 8; 1 where it says none."""
    try:
        tiff = _Tiff(data)
        for entry in tiff.first_directory():
            if entry.tag == _ORIENTATION and entry.kind == _SHORT and entry.values == 1:
                value = tiff.number(entry.at, 2)
                return value if 1 <= value <= 8 else 1
    except Unreadable:
        pass
    return 1


def has_position(data: Data, at: int = 0) -> bool:
    """Whether the TIFF data at *at* holds a latitude or longitude.

    Cameras without a fix write a GPS directory without them, or with all denominators zero.
    """
    try:
        tiff = _Tiff(data, at)
        for entry in tiff.first_directory():
            if entry.tag == _GPS_DIRECTORY and entry.kind == _LONG:
                return any(
                    tiff.is_position(found) for found in tiff.directory(tiff.number(entry.at, 4))
                )
    except Unreadable:
        pass
    return False


class _Tiff:
    def __init__(self, data: Data, at: int = 0) -> None:
        if data[at : at + len(HEADER)] == HEADER:
            at += len(HEADER)
        magic = data[at : at + 4]
        if magic not in MAGICS:
            raise Unreadable("no TIFF header")
        self._data = data
        self._start = at
        self._order: Literal["little", "big"] = "little" if magic == MAGICS[0] else "big"

    def number(self, offset: int, size: int) -> int:
        return int.from_bytes(part(self._data, self._start + offset, size), self._order)

    def first_directory(self) -> Iterator[_Entry]:
        return self.directory(self.number(4, 4))

    def directory(self, offset: int) -> Iterator[_Entry]:
        for index in range(min(self.number(offset, 2), _MAX_ENTRIES)):
            at = offset + 2 + 12 * index
            yield _Entry(self.number(at, 2), self.number(at + 2, 2), self.number(at + 4, 4), at + 8)

    def is_position(self, entry: _Entry) -> bool:
        if entry.tag not in _POSITIONS:
            return False
        if entry.kind not in (_RATIONAL, _SIGNED_RATIONAL):
            return entry.values > 1  # some programs write text
        offset = self.number(entry.at, 4)
        return any(self.number(offset + 8 * index + 4, 4) for index in range(min(entry.values, 3)))
