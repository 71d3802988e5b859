"""Whether the metadata of an image or a video says where it was taken."""

import binascii
import importlib
import importlib.util
import re
import zlib
from collections.abc import Iterator
from itertools import islice, starmap
from typing import Protocol

from aurora_blobs.media import exif
from aurora_blobs.media.boxes import Box, boxes
from aurora_blobs.media.byte_source import ByteSource, Unreadable


class _Searchable(ByteSource, Protocol):
    def find(self, sub: bytes, start: int = ..., /) -> int: ...


# Guesses, well above what images hold, that keep the worst case under a second.
_MAX_CANDIDATES = 100  # places that look like EXIF, XMP or a video
_MAX_CHUNKS = 10_000
_MAX_TEXTS = 64
_MAX_TEXT = 2**20  # bytes, after inflation
_MAX_VALUE = 256  # bytes, of an item
_MAX_FILMS = 10  # inside and behind an image
_MAX_BOXES = 5000
_MAX_DEPTH = 10  # of nested boxes
# The beginnings of EXIF's names in XMP, and of DJI's, one of which is misspelt ("Longtitude").
_XMP_PREFIXES = (b"GPS", b"Gps")
# A value of an attribute or an element, or of JSON, as in what C2PA says of the picture.
_XMP_PROPERTY = re.compile(
    rb"""G(?:PS|ps)(?:Dest)?L(?:at|ongt?)itude"""
    rb"""(?:\s*=\s*["']\s*[^"'\s]|\s*>\s*[^<\s]|"\s*:\s*"?[^"\s])"""
)
# XMP of more than 64 KB stands in a JPEG in parts: the name, a digest, the length of all, the
# offset of this one. XMP specification, part 3, 1.1.3.1.
_XMP_PART = b"http://ns.adobe.com/xmp/extension/\0"
_XMP_PART_HEAD = len(_XMP_PART) + 32 + 4 + 4
_CONTAINERS = frozenset((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"udta", b"meta", b"ilst"))
# 3GPP's location (TS 26.244, 8.10), and the box of dashcams: that they are there is enough.
_LOCATION_BOXES = frozenset((b"loci", b"gps "))
_QUICKTIME_LOCATION = b"\xa9xyz"
_READ_BOXES = frozenset((_QUICKTIME_LOCATION, b"stsd", b"keys", b"ilst", b"uuid", b"XMP_"))
# The sample formats of cameras' GPS tracks, and the beginning of Apple's keys.
_GPS_NAMES = (b"camm", b"gpmd", b"com.apple.quicktime.location.")
_LOCATION_KEY = re.compile(rb"mdtalocation(?:-[a-z]{3})?(?:\0|\Z)")  # FFmpeg's
# A position as text, as values in item lists have it. ISO 6709, annex H.
_POSITION_TEXT = re.compile(
    rb"[+-]\d{2,6}(?:\.\d+)?[+-]\d{3,7}(?:\.\d+)?(?:[+-][\d.]+)?(?:CRS\w*)?/"
)


def has_location(source: _Searchable, mime_type: str) -> bool:
    """Whether *source*, a blob of *mime_type*, holds a position. Never raises.

    In boxes, of MP4, QuickTime and all their kin: the metadata of the movie and of its tracks. In
    images also: EXIF and XMP wherever they stand, so in images appended to the first one too, and
    films inside and behind an image. docs/pictures.md has what is not looked at.
    """
    if _in_boxes(source, 0):
        return True
    if not mime_type.startswith("image/"):
        return False
    return (
        _in_exif(source)
        or _in_xmp(source)
        or _in_xmp_parts(source)
        or any(starmap(_in_text, islice(_png_texts(source), _MAX_TEXTS)))
        or any(map(_in_compressed_box, islice(_brotli_boxes(source), _MAX_TEXTS)))
        or any(_in_boxes(source, at - 4) for at in islice(_find_all(source, b"ftyp"), _MAX_FILMS))
    )


def _in_exif(source: _Searchable) -> bool:
    return any(
        exif.has_position(source, at) for magic in exif.MAGICS for at in _find_all(source, magic)
    )


def _in_xmp(source: _Searchable) -> bool:
    return any(
        _XMP_PROPERTY.match(source[at : at + 256])
        for prefix in _XMP_PREFIXES
        for at in _find_all(source, prefix)
    )


