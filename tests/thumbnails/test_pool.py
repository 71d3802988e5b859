import io
import itertools
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from PIL import Image, ImageCms, PngImagePlugin
from support import image_bombs, media

from aurora_blobs.errors import ServiceBusy, ThumbnailTimeout, UnusableImage
from aurora_blobs.thumbnails.pool import WorkerPool
from aurora_blobs.thumbnails.presets import WRITABLE, Preset, presets
from aurora_blobs.thumbnails.wire import STARTED, derived, parse_answer, refused

SMALL = Preset("inside", 60, 60)
RED, GREEN, BLUE, YELLOW = (200, 30, 30), (30, 160, 40), (40, 50, 200), (220, 210, 40)


@pytest.fixture
def derive(pool):
    def derive(
        data: bytes, mime_type: str, preset: Preset = SMALL, form: str = "png"
    ) -> Image.Image:
        image = Image.open(io.BytesIO(pool.derive(io.BytesIO(data), mime_type, preset, form)))
        assert image.get_format_mimetype() == WRITABLE[form]
        return image

    return derive


def quarters(width: int = 120, height: int = 80) -> Image.Image:
    """A picture of four quarters: red, green, blue and yellow."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(YELLOW, (width // 2, height // 2, width, height))
    return image


def encoded(image: Image.Image, form: str, **options) -> bytes:
    output = io.BytesIO()
    image.save(output, form, **options)
    return output.getvalue()


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    image = image.convert("RGB")
    width, height = image.size
    return [
        image.getpixel((x, y))
        for y in (height // 4, 3 * height // 4)
        for x in (width // 4, 3 * width // 4)
    ]


def close(found: list[tuple[int, ...]], expected: list[tuple[int, ...]], by: int = 12) -> bool:
    return all(
        abs(a - b) <= by
        for one, other in zip(found, expected, strict=True)
        for a, b in zip(one, other, strict=True)
    )


INPUTS = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/avif": "AVIF",
}


@pytest.mark.parametrize("form", WRITABLE)
@pytest.mark.parametrize("mime_type", INPUTS)
def test_every_type_is_made_into_every_form(derive, mime_type, form):
    image = derive(encoded(quarters(), INPUTS[mime_type]), mime_type, form=form)

    assert image.size == (60, 40)
    assert close(corners(image), [RED, GREEN, BLUE, YELLOW])


@pytest.mark.parametrize("name, preset", presets([]).items(), ids=presets([]))
def test_presets_shrink_and_never_enlarge(derive, name, preset):
    large = derive(encoded(quarters(3200, 2400), "JPEG"), "image/jpeg", preset, "jpeg")
    small = derive(encoded(quarters(90, 60), "JPEG"), "image/jpeg", preset, "jpeg")

    assert large.size == preset.plan(3200, 2400)[1]
    assert max(large.size) == max(preset.width, preset.height)
    assert small.size == preset.plan(90, 60)[1]
    assert small.width <= 90 and small.height <= 60


def stored(orientation: int) -> Image.Image:
    """`quarters` as a camera in that orientation stores it."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return quarters().transpose(undo[orientation]) if orientation in undo else quarters()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_shown_upright(derive, orientation, form):
    data = encoded(
        stored(orientation), form, exif=b"Exif\0\0" + media.tiff(orientation=orientation)
    )

    inside = derive(data, f"image/{form.lower()}")
    cut = derive(data, f"image/{form.lower()}", Preset("cover", 60, 20))

    assert (inside.size, cut.size) == ((60, 40), (60, 20))
    assert close(corners(inside), [RED, GREEN, BLUE, YELLOW])
    assert close(corners(cut), [RED, GREEN, BLUE, YELLOW])


def sixteen_bits(kind: int, *levels: int) -> bytes:
    row = b"\0" + struct.pack(f">{len(levels)}H", *levels) * 80
    header = struct.pack(">IIBBBBB", 80, 80, 16, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + media.chunk(b"IHDR", header)
        + media.chunk(b"IDAT", zlib.compress(row * 80))
        + media.chunk(b"IEND", b"")
    )


def palette(transparent: bool) -> bytes:
    image = quarters().quantize(4)
    return encoded(
        image, "PNG", **({"transparency": image.getpixel((0, 0))} if transparent else {})
    )


