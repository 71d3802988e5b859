"""Files with and without a position: every place where one can stand, in every container."""

import struct
import zlib
from collections.abc import Callable, Iterator

import brotli
from support import media

FIX, NO_FIX = ((52, 1), (31, 1), (0, 1)), ((0, 0), (0, 0), (0, 0))
_POINTER_TYPES = {"byte": 1, "short": 3, "long": 4, "signed": 9, "ifd": 13}
_NUMBERS = {1: "B3x", 3: "H2x", 4: "I", 9: "i", 13: "I"}
_GPS_IFD = 0x8825


def tiff(order: str = "<", pointer: str = "long", fix=FIX, *, in_second: bool = False) -> bytes:
    """EXIF whose pointer to a position is of the type *pointer*, perhaps *in_second* directory."""
    kind = _POINTER_TYPES[pointer]
    first_at = 8 + 18 if in_second else 8
    gps_at = first_at + 18
    entry = struct.pack(order + "HHI" + _NUMBERS[kind], _GPS_IFD, kind, 1, gps_at)
    values = media.rationals(*fix, order=order)
    values_at = gps_at + 2 + 2 * 12 + 4
    gps = struct.pack(order + "H", 2)
    for tag in (2, 4):
        gps += struct.pack(order + "HHII", tag, 5, 3, values_at)
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    if in_second:
        turned = struct.pack(order + "HHIHH", 0x0112, 3, 1, 6, 0)
        data += struct.pack(order + "H", 1) + turned + struct.pack(order + "I", first_at)
    return data + struct.pack(order + "H", 1) + entry + bytes(4) + gps + bytes(4) + values


def _exifs(fix) -> dict[str, bytes]:
    return {
        f"exif, {'little' if order == '<' else 'big'} endian, {pointer}": tiff(order, pointer, fix)
        for order in "<>"
        for pointer in _POINTER_TYPES
    } | {"exif, second directory": tiff(fix=fix, in_second=True)}


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description %s</x:xmpmeta>'
XMPS = {
    "xmp attribute": XMP % b'exif:GPSLatitude="52,31.0N"/>',
    "xmp element": XMP % b"><exif:GPSLongitude>13,24.0E</exif:GPSLongitude></rdf:Description>",
    "xmp of a drone": XMP % b"drone-dji:GpsLongtitude='+13.40'/>",
    "c2pa": b'{"@context": {}, "exif:GPSLatitude": "52,31.0N"}',
}
XMPS_WITHOUT = {
    "xmp, empty": XMP % b'exif:GPSLatitude=""/>',
    "xmp, a text about it": XMP % b"/>we removed GPSLatitude and GPSLongitude: nobody asked",
}


def _split_xmp(xmp: bytes) -> bytes:
    """XMP in two segments of a JPEG, whose border is in the middle of the property's name."""
    middle = xmp.index(b"GPS" if b"GPS" in xmp else b"Gps") + 5
    segments = [
        media.segment(
            0xE1,
            b"http://ns.adobe.com/xmp/extension/\0"
            + b"0" * 32
            + struct.pack(">II", len(xmp), offset)
            + part,
        )
        for offset, part in ((middle, xmp[middle:]), (0, xmp[:middle]))
    ]
    return media.jpeg(8, 8, *segments)


def _hex(data: bytes) -> bytes:
    return b"\nexif\n%8d\n" % len(data) + data.hex(" ", 36).replace(" ", "\n").encode()


def jxl(*boxes: bytes) -> bytes:
    return (
        media.box(b"JXL ", b"\r\n\x87\n")
        + media.box(b"ftyp", b"jxl \0\0\0\0jxl ")
        + b"".join(boxes)
        + media.box(b"jxlc", b"\xff\x0a")
    )


def brob(kind: bytes, content: bytes) -> bytes:
    return jxl(media.box(b"brob", kind, brotli.compress(content)))


def _tiff_with_xmp(xmp: bytes) -> bytes:
    entry = struct.pack("<HHII", 700, 1, len(xmp), 26)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4) + xmp


