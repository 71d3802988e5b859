"""Width, height and duration of MP4, QuickTime and WebM, from a bounded walk through headers."""

import math
import struct
from collections.abc import Iterator
from typing import NamedTuple

from aurora_blobs.media.boxes import Box, boxes, child
from aurora_blobs.media.byte_source import ByteSource, Unreadable, bytes_at, uint_be

_MAX_ELEMENTS = 200  # side by side; videos have under 30 before their first cluster
_MAX_MS = 10**12  # 30 years; longer is a damaged header


class VideoInfo(NamedTuple):
    """Width and height in pixels, as shown, and the duration; None where the headers have none."""

    size: tuple[int, int] | None
    duration_ms: int | None


def mp4_info(source: ByteSource) -> VideoInfo:
    """What ``moov`` of *source*, MP4 or QuickTime, says. Raises Unreadable. ISO/IEC 14496-12, 8."""
    top: dict[bytes, Box] = {}
    for box in boxes(source, 0, len(source)):
        top.setdefault(box.kind, box)
    if b"moov" not in top:
        raise Unreadable("no movie")
    timescale = duration = 0
    size = None
    for box in boxes(source, top[b"moov"].start, top[b"moov"].stop):
        if box.kind == b"mvhd":
            timescale, duration = _movie_duration(source, box)
        elif box.kind == b"mvex" and not duration:
            duration = _fragments_duration(source, box)
        elif box.kind == b"trak" and size is None:
            size = _track_size(source, box)
    if not duration and b"sidx" in top:
        timescale, duration = _indexed_duration(source, top[b"sidx"])
    return VideoInfo(size, _milliseconds(duration, timescale))


def _is_version_1(source: ByteSource, box: Box) -> bool:
    """Whether times in *box* have 8 bytes instead of 4."""
    return bytes_at(source, box.start, 1) == b"\1"


def _movie_duration(source: ByteSource, mvhd: Box) -> tuple[int, int]:
    """Ticks per second, and the duration in ticks; 0 if it is unknown."""
    at, size = (20, 8) if _is_version_1(source, mvhd) else (12, 4)
    timescale = uint_be(source, mvhd.start + at, 4)
    duration = uint_be(source, mvhd.start + at + 4, size)
    unknown = (1 << 8 * size) - 1  # all ones
    return timescale, 0 if duration == unknown else duration


def _fragments_duration(source: ByteSource, mvex: Box) -> int:
    for box in boxes(source, mvex.start, mvex.stop):
        if box.kind == b"mehd":
            return uint_be(source, box.start + 4, 8 if _is_version_1(source, box) else 4)
    return 0


def _indexed_duration(source: ByteSource, sidx: Box) -> tuple[int, int]:
    """Ticks per second, and the duration in ticks: the sum over the segments of the index."""
    timescale = uint_be(source, sidx.start + 8, 4)
    at = sidx.start + (28 if _is_version_1(source, sidx) else 20)
    count = uint_be(source, at + 2, 2)
    return timescale, sum(uint_be(source, at + 8 + 12 * index, 4) for index in range(count))


def _track_size(source: ByteSource, track: Box) -> tuple[int, int] | None:
    media = child(source, track, b"mdia")
    handler = child(source, media, b"hdlr")
    if bytes_at(source, handler.start + 8, 4) != b"vide":
        return None
    header = child(source, track, b"tkhd")
    matrix = header.start + (52 if _is_version_1(source, header) else 40)
    width, height = uint_be(source, matrix + 36, 4) >> 16, uint_be(source, matrix + 40, 4) >> 16
    if not width or not height:
        width, height = _coded_size(source, media)
    is_turned = uint_be(source, matrix, 4) == 0 and uint_be(source, matrix + 16, 4) == 0
    return (height, width) if is_turned else (width, height)


def _coded_size(source: ByteSource, media: Box) -> tuple[int, int]:
    """The size in the first sample description, for tracks that leave out their own."""
    table = child(source, child(source, media, b"minf"), b"stbl")
    samples = child(source, table, b"stsd")
    width, height = uint_be(source, samples.start + 40, 2), uint_be(source, samples.start + 42, 2)
    if not width or not height:
        raise Unreadable("no size")
    return width, height


