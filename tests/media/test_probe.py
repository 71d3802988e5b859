import io
import random
import struct
import time

import pytest
from PIL import Image
from support import media

from aurora_blobs.media.probe import PROBED_TYPES, Facts, probe

JPEG, PNG, GIF, WEBP = "image/jpeg", "image/png", "image/gif", "image/webp"
MP4, QUICKTIME, WEBM = "video/mp4", "video/quicktime", "video/webm"


def turned(orientation: int, order: str = "<") -> bytes:
    return media.tiff(orientation=orientation, order=order)


def info(ticks: bytes, scale: int = 1_000_000) -> bytes:
    return media.element(
        "1549A966", media.element("2AD7B1", scale.to_bytes(4, "big")), media.element("4489", ticks)
    )


def encoded_avif(orientation: int) -> bytes:
    output = io.BytesIO()
    image = Image.new("RGB", (480, 640), "green")
    image.save(output, "AVIF", exif=b"Exif\0\0" + turned(orientation))
    return output.getvalue()


SIZE = media.extents(640, 480)
IMAGES = {
    "jpeg": (JPEG, media.jpeg(640, 480)),
    "progressive jpeg": (JPEG, media.jpeg(640, 480, frame=0xC2)),
    "jpeg with fill bytes": (JPEG, media.jpeg(640, 480, before=b"\xff\xff\xff")),
    "jpeg with tables and application data first": (
        JPEG,
        media.jpeg(640, 480, media.segment(0xE2, bytes(60_000)), media.segment(0xC4, bytes(30))),
    ),
    "jpeg, orientation 3": (JPEG, media.jpeg(640, 480, media.exif_segment(turned(3)))),
    "jpeg, orientation 6": (JPEG, media.jpeg(480, 640, media.exif_segment(turned(6)))),
    "jpeg, orientation 8, big endian": (
        JPEG,
        media.jpeg(480, 640, media.exif_segment(turned(8, ">"))),
    ),
    "jpeg, orientation 9 does not exist": (
        JPEG,
        media.jpeg(640, 480, media.exif_segment(turned(9))),
    ),
    "jpeg, damaged exif": (JPEG, media.jpeg(640, 480, media.exif_segment(turned(6)[:12]))),
    "png": (PNG, media.png(640, 480)),
    "png, orientation 5": (PNG, media.png(480, 640, media.chunk(b"eXIf", turned(5)))),
    "apng": ("image/apng", media.png(640, 480)),
    "gif": (GIF, media.gif(640, 480)),
    "webp lossy": (WEBP, media.webp(media.vp8(640, 480))),
    "webp lossless": (WEBP, media.webp(media.vp8l(640, 480))),
    "webp extended": (WEBP, media.webp(media.vp8x(640, 480), media.vp8(640, 480))),
    "heic": ("image/heic", media.heif(SIZE)),
    "heic, wide numbers": ("image/heic", media.heif(SIZE, version=1)),
    "heic, half a turn": ("image/heic", media.heif(SIZE, media.box(b"irot", b"\2"))),
    "heic, a quarter turn": (
        "image/heic",
        media.heif(media.extents(480, 640), media.box(b"irot", b"\1")),
    ),
    "heic, cut and then turned": (
        "image/heic",
        media.heif(
            media.extents(512, 640),
            media.box(b"clap", struct.pack(">8I", 480, 1, 1280, 2, 0, 1, 0, 1)),
            media.box(b"irot", b"\3"),
        ),
    ),
    "heif, a film behind it": ("image/heif", media.heif(SIZE, behind=media.mp4())),
    "heif sequence": ("image/heif-sequence", media.heif(SIZE, brand=b"msf1")),
    "heic sequence without a still": (
        "image/heic-sequence",
        media.box(b"ftyp", b"hevc") + media.box(b"moov", media.track(640, 480)),
    ),
    "avif": ("image/avif", media.heif(SIZE, brand=b"avif")),
    "avif that is turned": ("image/avif", encoded_avif(6)),
    "webp, orientation 7": (
        WEBP,
        media.webp(media.vp8x(480, 640, 0x08), media.vp8(480, 640), media.riff(b"EXIF", turned(7))),
    ),
}


