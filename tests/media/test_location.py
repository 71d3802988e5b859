import random
import struct
import time
import zlib

import pytest
from support import media

from aurora_blobs.media.location import has_location

JPEG, PNG, WEBP, MP4, QUICKTIME = (
    "image/jpeg",
    "image/png",
    "image/webp",
    "video/mp4",
    "video/quicktime",
)

BERLIN = {
    2: media.rationals((52, 1), (31, 1), (0, 1)),
    4: media.rationals((13, 1), (24, 1), (0, 1)),
}
NO_FIX = {2: media.rationals((0, 0), (0, 0), (0, 0)), 4: media.rationals((0, 0), (0, 0), (0, 0))}
GPS = media.tiff(orientation=1, gps=BERLIN)
GPS_BIG = media.tiff(gps={2: media.rationals((52, 1), (31, 1), (0, 1), order=">")}, order=">")
XMP = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>%s</x:xmpmeta>"
ATTRIBUTE = b'<rdf:Description exif:GPSLatitude="52,31.0N"/>'
DRONE = b'<rdf:Description drone-dji:GpsLongtitude="+13.40"/>'
PROPERTY = b"<exif:GPSLongitude>13,24.0E</exif:GPSLongitude>"
HEX = b"\nexif\n%8d\n" % len(GPS) + GPS.hex(" ", 36).replace(" ", "\n").encode()


def movie(*boxes: bytes) -> bytes:
    return media.mp4(
        media.box(b"mdat", bytes(5000)), media.box(b"moov", media.movie_header(600, 900), *boxes)
    )


def text_box(text: bytes) -> bytes:
    return media.box(b"\xa9xyz", struct.pack(">HH", len(text), 0x15C7), text)


def samples(kind: bytes, content: bytes = b"") -> bytes:
    table = media.box(b"stsd", bytes(4), struct.pack(">I", 1), media.box(kind, bytes(8), content))
    return media.box(b"trak", media.box(b"mdia", media.box(b"minf", media.box(b"stbl", table))))


KEYS = media.box(
    b"keys",
    bytes(4),
    struct.pack(">I", 1),
    media.box(b"mdta", b"com.apple.quicktime.location.ISO6709"),
)
HANDLER = media.box(b"hdlr", bytes(24))

WITH = {
    "jpeg exif": (JPEG, media.jpeg(8, 8, media.exif_segment(GPS))),
    "jpeg exif, big endian": (JPEG, media.jpeg(8, 8, media.exif_segment(GPS_BIG))),
    "jpeg exif in a later segment": (
        JPEG,
        media.jpeg(8, 8, media.segment(0xE0, bytes(9)), media.exif_segment(GPS)),
    ),
    "jpeg xmp attribute": (JPEG, media.jpeg(8, 8, media.segment(0xE1, XMP % ATTRIBUTE))),
    "jpeg xmp element": (JPEG, media.jpeg(8, 8, media.segment(0xE1, XMP % PROPERTY))),
    "jpeg xmp of a drone": (JPEG, media.jpeg(8, 8, media.segment(0xE1, XMP % DRONE))),
    "a second picture behind the first": (
        JPEG,
        media.jpeg(8, 8) + media.jpeg(8, 8, media.exif_segment(GPS)),
    ),
    "a video behind the image": (
        JPEG,
        media.jpeg(8, 8) + movie(media.box(b"udta", text_box(b"+52.5+013.4/"))),
    ),
    "png exif": (PNG, media.png(8, 8, media.chunk(b"eXIf", GPS))),
    "png xmp": (
        PNG,
        media.png(8, 8, media.chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + ATTRIBUTE)),
    ),
    "png xmp, compressed": (
        PNG,
        media.png(
            8, 8, media.chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(ATTRIBUTE))
        ),
    ),
    "png text": (PNG, media.png(8, 8, media.chunk(b"tEXt", b"Raw profile type exif\0" + HEX))),
    "png text, compressed": (
        PNG,
        media.png(8, 8, media.chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(HEX))),
    ),
    "png text, a value of exif": (
        PNG,
        media.png(8, 8, media.chunk(b"tEXt", b"exif:GPSLatitude\x0052/1, 31/1, 0/1")),
    ),
    "apng exif": ("image/apng", media.png(8, 8, media.chunk(b"eXIf", GPS))),
    "webp exif": (WEBP, media.webp(media.vp8x(8, 8, 8), media.vp8(8, 8), media.riff(b"EXIF", GPS))),
    "webp xmp": (
        WEBP,
        media.webp(media.vp8x(8, 8, 4), media.vp8(8, 8), media.riff(b"XMP ", XMP % PROPERTY)),
    ),
    "avif exif": ("image/avif", media.box(b"ftyp", b"avif") + media.box(b"mdat", bytes(4) + GPS)),
    "mp4 as phones with Android write it": (
        MP4,
        movie(media.box(b"udta", text_box(b"+52.5200+013.4050/"))),
    ),
    "mp4 3gpp": (MP4, movie(media.box(b"udta", media.box(b"loci", bytes(20))))),
    "mp4 metadata of a track": (
        MP4,
        movie(media.box(b"trak", media.box(b"udta", text_box(b"+52.5+013.4/")))),
    ),
    "mp4 item list": (
        MP4,
        movie(
            media.box(
                b"udta",
                media.box(
                    b"meta", bytes(4), HANDLER, media.box(b"ilst", text_box(b"+52.5+013.4/"))
                ),
            )
        ),
    ),
    "quicktime as phones of Apple write it": (QUICKTIME, movie(media.box(b"meta", HANDLER, KEYS))),
    "quicktime, a track of places": (
        QUICKTIME,
        movie(samples(b"mebx", b"com.apple.quicktime.location.ISO6709")),
    ),
    "an action camera's track": (MP4, movie(samples(b"gpmd"))),
    "a street camera's track": (MP4, movie(samples(b"camm"))),
    "a dashcam's box": (MP4, movie(media.box(b"gps ", bytes(16)))),
    "mp4 xmp": (
        MP4,
        movie() + media.box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac"), ATTRIBUTE),
    ),
    "quicktime xmp": (QUICKTIME, movie(media.box(b"udta", media.box(b"XMP_", PROPERTY)))),
}