Wrap = Callable[[bytes], bytes]
_JPEG, _PNG, _WEBP, _HEIC, _AVIF, _JXL = (
    f"image/{name}" for name in ("jpeg", "png", "webp", "heic", "avif", "jxl")
)
_SIZE = media.extents(8, 8)
_VP8X = media.vp8x(8, 8, 8)
IN_EXIF: dict[str, tuple[str, Wrap]] = {
    "jpeg": (_JPEG, lambda data: media.jpeg(8, 8, media.exif_segment(data))),
    "jpeg behind a jpeg": (
        _JPEG,
        lambda data: media.jpeg(8, 8) + media.jpeg(8, 8, media.exif_segment(data)),
    ),
    "png": (_PNG, lambda data: media.png(8, 8, media.chunk(b"eXIf", data))),
    "apng": ("image/apng", lambda data: media.png(8, 8, media.chunk(b"eXIf", data))),
    "png text": (
        _PNG,
        lambda data: media.png(8, 8, media.chunk(b"tEXt", b"Raw profile type exif\0" + _hex(data))),
    ),
    "png compressed text": (
        _PNG,
        lambda data: media.png(
            8,
            8,
            media.chunk(b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(_hex(data))),
        ),
    ),
    "webp": (_WEBP, lambda data: media.webp(_VP8X, media.vp8(8, 8), media.riff(b"EXIF", data))),
    "heic": (
        _HEIC,
        lambda data: media.heif(_SIZE, behind=media.box(b"mdat", b"\0\0\0\6Exif\0\0", data)),
    ),
    "avif": (
        _AVIF,
        lambda data: media.heif(_SIZE, brand=b"avif", behind=media.box(b"mdat", bytes(4), data)),
    ),
    "jxl": (_JXL, lambda data: jxl(media.box(b"Exif", bytes(4), data))),
    "jxl, compressed": (_JXL, lambda data: brob(b"Exif", bytes(4) + data)),
    "tiff": ("image/tiff", lambda data: data),
}
IN_XMP: dict[str, tuple[str, Wrap]] = {
    "jpeg": (
        _JPEG,
        lambda xmp: media.jpeg(8, 8, media.segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp)),
    ),
    "jpeg, in parts": (_JPEG, _split_xmp),
    "png": (
        _PNG,
        lambda xmp: media.png(8, 8, media.chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)),
    ),
    "png, compressed": (
        _PNG,
        lambda xmp: media.png(
            8, 8, media.chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp))
        ),
    ),
    "webp": (_WEBP, lambda xmp: media.webp(_VP8X, media.vp8(8, 8), media.riff(b"XMP ", xmp))),
    "gif": (
        "image/gif",
        lambda xmp: media.gif(8, 8)[:-1] + b"\x21\xff\x0bXMP DataXMP" + xmp + b"\1\0\0;",
    ),
    "heic": (_HEIC, lambda xmp: media.heif(_SIZE, behind=media.box(b"mdat", xmp))),
    "avif": (_AVIF, lambda xmp: media.heif(_SIZE, brand=b"avif", behind=media.box(b"mdat", xmp))),
    "jxl": (_JXL, lambda xmp: jxl(media.box(b"xml ", xmp))),
    "jxl, compressed": (_JXL, lambda xmp: brob(b"xml ", xmp)),
    "tiff": ("image/tiff", _tiff_with_xmp),
    "svg": ("image/svg+xml", lambda xmp: b"<svg><metadata>" + xmp + b"</metadata></svg>"),
}


def text_box(text: bytes) -> bytes:
    return media.box(b"\xa9xyz", struct.pack(">HH", len(text), 0x15C7), text)


def sample_entry(kind: bytes, content: bytes = b"") -> bytes:
    table = media.box(b"stsd", bytes(4), struct.pack(">I", 1), media.box(kind, bytes(8), content))
    return media.box(b"trak", media.box(b"mdia", media.box(b"minf", media.box(b"stbl", table))))


def key(name: bytes) -> bytes:
    return media.box(b"keys", bytes(4), struct.pack(">I", 1), media.box(b"mdta", name))


def item(value: bytes) -> bytes:
    data = media.box(b"data", struct.pack(">II", 1, 0), value)
    return media.box(b"ilst", media.box(b"\0\0\0\1", data))


