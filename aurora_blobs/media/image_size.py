"""The sizes of JPEG, PNG, GIF and WebP images, as shown, from their headers alone."""

from aurora_blobs.media import exif
from aurora_blobs.media.byte_source import ByteSource, Unreadable, bytes_at, uint_be, uint_le

_MAX_SEGMENTS = 2000  # of a JPEG before its image data; a guess, cameras write under 40
_MAX_CHUNKS = 2000  # of a PNG before its image data; of a WebP in all, where each frame is one
# JPEG markers, ITU T.81, table B.1
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKERS_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))
_APP1, _START_OF_SCAN, _END_OF_IMAGE = 0xE1, 0xDA, 0xD9
_EXIF_FLAG = 0x08  # in VP8X

Size = tuple[int, int]


def jpeg_size(source: ByteSource) -> Size:
    """Width and height in pixels, EXIF orientation applied. Raises Unreadable.

    ITU T.81, annex B.
    """
    if source[:2] != b"\xff\xd8":
        raise Unreadable("no JPEG")
    at, size, orientation = 2, None, 1
    for _ in range(_MAX_SEGMENTS):
        head = source[at : at + 4]
        if len(head) < 4 or head[0] != 0xFF or head[1] in (_START_OF_SCAN, _END_OF_IMAGE):
            break
        if head[1] == 0xFF:  # any marker may be preceded by fill bytes
            at += 1
            continue
        if head[1] in _MARKERS_WITHOUT_LENGTH:
            at += 2
            continue
        if head[1] in _FRAME_MARKERS and size is None:
            size = uint_be(source, at + 7, 2), uint_be(source, at + 5, 2)
        elif head[1] == _APP1 and orientation == 1 and source[at + 4 : at + 10] == exif.HEADER:
            orientation = exif.orientation(source[at + 4 : at + 2 + int.from_bytes(head[2:])])
        at += 2 + int.from_bytes(head[2:])
    return _upright(size, orientation)


def png_size(source: ByteSource) -> Size:
    """Width and height in pixels, EXIF orientation applied. Raises Unreadable.

    PNG 3rd edition, 5 and 11.
    """
    if source[:8] != b"\x89PNG\r\n\x1a\n" or source[12:16] != b"IHDR":
        raise Unreadable("no PNG")
    size = uint_be(source, 16, 4), uint_be(source, 20, 4)
    at = 33
    for _ in range(_MAX_CHUNKS):
        head = source[at : at + 8]
        if len(head) < 8 or head[4:] in (b"IDAT", b"IEND"):
            break
        length = int.from_bytes(head[:4])
        if head[4:] == b"eXIf":
            return _upright(size, exif.orientation(source[at + 8 : at + 8 + length]))
        at += 12 + length
    return _upright(size, 1)


def gif_size(source: ByteSource) -> Size:
    """Width and height of the screen in pixels. Raises Unreadable. GIF89a, 18."""
    if source[:6] not in (b"GIF87a", b"GIF89a"):
        raise Unreadable("no GIF")
    return _upright((uint_le(source, 6, 2), uint_le(source, 8, 2)), 1)


def webp_size(source: ByteSource) -> Size:
    """Width and height of the canvas in pixels, EXIF orientation applied. Raises Unreadable.

    RFC 9649.
    """
    if source[:4] != b"RIFF" or source[8:12] != b"WEBP":
        raise Unreadable("no WebP")
    kind = source[12:16]
    if kind == b"VP8 ":
        if source[23:26] != b"\x9d\x01\x2a":
            raise Unreadable("no VP8 key frame")
        return _upright((uint_le(source, 26, 2) & 0x3FFF, uint_le(source, 28, 2) & 0x3FFF), 1)
    if kind == b"VP8L":
        if source[20:21] != b"\x2f":
            raise Unreadable("no VP8L signature")
        bits = uint_le(source, 21, 4)
        return _upright(((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1), 1)
    if kind != b"VP8X":
        raise Unreadable("no WebP chunk that has a size")
    size = uint_le(source, 24, 3) + 1, uint_le(source, 27, 3) + 1
    has_exif = bytes_at(source, 20, 1)[0] & _EXIF_FLAG
    return _upright(size, _webp_orientation(source) if has_exif else 1)


def _webp_orientation(source: ByteSource) -> int:
    at = 12
    for _ in range(_MAX_CHUNKS):
        head = source[at : at + 8]
        if len(head) < 8:
            break
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF":
            return exif.orientation(source[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    return 1


def _upright(size: Size | None, orientation: int) -> Size:
    if size is None or 0 in size:
        raise Unreadable("no size")
    return size[::-1] if orientation in exif.SIDEWAYS else size