@pytest.mark.parametrize("mime_type, data", WITH.values(), ids=WITH)
def test_a_position_is_found(mime_type, data):
    assert has_location(data, mime_type)


WITHOUT = {
    "no metadata": (JPEG, media.jpeg(8, 8)),
    "exif without gps": (JPEG, media.jpeg(8, 8, media.exif_segment(media.tiff(orientation=6)))),
    "a gps directory that is empty": (
        JPEG,
        media.jpeg(8, 8, media.exif_segment(media.tiff(gps={}))),
    ),
    "a gps directory without a position": (
        JPEG,
        media.jpeg(8, 8, media.exif_segment(media.tiff(gps={0x1D: media.rationals((1, 1))}))),
    ),
    "a camera that had no fix": (
        JPEG,
        media.jpeg(8, 8, media.exif_segment(media.tiff(gps=NO_FIX))),
    ),
    "xmp with an empty property": (
        JPEG,
        media.jpeg(8, 8, media.segment(0xE1, XMP % b'<a exif:GPSLatitude=""/>')),
    ),
    "xmp that names the property": (
        JPEG,
        media.jpeg(8, 8, media.segment(0xE1, XMP % b"we removed GPSLatitude")),
    ),
    "png text": (PNG, media.png(8, 8, media.chunk(b"tEXt", b"Comment\0from 52.5, 13.4"))),
    "png text that does not inflate": (
        PNG,
        media.png(8, 8, media.chunk(b"zTXt", b"Raw profile type exif\0\0oops")),
    ),
    "mp4": (MP4, movie(media.track(8, 8))),
    "mp4 with an empty string": (MP4, movie(media.box(b"udta", text_box(b"")))),
    "quicktime keys": (
        QUICKTIME,
        movie(media.box(b"meta", HANDLER, media.box(b"keys", b"com.apple.quicktime.make"))),
    ),
    "exif bytes in the media data of a video": (MP4, media.mp4(media.box(b"mdat", GPS)) + movie()),
    "a text that looks like exif": ("text/plain", GPS),
    "nothing": (JPEG, b""),
}


@pytest.mark.parametrize("mime_type, data", WITHOUT.values(), ids=WITHOUT)
def test_a_file_without_a_position_has_none(mime_type, data):
    assert not has_location(data, mime_type)


@pytest.mark.parametrize("mime_type, data", WITH.values(), ids=WITH)
def test_no_truncated_or_changed_metadata_makes_it_raise(mime_type, data):
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    for stop in range(0, len(data), max(1, len(data) // 200)):
        has_location(data[:stop], mime_type)
    for _ in range(200):
        changed = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            changed[chance.randrange(len(changed))] = chance.choice(
                (0, 1, 8, 0x7F, 0xFF, chance.randrange(256))
            )
        has_location(bytes(changed), mime_type)


INFLATED = media.chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(2**24)))
HOSTILE = {
    "texts that inflate": (PNG, media.png(8, 8, INFLATED * 200)),
    "exif headers": (JPEG, b"II*\0\x08\0\0\0\xff\xff" * 500_000),
    "videos": (JPEG, media.box(b"ftyp") * 600_000),
    "boxes": (
        MP4,
        media.mp4(media.box(b"moov", media.box(b"udta", media.box(b"free") * 900) * 600)),
    ),
    "boxes in boxes": (MP4, media.mp4(*[struct.pack(">I4s", 2**31, b"moov")] * 600_000)),
}


@pytest.mark.parametrize("mime_type, data", HOSTILE.values(), ids=HOSTILE)
def test_metadata_made_to_be_slow_is_given_up(mime_type, data):
    start = time.process_time()

    has_location(data, mime_type)

    assert time.process_time() - start < 2