MODES = {
    "black and white": (
        "image/png",
        encoded(Image.new("1", (80, 80), 1), "PNG"),
        (255, 255, 255, 255),
    ),
    "grey": ("image/png", encoded(Image.new("L", (80, 80), 120), "PNG"), (120, 120, 120, 255)),
    "grey jpeg": (
        "image/jpeg",
        encoded(Image.new("L", (80, 80), 120), "JPEG"),
        (120, 120, 120, 255),
    ),
    "grey with alpha": (
        "image/png",
        encoded(Image.new("LA", (80, 80), (120, 90)), "PNG"),
        (120, 120, 120, 90),
    ),
    "grey of 16 bits": ("image/png", sixteen_bits(0, 120 * 257), (120, 120, 120, 255)),
    "colour of 16 bits": (
        "image/png",
        sixteen_bits(2, *(257 * level for level in RED)),
        (*RED, 255),
    ),
    "palette": ("image/png", palette(transparent=False), (*RED, 255)),
    "palette with a transparent colour": (
        "image/png",
        palette(transparent=True),
        (None, None, None, 0),
    ),
    "a transparent colour": (
        "image/png",
        encoded(Image.new("RGB", (80, 80), RED), "PNG", transparency=RED),
        (None, None, None, 0),
    ),
    "alpha": ("image/png", encoded(Image.new("RGBA", (80, 80), (*RED, 90)), "PNG"), (*RED, 90)),
    "webp with alpha": (
        "image/webp",
        encoded(Image.new("RGBA", (80, 80), (*RED, 90)), "WEBP", lossless=True),
        (*RED, 90),
    ),
    "cmyk": (
        "image/jpeg",
        encoded(Image.new("RGB", (80, 80), RED).convert("CMYK"), "JPEG"),
        (*RED, 255),
    ),
    "gif": ("image/gif", encoded(quarters(), "GIF"), (*RED, 255)),
}


@pytest.mark.parametrize("mime_type, data, expected", MODES.values(), ids=MODES)
def test_colours_are_right_in_every_colour_space(derive, mime_type, data, expected):
    found = derive(data, mime_type).convert("RGBA").getpixel((5, 5))

    assert all(
        want is None or abs(got - want) <= 3 for got, want in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("form", WRITABLE)
@pytest.mark.parametrize("mime_type, data, expected", MODES.values(), ids=MODES)
def test_every_kind_of_colour_is_made_into_every_form(derive, mime_type, data, expected, form):
    assert max(derive(data, mime_type, form=form).size) == 60


def test_transparent_pixels_are_white_in_a_jpeg(derive):
    data = encoded(Image.new("RGBA", (80, 80), (0, 0, 0, 0)), "PNG")

    assert min(derive(data, "image/png", form="jpeg").getpixel((5, 5))) >= 253


@pytest.mark.parametrize("form", WRITABLE)
@pytest.mark.parametrize("mime_type", ["image/jpeg", "image/png", "image/webp"])
def test_no_metadata_is_left(pool, mime_type, form):
    exif = b"Exif\0\0" + media.tiff(
        orientation=1, gps={2: media.rationals((52, 1), (31, 1), (0, 1))}
    )
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "SECRET")
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(
        quarters(),
        INPUTS[mime_type],
        exif=exif,
        xmp=b"<SECRET/>",
        comment=b"SECRET",
        pnginfo=text,
        icc_profile=icc,
    )
    assert b"SECRET" in data

    derived = pool.derive(io.BytesIO(data), mime_type, SMALL, form)

    assert not any(
        found in derived for found in (b"SECRET", b"Exif", b"II*\0", b"MM\0*", b"ICC", b"acsp")
    )


def animated(form: str, count: int = 5, **options) -> bytes:
    frames = [
        Image.new("RGB", (80, 80), (40 * index % 256, index % 200, 0)) for index in range(count)
    ]
    options = {"duration": 70, "loop": 0} | options
    return encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)


ANIMATIONS = {
    "gif": ("image/gif", animated("GIF")),
    "apng": ("image/apng", animated("PNG")),
    "apng with another picture first": ("image/apng", animated("PNG", 6, default_image=True)),
    "webp": ("image/webp", animated("WEBP")),
}


@pytest.mark.parametrize("mime_type, data", ANIMATIONS.values(), ids=ANIMATIONS)
def test_an_animation_moves_as_webp(derive, mime_type, data):
    image = derive(data, mime_type, form="webp")

    assert (image.n_frames, image.size) == (5, (60, 60))
    image.seek(4)
    image.load()
    assert image.info["duration"] == 70
    assert abs(image.convert("RGB").getpixel((9, 9))[0] - image.n_frames * 40) <= 45


