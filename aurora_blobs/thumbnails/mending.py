"""Pictures as browsers take them: without what says nothing of the pixels, with their end.

Pillow refuses a picture for a wrong checksum of a comment, for a long text, for an end that is
missing and for a name that it does not know. Browsers show it.
"""

import io
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, BinaryIO, NamedTuple

from aurora_blobs.media.iso_brands import compatible_brands

# Bytes of a colour profile, after inflation: PngImagePlugin.MAX_TEXT_CHUNK, beyond which Pillow
# refuses the picture. Profiles of screens and cameras have under 20 KB, of printers up to 3 MB.
_MAX_PROFILE = 2**20
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT")
# The other chunks that pixels, colours or the way up depend on, and how long each may be: PNG 3rd
# edition, 11.3. The length of tRNS goes by the colour type.
_LENGTHS = {b"eXIf": range(1, 2**31), b"iCCP": range(4, _MAX_PROFILE)}
_LENGTHS_OF_FRAMES = {b"acTL": range(8, 9), b"fcTL": range(26, 27), b"fdAT": range(4, 2**31)}
_TRANSPARENCY = {0: range(2, 3), 2: range(6, 7), 3: range(1, 257)}
_BLOCK = 64 * 1024  # bytes per read
# JPEG markers, ITU T.81, table B.1
_EOI = b"\xff\xd9"
_APPLICATION_DATA, _COMMENT, _START_OF_SCAN = range(0xE0, 0xF0), 0xFE, 0xDA
# How application data begins that colours or the way up depend on, and how long it is at least,
# its length included. Adobe's says what the channels are.
_SEGMENTS = {
    (0xE0, b"JFIF\0"): 16,
    (0xE1, b"Exif\0"): 16,
    (0xE2, b"ICC_P"): 17,
    (0xEE, b"Adobe"): 14,
}
_FILLER = 64  # bytes: more than the 8 that libjpeg holds of a JPEG that is whole
_AVIF_BRANDS = (b"avif", b"avis")


class Spliced(io.RawIOBase):
    """A file made of *parts*: bytes, and ranges of the bytes of *source*."""

    def __init__(self, source: BinaryIO, parts: Sequence[bytes | range]) -> None:
        self._source = source
        self._parts = [part for part in parts if part]
        self._starts = [0, *accumulate(map(len, self._parts))]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._starts[-1])[whence])
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        if self._at >= self._starts[-1]:
            return 0
        index = bisect_right(self._starts, self._at) - 1
        part = self._parts[index][self._at - self._starts[index] :][: len(buffer)]
        if isinstance(part, range):
            self._source.seek(part.start)
            part = self._source.read(len(part))
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


def mended(source: BinaryIO, kind: str, *, moves: bool = False) -> BinaryIO:
    """*source*, a picture of *kind*, Pillow's name of its format, as browsers take it.

    It is a still one, unless it *moves*.
    """
    if kind == "JPEG":
        return _spliced(source, _jpeg_parts(source))
    if kind == "PNG":
        return _spliced(source, _png_parts(source, moves))
    if kind == "WEBP":
        return _spliced(source, _webp_parts(source))
    if kind == "AVIF":
        return _spliced(source, _avif_parts(source))
    return source


def with_end(source: BinaryIO) -> Iterator[BinaryIO]:
    """*source*, a JPEG without its end, with two ends of its own.

    They decode to the same pixels if and only if nothing is missing before the end.
    """
    for filler in b"\x00\xaa":
        # The first byte belongs to an 0xFF that may be the last one of the picture.
        yield _spliced(source, [_rest(source, 0), bytes([0, *[filler] * _FILLER]) + _EOI])


def _spliced(source: BinaryIO, parts: Sequence[bytes | range]) -> BinaryIO:
    return io.BufferedReader(Spliced(source, parts), _BLOCK)


def _rest(source: BinaryIO, start: int) -> range:
    return range(start, source.seek(0, io.SEEK_END))


def _jpeg_parts(source: BinaryIO) -> list[range]:
    """The parts of a JPEG without what no pixel depends on, up to its pixels."""
    parts, at = [range(0, 2)], 2
    while True:
        source.seek(at)
        head = source.read(9)
        if head[:2] == b"\xff\xff":  # any marker may be preceded by fill bytes
            at += 1
            continue
        marker, length = int.from_bytes(head[1:2]), int.from_bytes(head[2:4])
        is_segment = head[:1] == b"\xff" and 0xC0 <= marker < 0xFF and length >= 2
        if not is_segment or marker == _START_OF_SCAN:
            return [*parts, _rest(source, at)]
        is_extra = marker in _APPLICATION_DATA or marker == _COMMENT
        if not is_extra or length >= _SEGMENTS.get((marker, head[4:]), 2**16):
            _append(parts, range(at, at + 2 + length))
        at += 2 + length