@pytest.mark.parametrize("mime_type, data", IMAGES.values(), ids=IMAGES)
def test_the_size_of_a_picture_is_read_as_shown(mime_type, data):
    assert probe(data, mime_type) == Facts(640, 480)


VIDEOS = {
    "mp4": (
        MP4,
        media.mp4(media.box(b"moov", media.movie_header(600, 900), media.track(640, 480))),
    ),
    "moov after mdat": (
        MP4,
        media.mp4(
            media.box(b"mdat", bytes(9999)),
            media.box(b"moov", media.movie_header(600, 900), media.track(640, 480)),
        ),
    ),
    "64-bit sizes and times": (
        MP4,
        media.mp4(
            media.wide_box(b"mdat", bytes(99)),
            media.wide_box(
                b"moov", media.movie_header(600, 900, version=1), media.track(640, 480, version=1)
            ),
        ),
    ),
    "quicktime without ftyp": (
        QUICKTIME,
        media.box(b"moov", media.movie_header(600, 900), media.track(640, 480))
        + media.box(b"mdat"),
    ),
    "a quarter turn": (
        MP4,
        media.mp4(
            media.box(
                b"moov",
                media.movie_header(600, 900),
                media.track(480, 640, matrix=media.QUARTER_TURN),
            )
        ),
    ),
    "sound before picture": (
        MP4,
        media.mp4(
            media.box(
                b"moov",
                media.movie_header(600, 900),
                media.track(0, 0, handler=b"soun"),
                media.track(640, 480),
            )
        ),
    ),
    "the size only in the sample description": (
        QUICKTIME,
        media.box(b"moov", media.movie_header(600, 900), media.track(0, 0, coded=(640, 480))),
    ),
    "fragmented, with mehd": (
        MP4,
        media.mp4(
            media.box(
                b"moov",
                media.movie_header(600, 0),
                media.track(640, 480),
                media.box(b"mvex", media.box(b"mehd", struct.pack(">II", 0, 900))),
            )
        ),
    ),
    "fragmented, with sidx": (
        MP4,
        media.mp4(
            media.box(b"moov", media.movie_header(600, 0), media.track(640, 480)),
            media.box(
                b"sidx", struct.pack(">IIIIIHH 6I", 0, 1, 1000, 0, 0, 0, 2, 9, 1000, 0, 9, 500, 0)
            ),
        ),
    ),
    "m4v": (
        "video/x-m4v",
        media.mp4(media.box(b"moov", media.movie_header(600, 900), media.track(640, 480))),
    ),
    "3gpp": (
        "video/3gpp",
        media.mp4(media.box(b"moov", media.movie_header(600, 900), media.track(640, 480))),
    ),
    "3gpp2": (
        "video/3gpp2",
        media.mp4(media.box(b"moov", media.movie_header(600, 900), media.track(640, 480))),
    ),
    "matroska": (
        "video/matroska",
        media.webm(info(struct.pack(">d", 1500)), media.webm_video(640, 480)),
    ),
    "webm": (WEBM, media.webm(info(struct.pack(">d", 1500)), media.webm_video(640, 480))),
    "webm, short floats, other scale": (
        WEBM,
        media.webm(info(struct.pack(">f", 15), 100_000_000), media.webm_video(640, 480)),
    ),
    "webm of unknown length": (
        WEBM,
        media.webm(info(struct.pack(">d", 1500)), media.webm_video(640, 480), unknown=True),
    ),
    "webm with a size to be shown in": (
        WEBM,
        media.webm(
            info(struct.pack(">d", 1500)),
            media.webm_video(320, 480, media.number("54B0", 640), media.number("54BA", 480)),
        ),
    ),
    "webm with a ratio to be shown in": (
        WEBM,
        media.webm(
            info(struct.pack(">d", 1500)),
            media.webm_video(
                640, 480, media.number("54B0", 4), media.number("54BA", 3), media.number("54B2", 3)
            ),
        ),
    ),
}


