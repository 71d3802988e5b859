"""Whether the metadata of a picture or film says where it was taken."""

import binascii
import re
import zlib
from collections.abc import Iterator
from itertools import islice, starmap
from typing import Protocol

from aurora_blobs.media import exif
from aurora_blobs.media.boxes import Box, boxes
from aurora_blobs.media.byte_source import Data, Unreadable


class _Searchable(Data, Protocol):
    def find(self, sub: bytes, start: int = ..., /) -> int: ...


_FILMS = frozenset(("video/mp4", "video/quicktime"))
# Guesses, well above what pictures hold, that keep the worst case under a second.
_MAX_CANDIDATES = 100  # places that look like EXIF, XMP or a film
_MAX_CHUNKS = 10_000
_MAX_TEXTS = 64
_MAX_TEXT = 2**20  # bytes, after inflation
_MAX_BOXES = 5000
_PREFIXES = (
    b"GPS",
    b"Gps",
)  # of EXIF's names in XMP, and of those by DJI, one of which is misspelt
_XMP_PROPERTY = re.compile(
    rb"""G(?:PS|ps)(?:Dest)?L(?:at|ongt?)itude\s*(?:=\s*["']\s*[^"'\s]|>\s*[^<\s])"""
)
_CONTAINERS = frozenset((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"udta", b"meta", b"ilst"))
_LOOKED_INTO = frozenset((b"\xa9xyz", b"stsd", b"keys", b"uuid", b"XMP_"))
# QuickTime's "location" and 3GPP's (TS 26.244, 8.10), and what cameras and dashcams call their tracks.
_PLACES = frozenset((b"loci", b"gps "))
_GPS_SAMPLES = (b"camm", b"gpmd", b"com.apple.quicktime.location.")


def has_location(data: _Searchable, mime_type: str) -> bool:
    """Whether *data*, which is of *mime_type*, holds a position. Never raises.

    In pictures: EXIF and XMP, wherever they stand, and so those of pictures appended to the first, and of the
    film that phones append to a JPEG. In MP4 and QuickTime: the metadata of the movie and its tracks.
    Maker notes and names of places are not looked at.
    """
    if mime_type in _FILMS:
        return _film_has(data, 0)
    if not mime_type.startswith("image/"):
        return False
    return (
        any(exif.has_position(data, at) for magic in exif.MAGICS for at in _places(data, magic))
        or any(
            _XMP_PROPERTY.match(data[at : at + 256])
            for prefix in _PREFIXES
            for at in _places(data, prefix)
        )
        or (
            mime_type in ("image/png", "image/apng")
            and any(starmap(_text_has, islice(_png_texts(data), _MAX_TEXTS)))
        )
        or (
            mime_type == "image/jpeg"
            and any(_film_has(data, at - 4) for at in _places(data, b"ftyp"))
        )
    )


def _places(data: _Searchable, sought: bytes) -> Iterator[int]:
    at = -1
    for _ in range(_MAX_CANDIDATES):
        at = data.find(sought, at + 1)
        if at < 0:
            return
        yield at


def _png_texts(data: Data) -> Iterator[tuple[bytes, bytes]]:
    """Keyword and text of the text chunks, inflated. PNG 3rd edition, 11.3.3."""
    at = 8
    for _ in range(_MAX_CHUNKS):
        head = data[at : at + 8]
        if len(head) < 8:
            return
        length = int.from_bytes(head[:4])
        if head[4:] in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, _, text = data[at + 8 : at + 8 + min(length, _MAX_TEXT)].partition(b"\0")
            if head[4:] == b"zTXt":
                text = _inflated(text[1:])
            elif head[4:] == b"iTXt" and text[:1] == b"\1":
                text = _inflated(text[2:].split(b"\0", 2)[-1])
            yield keyword, text
        at += 12 + length


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, _MAX_TEXT)
    except zlib.error:
        return b""


def _unhexed(text: bytes) -> bytes:
    try:
        return binascii.unhexlify(b"".join(text.split()[2:]))
    except binascii.Error:
        return b""


def _text_has(keyword: bytes, text: bytes) -> bool:
    # ImageMagick writes profiles as hexadecimal lines, after their name and length, and each value of EXIF as a text
    # of its own: exif:GPSLatitude, 52/1, 31/1, 0/1.
    if keyword.startswith(b"Raw profile type "):
        text = _unhexed(text)
    return exif.has_position(text) or _XMP_PROPERTY.search(keyword + b">" + text) is not None


def _film_has(data: Data, start: int) -> bool:
    return any(_box_has(data, box) for box in islice(_walk(data, start, len(data)), _MAX_BOXES))


def _walk(data: Data, start: int, stop: int, depth: int = 10) -> Iterator[Box]:
    try:
        for box in boxes(data, start, stop):
            yield box
            if box.kind in _CONTAINERS and depth:
                # In MP4 a meta box begins with a version, in QuickTime it does not.
                versioned = box.kind == b"meta" and data[box.start + 4 : box.start + 8] != b"hdlr"
                yield from _walk(data, box.start + 4 * versioned, box.stop, depth - 1)
    except Unreadable:
        return  # what stands beside it may be whole


def _box_has(data: Data, box: Box) -> bool:
    if box.kind in _PLACES:
        return True
    content = (
        data[box.start : min(box.stop, box.start + _MAX_TEXT)] if box.kind in _LOOKED_INTO else b""
    )
    if box.kind == b"\xa9xyz":
        return re.search(rb"[1-9]", content[4:]) is not None
    if box.kind in (b"stsd", b"keys"):
        return any(name in content for name in _GPS_SAMPLES)
    return _XMP_PROPERTY.search(content) is not None
