"""The sizes of JPEG, PNG, GIF and WebP, as shown, from their headers alone."""

from aurora_blobs.media import exif
from aurora_blobs.media.byte_source import Data, Unreadable, big, little, part

_MAX_SEGMENTS = 2000  # of a JPEG before its picture data; a guess, cameras write under 40
_MAX_CHUNKS = 2000  # of a PNG before its picture data, of a WebP altogether (each frame is one)
_TRANSPOSED = 5  # orientations from here on swap width and height
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF markers, ITU T.81, table B.1
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))
_EXIF_FLAG = 0x08  # in VP8X

Size = tuple[int, int]


def jpeg_size(data: Data) -> Size:
    """Width and height in pixels, EXIF orientation applied. Raises Unreadable. ITU T.81, annex B."""
    if data[:2] != b"\xff\xd8":
        raise Unreadable("no JPEG")
    at, size, turn = 2, None, 1
    for _ in range(_MAX_SEGMENTS):
        head = data[at : at + 4]
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xDA, 0xD9):
            break
        if head[1] == 0xFF:  # any marker may be preceded by fill bytes
            at += 1
            continue
        if head[1] in _WITHOUT_LENGTH:
            at += 2
            continue
        if head[1] in _FRAMES and size is None:
            size = big(data, at + 7, 2), big(data, at + 5, 2)
        elif head[1] == 0xE1 and turn == 1 and data[at + 4 : at + 10] == exif.HEADER:
            turn = exif.orientation(data[at + 4 : at + 2 + int.from_bytes(head[2:])])
        at += 2 + int.from_bytes(head[2:])
    return _upright(size, turn)


def png_size(data: Data) -> Size:
    """Width and height in pixels, EXIF orientation applied. Raises Unreadable. PNG 3rd edition, 5 and 11."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        raise Unreadable("no PNG")
    size = big(data, 16, 4), big(data, 20, 4)
    at = 33
    for _ in range(_MAX_CHUNKS):
        head = data[at : at + 8]
        if len(head) < 8 or head[4:] in (b"IDAT", b"IEND"):
            break
        length = int.from_bytes(head[:4])
        if head[4:] == b"eXIf":
            return _upright(size, exif.orientation(data[at + 8 : at + 8 + length]))
        at += 12 + length
    return _upright(size, 1)


def gif_size(data: Data) -> Size:
    """Width and height of the screen in pixels. Raises Unreadable. GIF89a, 18."""
    if data[:6] not in (b"GIF87a", b"GIF89a"):
        raise Unreadable("no GIF")
    return _upright((little(data, 6, 2), little(data, 8, 2)), 1)


def webp_size(data: Data) -> Size:
    """Width and height of the canvas in pixels, EXIF orientation applied. Raises Unreadable. RFC 9649."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise Unreadable("no WebP")
    kind = data[12:16]
    if kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            raise Unreadable("no VP8 key frame")
        return _upright((little(data, 26, 2) & 0x3FFF, little(data, 28, 2) & 0x3FFF), 1)
    if kind == b"VP8L":
        if data[20:21] != b"\x2f":
            raise Unreadable("no VP8L signature")
        bits = little(data, 21, 4)
        return _upright(((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1), 1)
    if kind != b"VP8X":
        raise Unreadable("no WebP chunk that has a size")
    size = little(data, 24, 3) + 1, little(data, 27, 3) + 1
    return _upright(size, _webp_orientation(data) if part(data, 20, 1)[0] & _EXIF_FLAG else 1)


def _webp_orientation(data: Data) -> int:
    at = 12
    for _ in range(_MAX_CHUNKS):
        head = data[at : at + 8]
        if len(head) < 8:
            break
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF":
            return exif.orientation(data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    return 1


def _upright(size: Size | None, orientation: int) -> Size:
    if size is None or 0 in size:
        raise Unreadable("no size")
    return size[::-1] if orientation >= _TRANSPOSED else size
