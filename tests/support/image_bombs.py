"""Decompression bombs: pictures that are small to send and large or slow to decode."""

import io
import struct
import zlib

from PIL import Image
from support import media


def flat_png(width: int, height: int, depth: int = 1, colours: int = 1) -> bytes:
    """A PNG of zeros; *colours* per pixel is 1, 2, 3 or 4."""
    row = bytes(1 + (width * depth * colours + 7) // 8)
    packer = zlib.compressobj(1)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[colours]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + media.chunk(b"IHDR", header)
        + media.chunk(b"IDAT", pixels)
        + media.chunk(b"IEND", b"")
    )


def frames(form: str, size: tuple[int, int], count: int) -> bytes:
    """An animation of *count* frames of *size* that differ in a few pixels."""
    pictures = [Image.new("P", size) for _ in range(count)]
    for index, picture in enumerate(pictures):
        picture.putpalette([0, 0, 0, 255, 255, 255] * 8)
        picture.putpixel((index % size[0], index // size[0] % size[1]), 1)
    output = io.BytesIO()
    pictures[0].save(output, form, save_all=True, append_images=pictures[1:], duration=20, loop=0)
    return output.getvalue()


def gif_flood(count: int, side: int = 5000) -> bytes:
    """A GIF with a large screen and *count* frames of a pixel."""
    frame = b"\x2c\0\0\0\0\1\0\1\0\0\x02\x02\x44\x01\0"
    return (
        b"GIF89a"
        + struct.pack("<HH", side, side)
        + b"\x80\0\0\0\0\0\xff\xff\xff"
        + (b"\x21\xf9\x04\0\x02\0\0\0" + frame) * count
        + b";"
    )


def scan_flood(side: int, count: int) -> bytes:
    """A progressive JPEG of *side* by *side* pixels with *count* scans."""
    output = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(output, "JPEG", progressive=True)
    data = output.getvalue()
    frame = data.index(b"\xff\xc2")
    data = data[: frame + 5] + struct.pack(">HH", side, side) + data[frame + 9 :]
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"


def noted_png() -> bytes:
    """A PNG whose compressed text and colour profile are 50 MB of zeros each."""
    zeros = zlib.compress(bytes(50_000_000), 9)
    return media.png(
        8,
        8,
        media.chunk(b"iCCP", b"icc\0\0" + zeros),
        media.chunk(b"zTXt", b"Comment\0\0" + zeros),
    )


_MADE = {
    "60,000 x 60,000 pixels": ("image/png", lambda: flat_png(60_000, 60_000)),
    "the most pixels, of 64 bits": ("image/png", lambda: flat_png(7000, 7000, 16, 4)),
    "the most pixels, of a GIF": ("image/gif", lambda: frames("GIF", (7000, 7000), 2)),
    "the most pixels, of a WebP": ("image/webp", lambda: frames("WEBP", (7000, 7000), 1)),
    "many large frames": ("image/gif", lambda: frames("GIF", (2000, 1000), 100)),
    "many frames of an animated PNG": ("image/png", lambda: frames("PNG", (500, 500), 290)),
    "200,000 frames": ("image/gif", lambda: gif_flood(200_000)),
    "a jpeg of another size": ("image/jpeg", lambda: scan_flood(60_000, 1)),
    "4,000 scans": ("image/jpeg", lambda: scan_flood(7000, 4000)),
    "text and profile": ("image/png", noted_png),
}
NAMES = frozenset(_MADE)


def all_bombs() -> dict[str, tuple[str, bytes]]:
    """All bombs by name: media type and bytes, below 5 MiB."""
    return {name: (mime_type, make()) for name, (mime_type, make) in _MADE.items()}