# A GIF counts repetitions after the first showing; an APNG may have more than a WebP allows.
PLAYS = {
    "gif, once": ("image/gif", animated("GIF", loop=None), 1),
    "gif, once again": ("image/gif", animated("GIF", loop=1), 2),
    "gif, without end": ("image/gif", animated("GIF", loop=0), 0),
    "gif, the most": ("image/gif", animated("GIF", loop=65535), 65535),
    "apng, once": ("image/apng", animated("PNG", loop=1), 1),
    "apng, without end": ("image/apng", animated("PNG", loop=0), 0),
    "apng, the most": ("image/apng", animated("PNG", loop=2**31), 65535),
    "webp, twice": ("image/webp", animated("WEBP", loop=2), 2),
}


@pytest.mark.parametrize("mime_type, data, plays", PLAYS.values(), ids=PLAYS)
def test_an_animation_is_shown_as_often_as_before(derive, mime_type, data, plays):
    assert derive(data, mime_type, form="webp").info["loop"] == plays


def flat_gif(*frames: tuple[tuple[int, int, int, int], int, int]) -> bytes:
    """A GIF of 80 x 80 pixels.

    Each of *frames* is a box (left, top, width, height), 0 for red or 1 for green, and a disposal.
    """
    data = b"GIF89a" + struct.pack("<HH", 80, 80) + b"\x80\0\0" + bytes(RED) + bytes(GREEN)
    for box, colour, disposal in frames:
        codes = [4, colour] * (box[2] * box[3]) + [
            5
        ]  # a clear code before each pixel keeps all codes at 3 bits
        packed = sum(code << 3 * index for index, code in enumerate(codes)).to_bytes(
            len(codes) * 3 // 8 + 1, "little"
        )
        blocks = b"".join(
            bytes([len(part)]) + part
            for at in range(0, len(packed), 255)
            if (part := packed[at:][:255])
        )
        data += b"\x21\xf9\x04" + bytes([disposal << 2, 9, 0, 0, 0])
        data += b"\x2c" + struct.pack("<HHHH", *box) + b"\0\x02" + blocks + b"\0"
    return data + b";"