HANDLER = media.box(b"hdlr", bytes(24))
_XMP_ID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
MOVIES = {
    "udta of the movie": media.box(b"udta", text_box(b"+52.5200+013.4050/")),
    "udta of a track": media.box(b"trak", media.box(b"udta", text_box(b"+52.5+013.4/"))),
    "loci": media.box(b"udta", media.box(b"loci", bytes(20))),
    "loci of a track": media.box(b"trak", media.box(b"udta", media.box(b"loci", bytes(20)))),
    "keys of apple": media.box(b"meta", HANDLER, key(b"com.apple.quicktime.location.ISO6709")),
    "keys of ffmpeg": media.box(b"udta", media.box(b"meta", bytes(4), HANDLER, key(b"location"))),
    "keys of ffmpeg, with a language": media.box(b"meta", bytes(4), HANDLER, key(b"location-eng")),
    "a value of another key": media.box(
        b"meta", HANDLER, key(b"com.example.where") + item(b"+52.5200+013.4050+034.000CRSWGS_84/")
    ),
    "item list": media.box(
        b"udta",
        media.box(b"meta", bytes(4), HANDLER, media.box(b"ilst", text_box(b"+52.5+013.4/"))),
    ),
    "a track of places": sample_entry(b"mebx", b"com.apple.quicktime.location.ISO6709"),
    "a track of an action camera": sample_entry(b"gpmd"),
    "a track of a street camera": sample_entry(b"camm"),
    "a dashcam's box": media.box(b"gps ", bytes(16)),
    "xmp of an identified box": media.box(b"uuid", _XMP_ID, XMPS["xmp element"]),
    "xmp of the movie": media.box(b"udta", media.box(b"XMP_", XMPS["xmp attribute"])),
}
MOVIES_WITHOUT = {
    "nothing": media.track(8, 8),
    "an empty text": media.box(b"udta", text_box(b"")),
    "keys": media.box(b"meta", HANDLER, key(b"com.apple.quicktime.make"), item(b"+49 30 1234567")),
    "a key that begins alike": media.box(b"meta", HANDLER, key(b"locations-of-nobody")),
}
_FILM_TYPES = {
    b"isom": "video/mp4",
    b"mp42": "video/mp4",
    b"M4V ": "video/x-m4v",
    b"M4A ": "audio/x-m4a",
    b"3gp4": "video/3gpp",
    b"3g2a": "video/3gpp2",
    b"qt  ": "video/quicktime",
    b"mjp2": "video/mj2",
}


def film(boxes: bytes, brand: bytes = b"isom") -> bytes:
    return (
        media.box(b"ftyp", brand, bytes(4), brand)
        + media.box(b"mdat", bytes(500))
        + media.box(b"moov", media.movie_header(600, 900), boxes)
    )


IN_FILM: dict[str, tuple[str, Wrap]] = {
    brand.decode(): (mime_type, lambda boxes, brand=brand: film(boxes, brand))
    for brand, mime_type in _FILM_TYPES.items()
} | {
    "no brand": (
        "video/quicktime",
        lambda boxes: media.box(b"moov", media.movie_header(600, 900), boxes),
    ),
    "behind a jpeg": (_JPEG, lambda boxes: media.jpeg(8, 8) + film(boxes)),
    "behind a png": (_PNG, lambda boxes: media.png(8, 8) + film(boxes)),
    "behind a webp": (_WEBP, lambda boxes: media.webp(media.vp8(8, 8)) + film(boxes)),
    "behind a heic": (_HEIC, lambda boxes: media.heif(_SIZE, behind=film(boxes))),
    "in a heic": (
        _HEIC,
        lambda boxes: media.heif(_SIZE, behind=media.box(b"mpvd", film(boxes, b"qt  "))),
    ),
    "in an avif": (
        _AVIF,
        lambda boxes: media.heif(_SIZE, brand=b"avif", behind=media.box(b"mpvd", film(boxes))),
    ),
}


def with_a_position() -> Iterator[tuple[str, str, bytes]]:
    """A name, a media type and a file, for each place in each container."""
    yield from _variants(_exifs(FIX), IN_EXIF)
    yield from _variants(XMPS, IN_XMP)
    yield from _variants(MOVIES, IN_FILM)


def without_a_position() -> Iterator[tuple[str, str, bytes]]:
    """The same containers, with metadata that holds none."""
    yield from _variants(_exifs(NO_FIX), IN_EXIF)
    yield from _variants(XMPS_WITHOUT, IN_XMP)
    yield from _variants(MOVIES_WITHOUT, IN_FILM)


def _variants(
    places: dict[str, bytes], containers: dict[str, tuple[str, Wrap]]
) -> Iterator[tuple[str, str, bytes]]:
    for container, (mime_type, wrap) in containers.items():
        for place, content in places.items():
            yield f"{container}: {place}", mime_type, wrap(content)
