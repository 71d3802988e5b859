"""Width, height and duration of MP4, QuickTime and WebM, from a bounded walk through their boxes."""

import math
import struct
from collections.abc import Iterator
from typing import NamedTuple

from aurora_blobs.media.boxes import Box, boxes, inside
from aurora_blobs.media.byte_source import Data, Unreadable, big, part

_MAX_ELEMENTS = 200  # side by side; films have under 30, before their first cluster
_MAX_MS = 10**12  # 30 years; longer is a damaged header


class Film(NamedTuple):
    """Size in pixels as shown; None where there is no picture, or no duration is written."""

    size: tuple[int, int] | None
    duration_ms: int | None


def mp4(data: Data) -> Film:
    """What *data*, MP4 or QuickTime, says in ``moov``. Raises Unreadable. ISO/IEC 14496-12, 8."""
    top: dict[bytes, Box] = {}
    for box in boxes(data, 0, len(data)):
        top.setdefault(box.kind, box)
    if b"moov" not in top:
        raise Unreadable("no movie")
    scale = duration = 0
    size = None
    for box in boxes(data, top[b"moov"].start, top[b"moov"].stop):
        if box.kind == b"mvhd":
            scale, duration = _clock(data, box)
        elif box.kind == b"mvex" and not duration:
            duration = _fragments(data, box)
        elif box.kind == b"trak" and size is None:
            size = _picture(data, box)
    if not duration and b"sidx" in top:
        scale, duration = _index(data, top[b"sidx"])
    return Film(size, _milliseconds(duration, scale))


def _clock(data: Data, box: Box) -> tuple[int, int]:
    wide = part(data, box.start, 1) == b"\1"
    scale = big(data, box.start + (20 if wide else 12), 4)
    duration = big(data, box.start + 24, 8) if wide else big(data, box.start + 16, 4)
    unknown = 2**64 - 1 if wide else 2**32 - 1
    return scale, 0 if duration == unknown else duration


def _fragments(data: Data, box: Box) -> int:
    for found in boxes(data, box.start, box.stop):
        if found.kind == b"mehd":
            return big(data, found.start + 4, 8 if part(data, found.start, 1) == b"\1" else 4)
    return 0


def _index(data: Data, box: Box) -> tuple[int, int]:
    at = box.start + (28 if part(data, box.start, 1) == b"\1" else 20)
    count = big(data, at + 2, 2)
    return big(data, box.start + 8, 4), sum(
        big(data, at + 8 + 12 * index, 4) for index in range(count)
    )


def _picture(data: Data, track: Box) -> tuple[int, int] | None:
    media = inside(data, track, b"mdia")
    handler = inside(data, media, b"hdlr")
    if part(data, handler.start + 8, 4) != b"vide":
        return None
    header = inside(data, track, b"tkhd")
    matrix = header.start + (52 if part(data, header.start, 1) == b"\1" else 40)
    width, height = big(data, matrix + 36, 4) >> 16, big(data, matrix + 40, 4) >> 16
    if not width or not height:
        width, height = _coded(data, media)
    turned = big(data, matrix, 4) == 0 and big(data, matrix + 16, 4) == 0
    return (height, width) if turned else (width, height)


def _coded(data: Data, media: Box) -> tuple[int, int]:
    """What the first sample description says: for tracks that leave their size out."""
    samples = inside(data, inside(data, inside(data, media, b"minf"), b"stbl"), b"stsd")
    width, height = big(data, samples.start + 40, 2), big(data, samples.start + 42, 2)
    if not width or not height:
        raise Unreadable("no size")
    return width, height


# EBML, RFC 8794; the elements of WebM, RFC 9559.
_HEAD, _SEGMENT, _INFO, _TRACKS, _CLUSTER = (
    0x1A45DFA3,
    0x18538067,
    0x1549A966,
    0x1654AE6B,
    0x1F43B675,
)
_SCALE, _DURATION = 0x2AD7B1, 0x4489
_TRACK, _TYPE, _VIDEO = 0xAE, 0x83, 0xE0
_PIXELS, _SHOWN, _UNIT = (0xB0, 0xBA), (0x54B0, 0x54BA), 0x54B2


def webm(data: Data) -> Film:
    """What *data*, WebM, says before its first cluster. Raises Unreadable."""
    head = _element(data, 0, len(data))
    segment = _element(data, head[2], len(data))
    if head[0] != _HEAD or segment[0] != _SEGMENT:
        raise Unreadable("no WebM")
    size = duration = None
    for kind, start, stop in _elements(data, segment[1], segment[2]):
        if kind == _CLUSTER:
            break
        if kind == _INFO:
            duration = _written_duration(data, start, stop)
        elif kind == _TRACKS:
            found = (
                _video(data, *track[1:])
                for track in _elements(data, start, stop)
                if track[0] == _TRACK
            )
            size = next(filter(None, found), None)
    return Film(size, duration)


def _element(data: Data, at: int, stop: int) -> tuple[int, int, int]:
    """The identifier of the element at *at*, and where its content starts and stops."""
    kind_size = 9 - part(data, at, 1)[0].bit_length()
    length_size = 9 - part(data, at + kind_size, 1)[0].bit_length()
    if kind_size > 4 or length_size > 8:
        raise Unreadable("no element")
    start = at + kind_size + length_size
    length = big(data, at + kind_size, length_size) & (1 << 7 * length_size) - 1
    # All ones is "unknown": it goes on to the end of what it is in.
    unknown = length == (1 << 7 * length_size) - 1
    return big(data, at, kind_size), start, stop if unknown else min(start + length, stop)


def _elements(data: Data, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    for _ in range(_MAX_ELEMENTS):
        if start >= stop:
            return
        element = _element(data, start, stop)
        yield element
        start = element[2]


def _written_duration(data: Data, start: int, stop: int) -> int | None:
    scale, ticks = 1_000_000, 0.0  # nanoseconds per tick
    for kind, first, last in _elements(data, start, stop):
        if kind == _SCALE:
            scale = _number(data, first, last)
        elif kind == _DURATION and last - first in (4, 8):
            (ticks,) = struct.unpack(
                ">f" if last - first == 4 else ">d", part(data, first, last - first)
            )
    if not math.isfinite(ticks) or not 0 < ticks < 2**63:
        return None
    return _milliseconds(int(ticks * scale), 1_000_000_000)


def _video(data: Data, start: int, stop: int) -> tuple[int, int] | None:
    found = {kind: (first, last) for kind, first, last in _elements(data, start, stop)}
    if _VIDEO not in found or _TYPE not in found or _number(data, *found[_TYPE]) != 1:
        return None
    sides = {
        kind: _number(data, first, last)
        for kind, first, last in _elements(data, *found[_VIDEO])
        if kind in (*_PIXELS, *_SHOWN, _UNIT)
    }
    width, height = (sides.get(kind, 0) for kind in _PIXELS)
    if sides.get(_UNIT, 0) == 0:  # the shown size is in pixels, else only a ratio
        width, height = sides.get(_SHOWN[0], width), sides.get(_SHOWN[1], height)
    return (width, height) if width and height else None


def _number(data: Data, start: int, stop: int) -> int:
    if stop - start > 8:
        raise Unreadable("a number of more than 8 bytes")
    return big(data, start, stop - start)


def _milliseconds(ticks: int, per_second: int) -> int | None:
    if not ticks or not per_second:
        return None
    duration = (ticks * 1000 + per_second // 2) // per_second
    return duration if duration <= _MAX_MS else None