# Identifiers of EBML elements: RFC 8794 has the first one, RFC 9559 those of WebM.
_EBML = 0x1A45DFA3
_SEGMENT = 0x18538067
_INFO = 0x1549A966
_TRACKS = 0x1654AE6B
_CLUSTER = 0x1F43B675
_TIMESTAMP_SCALE, _DURATION = 0x2AD7B1, 0x4489
_TRACK_ENTRY, _TRACK_TYPE, _VIDEO = 0xAE, 0x83, 0xE0
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xB0, 0xBA
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
_SIDES = (_PIXEL_WIDTH, _PIXEL_HEIGHT, _DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT)

_VIDEO_TRACK = 1  # a track type
_IN_PIXELS = 0  # a display unit; with any other the display size is only a ratio
_USUAL_SCALE = 1_000_000  # nanoseconds per tick


class _Element(NamedTuple):
    kind: int  # its identifier
    start: int  # of the content
    stop: int


def webm_info(source: ByteSource) -> VideoInfo:
    """What the headers of *source*, WebM, say before its first cluster. Raises Unreadable."""
    header = _element(source, 0, len(source))
    segment = _element(source, header.stop, len(source))
    if header.kind != _EBML or segment.kind != _SEGMENT:
        raise Unreadable("no WebM")
    size = duration = None
    for element in _children(source, segment):
        if element.kind == _CLUSTER:
            break
        if element.kind == _INFO:
            duration = _segment_duration(source, element)
        elif element.kind == _TRACKS:
            size = _first_video_size(source, element)
    return VideoInfo(size, duration)


def _element(source: ByteSource, at: int, stop: int) -> _Element:
    """The element at *at*, in one that ends at *stop*."""
    kind_size = 9 - bytes_at(source, at, 1)[0].bit_length()
    length_size = 9 - bytes_at(source, at + kind_size, 1)[0].bit_length()
    if kind_size > 4 or length_size > 8:
        raise Unreadable("no element")
    start = at + kind_size + length_size
    unknown = (1 << 7 * length_size) - 1  # all ones: the element ends with the one that it is in
    length = uint_be(source, at + kind_size, length_size) & unknown
    end = stop if length == unknown else min(start + length, stop)
    return _Element(uint_be(source, at, kind_size), start, end)


def _children(source: ByteSource, parent: _Element) -> Iterator[_Element]:
    at = parent.start
    for _ in range(_MAX_ELEMENTS):
        if at >= parent.stop:
            return
        element = _element(source, at, parent.stop)
        yield element
        at = element.stop


def _segment_duration(source: ByteSource, info: _Element) -> int | None:
    scale, ticks = _USUAL_SCALE, 0.0
    for element in _children(source, info):
        size = element.stop - element.start
        if element.kind == _TIMESTAMP_SCALE:
            scale = _uint(source, element)
        elif element.kind == _DURATION and size in (4, 8):
            content = bytes_at(source, element.start, size)
            (ticks,) = struct.unpack(">f" if size == 4 else ">d", content)
    if not math.isfinite(ticks) or not 0 < ticks < 2**63:
        return None
    return _milliseconds(int(ticks * scale), 1_000_000_000)


def _first_video_size(source: ByteSource, tracks: _Element) -> tuple[int, int] | None:
    for element in _children(source, tracks):
        if element.kind == _TRACK_ENTRY:
            size = _video_size(source, element)
            if size is not None:
                return size
    return None


def _video_size(source: ByteSource, track: _Element) -> tuple[int, int] | None:
    parts = {element.kind: element for element in _children(source, track)}
    if _VIDEO not in parts or _TRACK_TYPE not in parts:
        return None
    if _uint(source, parts[_TRACK_TYPE]) != _VIDEO_TRACK:
        return None
    sides = {
        element.kind: _uint(source, element)
        for element in _children(source, parts[_VIDEO])
        if element.kind in _SIDES
    }
    width, height = sides.get(_PIXEL_WIDTH, 0), sides.get(_PIXEL_HEIGHT, 0)
    if sides.get(_DISPLAY_UNIT, _IN_PIXELS) == _IN_PIXELS:
        width, height = sides.get(_DISPLAY_WIDTH, width), sides.get(_DISPLAY_HEIGHT, height)
    return (width, height) if width and height else None


def _uint(source: ByteSource, element: _Element) -> int:
    if element.stop - element.start > 8:
        raise Unreadable("a number of more than 8 bytes")
    return uint_be(source, element.start, element.stop - element.start)


def _milliseconds(ticks: int, per_second: int) -> int | None:
    if not ticks or not per_second:
        return None
    duration = (ticks * 1000 + per_second // 2) // per_second
    return duration if duration <= _MAX_MS else None
