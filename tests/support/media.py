"""Images and videos of a few bytes: headers as their standards say, without contents."""

import struct
import zlib


def tiff(
    *, orientation: int | None = None, gps: dict[int, bytes] | None = None, order: str = "<"
) -> bytes:
    """EXIF data. *gps* maps tags to values packed by `rationals` in the same *order*."""
    entries = (
        [] if orientation is None else [(0x0112, 3, 1, struct.pack(order + "HH", orientation, 0))]
    )
    count = len(entries) + (gps is not None)
    gps_at = 8 + 2 + 12 * count + 4
    if gps is not None:
        entries.append((0x8825, 4, 1, struct.pack(order + "I", gps_at)))
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    data += _directory(entries, order)
    if gps is not None:
        values_at = gps_at + 2 + 12 * len(gps) + 4
        found, values = [], b""
        for tag, value in gps.items():
            found.append(
                (tag, 5, len(value) // 8, struct.pack(order + "I", values_at + len(values)))
            )
            values += value
        data += _directory(found, order) + values
    return data


def rationals(*pairs: tuple[int, int], order: str = "<") -> bytes:
    return b"".join(struct.pack(order + "II", *pair) for pair in pairs)


def _directory(entries, order: str) -> bytes:
    rows = b"".join(
        struct.pack(order + "HHI", tag, kind, count) + value for tag, kind, count, value in entries
    )
    return struct.pack(order + "H", len(entries)) + rows + bytes(4)


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg(
    width: int, height: int, *segments: bytes, frame: int = 0xC0, before: bytes = b""
) -> bytes:
    start_of_frame = segment(frame, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
    return (
        b"\xff\xd8"
        + b"".join(segments)
        + before
        + start_of_frame
        + segment(0xDA, b"\1\1\0\0\x3f\0")
        + b"\xff\xd9"
    )


def exif_segment(data: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + data)


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";"


def riff(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def webp(*chunks: bytes) -> bytes:
    return riff(b"RIFF", b"WEBP" + b"".join(chunks))


def vp8(width: int, height: int) -> bytes:
    return riff(
        b"VP8 ", b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width | 0x4000, height | 0x8000)
    )


def vp8l(width: int, height: int) -> bytes:
    return riff(b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14))


def vp8x(width: int, height: int, flags: int = 0) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return riff(b"VP8X", bytes([flags, 0, 0, 0]) + sides)


def box(kind: bytes, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return struct.pack(">I", 8 + len(content)) + kind + content


def wide_box(kind: bytes, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return struct.pack(">I4sQ", 1, kind, 16 + len(content)) + content


UPRIGHT = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
QUARTER_TURN = (0, 0x10000, 0, 0xFFFF0000, 0, 0, 0, 0, 0x40000000)


def movie_header(scale: int, duration: int, version: int = 0) -> bytes:
    if version:
        return box(b"mvhd", struct.pack(">B3xQQIQ", 1, 0, 0, scale, duration), bytes(80))
    return box(b"mvhd", struct.pack(">B3xIIII", 0, 0, 0, scale, duration), bytes(80))


def track(
    width: int,
    height: int,
    *,
    matrix=UPRIGHT,
    handler: bytes = b"vide",
    version: int = 0,
    coded=(0, 0),
) -> bytes:
    times = 32 if version else 20
    header = bytes([version, 0, 0, 7]) + bytes(times + 16) + struct.pack(">9I", *matrix)
    entry = bytes(8) + box(b"avc1", bytes(24), struct.pack(">HH", *coded), bytes(50))
    return box(
        b"trak",
        box(b"tkhd", header, struct.pack(">II", width << 16, height << 16)),
        box(
            b"mdia",
            box(b"hdlr", bytes(8), handler, bytes(13)),
            box(b"minf", box(b"stbl", box(b"stsd", entry))),
        ),
    )


def mp4(*boxes: bytes) -> bytes:
    return box(b"ftyp", b"isom\0\0\2\0isommp41") + b"".join(boxes)


def heif(
    *properties: bytes, brand: bytes = b"heic", version: int = 0, behind: bytes = b""
) -> bytes:
    """A HEIC or AVIF whose second item, with *properties*, is the one that is shown."""
    number = ">I" if version else ">H"
    flag = 1 if version else 0
    width = ">H" if version else ">B"
    indices = b"".join(struct.pack(width, 2 + index) for index in range(len(properties)))
    associations = (
        struct.pack(number, 1)
        + b"\1"
        + struct.pack(width, 1)
        + struct.pack(number, 2)
        + bytes([len(properties)])
        + indices
    )
    return (
        box(b"ftyp", brand, bytes(4), b"mif1", brand)
        + box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", bytes([version, 0, 0, 0]), struct.pack(number, 2)),
            box(
                b"iprp",
                box(b"ipco", extents(9, 9), *properties),
                box(b"ipma", bytes([version, 0, 0, flag]), struct.pack(">I", 2), associations),
            ),
        )
        + behind
    )


def extents(width: int, height: int) -> bytes:
    return box(b"ispe", bytes(4), struct.pack(">II", width, height))


def element(identifier: str, *contents: bytes, unknown: bool = False) -> bytes:
    content = b"".join(contents)
    size = b"\x01" + (b"\xff" * 7 if unknown else len(content).to_bytes(7, "big"))
    return bytes.fromhex(identifier) + size + content


def number(identifier: str, value: int) -> bytes:
    return element(identifier, value.to_bytes(2, "big"))


def webm(*contents: bytes, unknown: bool = False) -> bytes:
    head = element("1A45DFA3", element("4282", b"webm"))
    return head + element("18538067", *contents, unknown=unknown)


def webm_video(width: int, height: int, *more: bytes) -> bytes:
    picture = element("E0", number("B0", width), number("BA", height), *more)
    return element(
        "1654AE6B", element("AE", number("83", 2)), element("AE", number("83", 1), picture)
    )
