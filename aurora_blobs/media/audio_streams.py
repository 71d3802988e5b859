"""Sound without a container: tags in front of it, and frames that follow each other."""

import re
from struct import Struct

_MAX_TAGS = 8  # in front of the sound; a guess, files have one or two
_ID3 = re.compile(rb"ID3[\x02-\x04][^\xff].([\0-\x7f]{4})", re.DOTALL)
_ID3_HEADER = 10  # https://id3.org/id3v2.4.0-structure
_APE_TAG = Struct("<8sIIII8x")  # https://wiki.hydrogenaud.io/index.php?title=APE_Tags_Header

# ISO/IEC 11172-3 and 13818-3, by layer: kbit/s of each index, in MPEG-1 and in MPEG-2 and 2.5.
_BITRATES_1 = {
    1: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_LOW_BITRATES = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_BITRATES_2 = {
    1: (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: _LOW_BITRATES,
    3: _LOW_BITRATES,
}
_SAMPLING_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def tags_end(head: bytes) -> int:
    """Where the ID3 and APE tags end with which *head* begins; it may be beyond *head*."""
    if not head.startswith((b"ID3", b"APETAGEX")):
        return 0
    at = 0
    for _ in range(_MAX_TAGS):
        size = _tag_size(head[at : at + _APE_TAG.size])
        if not size:
            break
        at += size
    return at


def _tag_size(start: bytes) -> int:
    if (tag := _ID3.match(start)) is not None:
        size = 0
        for seven_bits in tag[1]:
            size = size << 7 | seven_bits
        has_footer = start[3] == 4 and start[5] & 0x10
        return _ID3_HEADER + size + (_ID3_HEADER if has_footer else 0)
    if len(start) == _APE_TAG.size:
        name, version, size, _, flags = _APE_TAG.unpack(start)
        if name == b"APETAGEX" and version in (1000, 2000) and flags & 1 << 29:
            return _APE_TAG.size + int(size)
    return 0


def frames_type(head: bytes) -> str | None:
    """The type of MPEG audio, AAC or AC-3 frames with which *head* begins; None if it does not.

    Where the second frame is in *head* too, it has to be one. UTF-16 begins like a frame.
    """
    for mime_type, frame_size in _FRAME_SIZES:
        size = frame_size(head)
        if size is None:
            continue
        rest = head[size : size + 8]
        if size == 0 or len(rest) < 8 or frame_size(rest) is not None:
            return mime_type
    return None


def _mpeg_frame_size(frame: bytes) -> int | None:
    """Bytes of the MPEG audio frame at the start of *frame*; 0 where the frame does not say."""
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0 or frame[1] == 0xFE:
        return None
    version, layer = frame[1] >> 3 & 3, 4 - (frame[1] >> 1 & 3)
    index, rate_index = frame[2] >> 4, frame[2] >> 2 & 3
    if version == 1 or layer == 4 or index == 15 or rate_index == 3:
        return None
    padding = frame[2] >> 1 & 1
    rate = _SAMPLING_RATES[version][rate_index]
    bits = 1000 * (_BITRATES_1 if version == 3 else _BITRATES_2)[layer][index]
    if bits == 0:
        return 0
    if layer == 1:
        return (12 * bits // rate + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits // rate + padding


def _aac_frame_size(frame: bytes) -> int | None:
    # ADTS, ISO/IEC 13818-7, 6.2
    if len(frame) < 7 or frame[0] != 0xFF or frame[1] & 0xF6 != 0xF0 or frame[2] >> 2 & 15 > 12:
        return None
    size = (frame[3] & 3) << 11 | frame[4] << 3 | frame[5] >> 5
    return size if size >= 7 else None


def _ac3_frame_size(frame: bytes) -> int | None:
    # ETSI TS 102 366, 4.3 and E.1.2
    if len(frame) < 6 or frame[:2] != b"\x0b\x77":
        return None
    stream_id = frame[5] >> 3
    if stream_id > 10:
        return None if stream_id > 16 else 2 * ((frame[2] & 7) << 8 | frame[3]) + 2
    if frame[4] >> 6 == 3 or frame[4] & 63 > 37:
        return None
    return 0  # it is in a table of 114 numbers


_FRAME_SIZES = (
    ("audio/mpeg", _mpeg_frame_size),
    ("audio/aac", _aac_frame_size),
    ("audio/vnd.dolby.dd-raw", _ac3_frame_size),
)