def _append(parts: list[range], part: range) -> None:
    """Put *part*, which is not before the end of the last one, behind *parts*."""
    if parts[-1].stop == part.start:
        parts[-1] = range(parts[-1].start, part.stop)
    else:
        parts.append(part)


def _webp_parts(source: BinaryIO) -> list[bytes | range]:
    """The parts of a WebP, which may say that it is longer than it is. RFC 9649, 2.4."""
    size = source.seek(0, io.SEEK_END)
    source.seek(0)
    head = source.read(8)
    padding = size % 2  # of the last chunk, which is of the same length or one byte short
    if 8 + int.from_bytes(head[4:], "little") <= size:
        return [range(size)]
    return [head[:4], (size + padding - 8).to_bytes(4, "little"), range(8, size), bytes(padding)]


def _avif_parts(source: BinaryIO) -> list[bytes | range]:
    """The parts of an AVIF, which may name a brand that Pillow does not know before its own."""
    source.seek(0)
    head = source.read(_BLOCK)
    brands = compatible_brands(head)
    major = next((brand for brand in _AVIF_BRANDS if brand in brands), head[8:12])
    return [head[:8], major, _rest(source, 12)]


class _Chunk(NamedTuple):
    kind: bytes
    start: int  # of its length
    length: int  # of its data
    whole: range  # all of it, cut off where the file ends

    @property
    def is_whole(self) -> bool:
        return len(self.whole) == self.length + 12


def _png_parts(source: BinaryIO, moves: bool) -> list[bytes | range]:
    """The parts of a PNG without what no pixel depends on. What is damaged is left out, too."""
    lengths = _LENGTHS | _LENGTHS_OF_FRAMES if moves else _LENGTHS
    parts = [range(len(_PNG_SIGNATURE))]
    is_whole = True
    for chunk in _chunks(source):
        if chunk.kind == b"IEND":
            break
        if chunk.kind == b"IHDR":
            source.seek(chunk.start + 17)
            transparency = _TRANSPARENCY.get(int.from_bytes(source.read(1)), range(0))
            lengths = lengths | {b"tRNS": transparency}
        if chunk.kind in _CRITICAL or _is_needed(source, chunk, lengths):
            is_whole = chunk.is_whole
            _append(parts, chunk.whole)
    # Behind pixels that are cut off the end would be taken for some of them.
    return [*parts, _PNG_END] if is_whole else [*parts]


def _chunks(source: BinaryIO) -> Iterator[_Chunk]:
    end = source.seek(0, io.SEEK_END)
    at = len(_PNG_SIGNATURE)
    while at + 8 <= end:
        source.seek(at)
        head = source.read(8)
        length = int.from_bytes(head[:4])
        chunk = _Chunk(head[4:], at, length, range(at, min(at + 12 + length, end)))
        yield chunk
        at += 12 + length


def _is_needed(source: BinaryIO, chunk: _Chunk, lengths: dict[bytes, range]) -> bool:
    return (
        chunk.length in lengths.get(chunk.kind, ())
        and chunk.is_whole
        and _has_right_checksum(source, chunk)
        and (chunk.kind != b"iCCP" or _is_profile(source, chunk))
    )


def _has_right_checksum(source: BinaryIO, chunk: _Chunk) -> bool:
    source.seek(chunk.start + 4)
    left, checksum = 4 + chunk.length, 0
    while left:
        piece = source.read(min(left, _BLOCK))
        checksum = zlib.crc32(piece, checksum)
        left -= len(piece)
    return source.read(4) == checksum.to_bytes(4)


def _is_profile(source: BinaryIO, chunk: _Chunk) -> bool:
    source.seek(chunk.start + 8)
    name, _, content = source.read(chunk.length).partition(b"\0")
    try:
        profile = zlib.decompressobj().decompress(content[1:], _MAX_PROFILE + 1)
    except zlib.error:
        return False
    return len(name) < 80 and content[:1] == b"\0" and len(profile) <= _MAX_PROFILE