def flat_apng(
    *frames: tuple, delay: tuple[int, int] = (1, 10), instead: tuple[int, ...] | None = None
) -> bytes:
    """An APNG of 80 x 80 pixels.

    Each of *frames* is a colour, its disposal, 0 to replace or 1 to blend, and a box (left, top,
    width, height), None for the whole picture. *delay* is the fraction of a second of each.
    *instead* is the colour of the default image, None if that is the first frame.
    """
    header = struct.pack(">IIBBBBB", 80, 80, 8, {1: 0, 3: 2, 4: 6}[len(frames[0][0])], 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + media.chunk(b"IHDR", header)
    data += media.chunk(b"acTL", struct.pack(">II", len(frames), 0))
    if instead is not None:
        data += media.chunk(b"IDAT", flat_rows(instead, 80, 80))
    numbers = itertools.count()
    for index, (colour, disposal, blend, *box) in enumerate(frames):
        left, top, width, height = box or (0, 0, 80, 80)
        data += media.chunk(
            b"fcTL",
            struct.pack(
                ">IIIIIHHBB", next(numbers), width, height, left, top, *delay, disposal, blend
            ),
        )
        rows = flat_rows(colour, width, height)
        if index == 0 and instead is None:
            data += media.chunk(b"IDAT", rows)
        else:
            data += media.chunk(b"fdAT", struct.pack(">I", next(numbers)) + rows)
    return data + media.chunk(b"IEND", b"")


def flat_rows(colour: tuple[int, ...], width: int, height: int) -> bytes:
    return zlib.compress((b"\0" + bytes(colour) * width) * height)


CLEAR, RIGHT = (0, 0, 0, 0), (40, 0, 40, 80)
LEFT_BEHIND = {
    "gif, cleared": (
        "image/gif",
        flat_gif(((0, 0, 80, 80), 0, 1), ((40, 0, 40, 80), 1, 2), ((0, 0, 40, 40), 1, 1)),
        ((*GREEN, 255), CLEAR, (*RED, 255), CLEAR),
    ),
    "gif, all cleared": (
        "image/gif",
        flat_gif(((0, 0, 80, 80), 0, 2), ((40, 0, 40, 80), 1, 2)),
        (CLEAR, (*GREEN, 255), CLEAR, (*GREEN, 255)),
    ),
    "gif, as it was before the first": (
        "image/gif",
        flat_gif(((0, 0, 80, 80), 0, 3), ((40, 0, 40, 80), 1, 2)),
        (CLEAR, (*GREEN, 255), CLEAR, (*GREEN, 255)),
    ),
    "gif, as it was": (
        "image/gif",
        flat_gif(((0, 0, 80, 80), 0, 1), ((40, 0, 40, 80), 1, 3), ((0, 0, 40, 40), 1, 1)),
        ((*GREEN, 255), *[(*RED, 255)] * 3),
    ),
    "apng, as it was": (
        "image/apng",
        flat_apng(((*GREEN, 255), 0, 0), ((*RED, 255), 2, 1), (CLEAR, 0, 1)),
        [(*GREEN, 255)] * 4,
    ),
    "apng, half transparent": (
        "image/apng",
        flat_apng((CLEAR, 0, 0), ((*RED, 90), 0, 1)),
        [(*RED, 90)] * 4,
    ),
    "apng, cleared": (
        "image/apng",
        flat_apng(((*GREEN, 255), 0, 0), ((*RED, 255), 1, 1), ((*GREEN, 90), 0, 1)),
        [(*GREEN, 90)] * 4,
    ),
    "apng without alpha, cleared": (
        "image/apng",
        flat_apng((GREEN, 1, 0), (RED, 0, 0, *RIGHT)),
        (CLEAR, (*RED, 255), CLEAR, (*RED, 255)),
    ),
    "grey apng, cleared": (
        "image/apng",
        flat_apng(((90,), 1, 0), ((150,), 0, 0, *RIGHT)),
        (CLEAR, (150, 150, 150, 255)) * 2,
    ),
    "apng with another picture first": (
        "image/apng",
        flat_apng(((*RED, 255), 0, 0, *RIGHT), instead=(*BLUE, 255)),
        (CLEAR, (*RED, 255), CLEAR, (*RED, 255)),
    ),
    "apng with another picture first, half transparent": (
        "image/apng",
        flat_apng(((*RED, 90), 0, 1), instead=(*BLUE, 255)),
        [(*RED, 90)] * 4,
    ),
    "apng without alpha with another picture first": (
        "image/apng",
        flat_apng((RED, 0, 1, *RIGHT), (GREEN, 0, 1, 40, 0, 40, 40), instead=BLUE),
        (CLEAR, (*GREEN, 255), CLEAR, (*RED, 255)),
    ),
    "apng with another picture first, as it was before the first": (
        "image/apng",
        flat_apng(((*RED, 255), 2, 0), ((*GREEN, 255), 0, 0, *RIGHT), instead=(*BLUE, 255)),
        (CLEAR, (*GREEN, 255), CLEAR, (*GREEN, 255)),
    ),
}


@pytest.mark.parametrize("mime_type, data, expected", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
def test_a_frame_is_disposed_of_as_it_says(derive, mime_type, data, expected):
    image = derive(data, mime_type, form="webp")

    image.seek(image.n_frames - 1)
    found = [image.convert("RGBA").getpixel((x, y)) for y in (15, 45) for x in (15, 45)]
    assert [pixel[3] for pixel in found] == [pixel[3] for pixel in expected]
    assert close(
        [pixel[:3] for pixel in found if pixel[3]], [pixel[:3] for pixel in expected if pixel[3]]
    )


def test_a_frame_is_shown_for_as_long_as_a_webp_can(derive):
    frames = ((*GREEN, 255), 0, 0), ((*RED, 255), 0, 0)
    image = derive(flat_apng(*frames, delay=(60_000, 1)), "image/apng", form="webp")

    image.load()
    assert image.info["duration"] == 2**24 - 1


@pytest.mark.parametrize("form", ["jpeg", "png", "avif"])
@pytest.mark.parametrize("mime_type, data", ANIMATIONS.values(), ids=ANIMATIONS)
def test_an_animation_stands_still_in_other_forms(derive, mime_type, data, form):
    assert getattr(derive(data, mime_type, form=form), "n_frames", 1) == 1


@pytest.mark.parametrize("form", ["jpeg", "png", "avif"])
def test_a_still_of_an_animated_png_is_the_picture_that_it_has_for_one(derive, form):
    """The default image. https://www.w3.org/TR/png-3/#apng-frame-based-animation"""
    frame = (RED, 0, 0, 40, 0, 40, 80)

    assert close(
        corners(derive(flat_apng(frame, frame, instead=BLUE), "image/apng", form=form)), [BLUE] * 4
    )


@pytest.mark.parametrize("form", WRITABLE)
def test_a_jpeg_of_several_pictures_shows_its_first(derive, form):
    data = encoded(
        quarters(), "MPO", save_all=True, append_images=[Image.new("RGB", (60, 40), BLUE)]
    )

    image = derive(data, "image/jpeg", form=form)

    assert (image.size, getattr(image, "n_frames", 1)) == ((60, 40), 1)
    assert close(corners(image), [RED, GREEN, BLUE, YELLOW])


def test_a_long_animation_shows_its_first_frame(derive):
    image = derive(animated("GIF", 301), "image/gif", form="webp")

    assert getattr(image, "n_frames", 1) == 1


def test_an_animation_of_large_frames_shows_its_first_one(derive):
    frames = [Image.new("P", (4000, 3000), index) for index in range(2)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=20)

    assert getattr(derive(data, "image/gif", form="webp"), "n_frames", 1) == 1


def test_an_animation_that_is_damaged_later_on_shows_its_first_frame(derive):
    data = animated("PNG", 3)
    at = data.rindex(b"fdAT") + 8
    damaged = data[:at] + bytes(20) + data[at + 20 :]

    image = derive(damaged, "image/apng", form="webp")

    assert (getattr(image, "n_frames", 1), image.size) == (1, (60, 60))


@pytest.mark.parametrize("length", range(10))
def test_an_animation_that_ends_in_the_head_of_a_frame_is_shown(derive, length):
    data = animated("GIF", 3)
    at = data.rindex(b"\x21\xf9\x04") + 8  # behind the control block of the last frame

    image = derive(data[: at + length], "image/gif", form="webp")

    assert image.size == (60, 60)


def flat(form: str, width: int, height: int) -> bytes:
    if form == "PNG":
        return image_bombs.flat_png(width, height, 8, 4)
    options = {"WEBP": {"lossless": True, "method": 0}, "AVIF": {"speed": 10}}
    return encoded(Image.new("L", (width, height), 99), form, **options.get(form, {}))


# The bounds of docs/pictures.md, in rows of 5,000 pixels.
ROWS = {"JPEG": 10_000, "PNG": 10_000, "GIF": 10_000, "WEBP": 6_000, "AVIF": 5_000}


@pytest.mark.parametrize("form, rows", ROWS.items(), ids=ROWS)
def test_a_picture_may_have_as_many_pixels_as_is_promised_and_no_more(pool, form, rows):
    mime_type, banner = f"image/{form.lower()}", presets([])["banner"]

    made = pool.derive(io.BytesIO(flat(form, 5000, rows)), mime_type, banner, "webp")
    with pytest.raises(UnusableImage) as refusal:
        pool.derive(io.BytesIO(flat(form, 5000, rows + 1)), mime_type, banner, "webp")

    assert Image.open(io.BytesIO(made)).size == (3000, 1000)
    assert f"more than {5000 * rows} pixels" in str(refusal.value)


BROKEN = {
    "a pixel flood": ("image/png", media.png(60_000, 60_000), "pixels"),
    "a jpeg of another size than it has": ("image/jpeg", media.jpeg(65_000, 65_000), "pixels"),
    "a gif of nothing": ("image/gif", media.gif(9, 9), "damaged"),
    "no picture at all": ("image/jpeg", b"\xff\xd8\xff<html>", "damaged"),
    "nothing": ("image/webp", b"", "damaged"),
    "another type than it says": ("image/jpeg", encoded(quarters(), "PNG"), "damaged"),
    "a type that only Pillow would open": ("image/png", encoded(quarters(), "TIFF"), "damaged"),
    "a truncated jpeg": ("image/jpeg", encoded(quarters(800, 800), "JPEG")[:-3000], "damaged"),
    "a truncated png": ("image/png", encoded(quarters(800, 800), "PNG")[:-300], "damaged"),
}


@pytest.mark.parametrize("mime_type, data, message", BROKEN.values(), ids=BROKEN)
def test_an_unusable_file_is_refused_and_the_next_picture_is_made(
    pool, derive, mime_type, data, message
):
    with pytest.raises(UnusableImage, match=message):
        pool.derive(io.BytesIO(data), mime_type, SMALL, "jpeg")

    assert derive(encoded(quarters(), "PNG"), "image/png").size == (60, 40)


def test_a_worker_that_was_killed_is_started_again(derive, pool):
    data = encoded(quarters(), "PNG")
    derive(data, "image/png")
    os.kill(pool.process.pid, signal.SIGKILL)
    pool.process.wait()

    assert derive(data, "image/png").size == (60, 40)


@pytest.mark.parametrize("left", range(12))
def test_a_worker_that_cannot_be_started_now_is_started_later(left):
    picture = encoded(quarters(), "png")
    with closing(WorkerPool()) as pool:
        before = open_descriptors()
        with suppress(ServiceBusy), that_may_open(left):
            pool.derive(io.BytesIO(picture), "image/png", SMALL, "png")

        assert len(open_descriptors() - before) <= 1
        assert pool.derive(io.BytesIO(picture), "image/png", SMALL, "png")


@contextmanager
def that_may_open(count: int) -> Iterator[None]:
    """A block in which this process may open *count* more files."""
    used = open_descriptors()
    free = (number for number in itertools.count() if number not in used)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(free, count, None)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_descriptors() -> set[int]:
    """Those of this process, but the one that lists them."""
    listed = os.listdir("/proc/self/fd")
    return {int(number) for number in listed if os.path.lexists(f"/proc/self/fd/{number}")}


def test_the_worker_knows_none_of_the_settings(derive, pool):
    derive(encoded(quarters(), "PNG"), "image/png")

    assert Path(f"/proc/{pool.process.pid}/environ").read_bytes() == b""


LIMITED = """
import resource, signal
from aurora_blobs.thumbnails import worker
worker.limit_resources(worker.address_space() + 100_000_000, 7)
try:
    bytes(200_000_000)
except MemoryError:
    print("no memory")
try:
    open("/dev/null")
except OSError:
    print("no file")
print(resource.getrlimit(resource.RLIMIT_CPU)[0] == worker.CPU_SECONDS, signal.alarm(0))
"""


def test_the_worker_has_bounded_memory_and_time_and_opens_no_file():
    limited = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=60
    )

    assert (limited.stdout, limited.stderr) == ("no memory\nno file\nTrue 7\n", "")


def test_pictures_are_made_at_low_priority(derive, pool):
    derive(encoded(quarters(), "PNG"), "image/png")

    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, pool.process.pid) == own + 5