def _in_xmp_parts(source: _Searchable) -> bool:
    """Whether a property stands across the border of two parts."""
    parts = {}
    for at in _find_all(source, _XMP_PART):
        length = int.from_bytes(source[at - 2 : at]) - 2  # of the segment
        offset = int.from_bytes(source[at + _XMP_PART_HEAD - 4 : at + _XMP_PART_HEAD])
        parts[offset] = source[at + _XMP_PART_HEAD : at + length]
    return _XMP_PROPERTY.search(b"".join(parts[offset] for offset in sorted(parts))) is not None


def _find_all(source: _Searchable, sought: bytes) -> Iterator[int]:
    """The offsets of *sought*, the first `_MAX_CANDIDATES` of them."""
    at = -1
    for _ in range(_MAX_CANDIDATES):
        at = source.find(sought, at + 1)
        if at < 0:
            return
        yield at


def _png_texts(source: ByteSource) -> Iterator[tuple[bytes, bytes]]:
    """Keyword and text of each text chunk of a PNG, inflated. PNG 3rd edition, 11.3.3."""
    at = 8 if source[:8] == b"\x89PNG\r\n\x1a\n" else len(source)
    for _ in range(_MAX_CHUNKS):
        head = source[at : at + 8]
        if len(head) < 8:
            return
        length = int.from_bytes(head[:4])
        if head[4:] in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, _, text = source[at + 8 : at + 8 + min(length, _MAX_TEXT)].partition(b"\0")
            if head[4:] == b"zTXt":
                text = _inflated(text[1:])
            elif head[4:] == b"iTXt" and text[:1] == b"\1":
                text = _inflated(text[2:].split(b"\0", 2)[-1])
            yield keyword, text
        at += 12 + length


def _brotli_boxes(source: ByteSource) -> Iterator[bytes]:
    """What compressed boxes of a JPEG XL hold. ISO/IEC 18181-2, 9."""
    for box in _walk(source, 0, len(source), depth=0):
        if box.kind == b"brob":
            # First the kind of the box that it was.
            yield source[box.start + 4 : min(box.stop, box.start + _MAX_TEXT)]


def _in_compressed_box(data: bytes) -> bool:
    """What cannot be opened here, because Brotli is not installed, counts as a position."""
    if importlib.util.find_spec("brotli") is None:
        return True
    brotli = importlib.import_module("brotli")
    try:
        content = brotli.Decompressor().process(data, output_buffer_limit=_MAX_TEXT)
    except brotli.error:
        return False
    return _in_exif(content) or _in_xmp(content)


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


def _in_text(keyword: bytes, text: bytes) -> bool:
    # ImageMagick writes a profile as its name, its length and lines of hexadecimal digits, and
    # each value of EXIF as a text of its own: exif:GPSLatitude, 52/1, 31/1, 0/1.
    if keyword.startswith(b"Raw profile type "):
        text = _unhexed(text)
    return exif.has_position(text) or _XMP_PROPERTY.search(keyword + b">" + text) is not None


def _in_boxes(source: ByteSource, start: int) -> bool:
    return any(
        _in_box(source, box) for box in islice(_walk(source, start, len(source)), _MAX_BOXES)
    )


def _walk(source: ByteSource, start: int, stop: int, depth: int = _MAX_DEPTH) -> Iterator[Box]:
    try:
        for box in boxes(source, start, stop):
            yield box
            if box.kind in _CONTAINERS and depth:
                content = box.start
                # In MP4 a meta box begins with a version, in QuickTime it does not.
                if box.kind == b"meta" and source[content + 4 : content + 8] != b"hdlr":
                    content += 4
                yield from _walk(source, content, box.stop, depth - 1)
    except Unreadable:
        return  # the boxes beside it may be whole


def _in_box(source: ByteSource, box: Box) -> bool:
    if box.kind in _LOCATION_BOXES:
        return True
    if box.kind not in _READ_BOXES:
        return False
    content = source[box.start : min(box.stop, box.start + _MAX_TEXT)]
    if box.kind == _QUICKTIME_LOCATION:
        return re.search(rb"[1-9]", content[4:]) is not None
    if box.kind == b"ilst":
        return any(
            _POSITION_TEXT.search(source[item.start : min(item.stop, item.start + _MAX_VALUE)])
            for item in _walk(source, box.start, box.stop, depth=0)
        )
    if box.kind in (b"stsd", b"keys"):
        is_named = any(name in content for name in _GPS_NAMES)
        return is_named or _LOCATION_KEY.search(content) is not None
    return _XMP_PROPERTY.search(content) is not None