@pytest.mark.parametrize("mime_type, data", VIDEOS.values(), ids=VIDEOS)
def test_the_size_and_duration_of_a_film_are_read(mime_type, data):
    assert probe(data, mime_type) == Facts(640, 480, 1500)


PARTIAL = {
    "a live webm has no duration": (WEBM, media.webm(media.webm_video(640, 480)), Facts(640, 480)),
    "an mp4 of sound alone has no size": (
        MP4,
        media.mp4(
            media.box(b"moov", media.movie_header(600, 900), media.track(0, 0, handler=b"soun"))
        ),
        Facts(duration_ms=1500),
    ),
    "an unknown duration is all ones": (
        MP4,
        media.mp4(media.box(b"moov", media.movie_header(600, 2**32 - 1), media.track(640, 480))),
        Facts(640, 480),
    ),
    "no time scale": (
        MP4,
        media.mp4(media.box(b"moov", media.movie_header(0, 900), media.track(640, 480))),
        Facts(640, 480),
    ),
    "a duration that is no number": (
        WEBM,
        media.webm(info(struct.pack(">d", float("nan"))), media.webm_video(640, 480)),
        Facts(640, 480),
    ),
    "a side of nothing": (PNG, media.png(0, 480), Facts()),
    "a side past the limit of PNG": (PNG, media.png(2**31, 480), Facts()),
    "a jpeg without a frame": (JPEG, b"\xff\xd8\xff\xd9", Facts()),
    "another type's bytes": (PNG, media.gif(640, 480), Facts()),
    "a type that is not looked at": ("text/plain", media.gif(640, 480), Facts()),
    "nothing": (MP4, b"", Facts()),
}


@pytest.mark.parametrize("mime_type, data, facts", PARTIAL.values(), ids=PARTIAL)
def test_a_missing_size_or_duration_is_none(mime_type, data, facts):
    assert probe(data, mime_type) == facts


@pytest.mark.parametrize("mime_type, data", {**IMAGES, **VIDEOS}.values(), ids={**IMAGES, **VIDEOS})
def test_no_truncated_or_changed_header_makes_it_raise(mime_type, data):
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    for stop in range(len(data) - 1, -1, -max(1, len(data) // 300)):
        probe(data[:stop], mime_type)
    for _ in range(300):
        changed = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            changed[chance.randrange(len(changed))] = chance.choice(
                (0, 1, 8, 0x7F, 0xFF, chance.randrange(256))
            )
        probe(bytes(changed), chance.choice((mime_type, *sorted(PROBED_TYPES))))


HOSTILE = {
    "a million empty boxes": (MP4, media.mp4(media.box(b"moov", media.box(b"free") * 600_000))),
    "boxes in boxes": (MP4, media.mp4(*[struct.pack(">I4s", 2**31, b"moov")] * 600_000)),
    "tracks of empty boxes": (
        MP4,
        media.mp4(media.box(b"moov", media.box(b"trak", media.box(b"free") * 900) * 600)),
    ),
    "tracks of empty elements": (
        WEBM,
        media.webm(media.element("1654AE6B", media.element("AE", b"\xec\x80" * 900) * 2500)),
    ),
    "a jpeg of empty segments": (JPEG, b"\xff\xd8" + media.segment(0xFE, b"") * 1_000_000),
    "a jpeg of fill bytes": (JPEG, b"\xff\xd8" + b"\xff" * 5_000_000),
    "a heic of many items": (
        "image/heic",
        media.box(
            b"meta",
            bytes(4),
            media.box(b"pitm", bytes(6)),
            media.box(
                b"iprp",
                media.box(b"ipco", media.box(b"free") * 600),
                *[media.box(b"ipma", bytes(4), b"\0\1\0\0", b"\0\0\xff" * 9000)] * 180,
            ),
        ),
    ),
    "a png of empty chunks": (PNG, media.png(640, 480, media.chunk(b"tEXt", b"") * 400_000)),
}


@pytest.mark.parametrize("mime_type, data", HOSTILE.values(), ids=HOSTILE)
def test_a_header_made_to_be_slow_is_given_up(mime_type, data):
    start = time.process_time()

    probe(data, mime_type)

    assert time.process_time() - start < 1