def test_a_wall_clock_timeout_does_not_mark_the_picture_unusable():
    data = image_bombs.scan_flood(7000, 4000)

    with closing(WorkerPool(wall_seconds=0.5)) as pool, pytest.raises(ThumbnailTimeout):
        pool.derive(io.BytesIO(data), "image/jpeg", SMALL, "jpeg")


def test_an_answer_that_is_too_large_is_read_no_further():
    noise = encoded(Image.effect_noise((1500, 1500), 100), "PNG")
    assert len(noise) > 2**20

    with closing(WorkerPool(max_answer_bytes=2**18)) as pool, pytest.raises(UnusableImage):
        pool.derive(io.BytesIO(noise), "image/png", Preset("inside", 1500, 1500), "png")


def test_many_threads_share_one_worker(derive):
    data = encoded(quarters(1200, 800), "JPEG")
    sizes = []
    threads = [
        threading.Thread(target=lambda: sizes.append(derive(data, "image/jpeg").size), daemon=True)
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sizes == [(60, 40)] * 12


def test_the_worker_ends_with_its_pool():
    pool = WorkerPool()
    pool.derive(io.BytesIO(encoded(quarters(), "PNG")), "image/png", SMALL, "jpeg")
    worker = pool.process

    pool.close()

    assert worker.returncode == 0


def test_the_server_never_loads_pillow():
    code = "import sys, aurora_blobs.thumbnails.pool, aurora_blobs.media.probe"
    code += "; assert 'PIL' not in sys.modules"

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_answer_is_taken_whole_or_not_at_all():
    answer = STARTED + derived(b"image")

    assert parse_answer(answer) == b"image"
    assert [parse_answer(answer[:stop]) for stop in range(len(answer))] == [None] * len(answer)
    assert parse_answer(STARTED + refused("why not")) == "why not"
