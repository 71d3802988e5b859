import io

import pytest
from PIL import Image, ImageSequence
from support.real_media import (
    ANIMATION,
    CAMERAS,
    FILMS,
    ORIENTATIONS,
    PHOTOS,
    PROFILES,
    WEBP,
    distance,
    magick,
    media,
    reference,
)

from aurora_blobs.errors import UnusableImage
from aurora_blobs.media.location import has_location
from aurora_blobs.media.probe import Facts, probe
from aurora_blobs.thumbnails.presets import WRITABLE, Preset, presets

pytestmark = pytest.mark.live

SMALL = Preset("inside", 400, 400)
# Of 255. Both shrink with Lanczos; the rest is rounding, and the loss of lossy forms.
EQUAL = 3
ALIKE = 10


@pytest.fixture
def derive(pool):
    def derive(
        data: bytes, mime_type: str, preset: Preset = SMALL, form: str = "png"
    ) -> Image.Image:
        return Image.open(io.BytesIO(pool.derive(io.BytesIO(data), mime_type, preset, form)))

    return derive


@pytest.mark.parametrize("preset", presets([]).values(), ids=presets([]))
@pytest.mark.parametrize("photo", PHOTOS.values(), ids=PHOTOS)
def test_real_photos_are_as_imagemagick_makes_them(derive, photo, preset):
    data = media(photo).read_bytes()

    made, expected = derive(data, "image/jpeg", preset), reference("-", preset, data)

    assert made.size == expected.size
    assert distance(made, expected) < EQUAL


@pytest.mark.parametrize("photo", PHOTOS.values(), ids=PHOTOS)
def test_real_photos_are_alike_in_every_form(derive, photo):
    data = media(photo).read_bytes()

    png, *others = (
        derive(data, "image/jpeg", form=form) for form in ("png", *sorted(set(WRITABLE) - {"png"}))
    )

    assert {image.size for image in others} == {png.size}
    assert max(distance(image, png) for image in others) < ALIKE


@pytest.mark.parametrize("form", WRITABLE)
@pytest.mark.parametrize("photo", PHOTOS.values(), ids=PHOTOS)
def test_no_metadata_of_real_photos_is_left(pool, photo, form):
    derived = pool.derive(io.BytesIO(media(photo).read_bytes()), "image/jpeg", SMALL, form)

    assert not has_location(derived, WRITABLE[form])
    assert not any(
        found in derived
        for found in (b"Exif", b"II*\0", b"MM\0*", b"http://", b"ICC_PROFILE", b"iCCP")
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_a_real_file_is_upright(derive, orientation):
    data = media(f"{ORIENTATIONS}/orientation_{orientation}.jpg").read_bytes()

    made = derive(data, "image/jpeg")

    assert (
        distance(
            made, derive(media(f"{ORIENTATIONS}/orientation_1.jpg").read_bytes(), "image/jpeg")
        )
        < 2 * EQUAL
    )
    assert distance(made, reference("-", SMALL, data)) < EQUAL


@pytest.mark.parametrize(
    "name, twin",
    [
        ("blue-purple-pink-large.lossless", "blue-purple-pink-large"),
        ("gopher-doc.2bpp.lossless", "gopher-doc.2bpp"),
        ("tux.lossless", "tux"),
        ("blue-purple-pink.lossy", "blue-purple-pink"),
        ("yellow_rose.lossy-with-alpha", "yellow_rose"),
    ],
)
def test_real_webp_is_as_its_twin_in_png(derive, name, twin):
    made = derive(media(f"{WEBP}/{name}.webp").read_bytes(), "image/webp", form="jpeg")
    expected = derive(media(f"{WEBP}/{twin}.png").read_bytes(), "image/png", form="jpeg")

    assert made.size == expected.size
    assert distance(made, expected) < ALIKE


# ImageMagick's options to store the colours of a photo in different ways.
STORED = {
    "cmyk": ("image/jpeg", ["-colorspace", "CMYK", "-quality", "95", "jpg:-"], ALIKE),
    "16 bits": ("image/png", ["-depth", "16", "png48:-"], EQUAL),
    "16 bits and alpha": ("image/png", ["-alpha", "on", "-depth", "16", "png64:-"], EQUAL),
    "palette": ("image/png", ["-colors", "256", "png8:-"], ALIKE),
    "gif": ("image/gif", ["gif:-"], 2 * ALIKE),
    "progressive": ("image/jpeg", ["-interlace", "JPEG", "-quality", "95", "jpg:-"], ALIKE),
    "interlaced": ("image/png", ["-interlace", "PNG", "png:-"], EQUAL),
    "arithmetic of colours not halved": (
        "image/jpeg",
        ["-sampling-factor", "4:4:4", "-quality", "95", "jpg:-"],
        ALIKE,
    ),
    "lossless webp": ("image/webp", ["-define", "webp:lossless=true", "webp:-"], EQUAL),
    "adobe rgb": (
        "image/jpeg",
        [
            "-profile",
            "{profiles}/sRGB.icc",
            "-profile",
            "{profiles}/AdobeRGB1998.icc",
            "-quality",
            "95",
            "jpg:-",
        ],
        ALIKE,
    ),
    "adobe rgb in a png": (
        "image/png",
        ["-profile", "{profiles}/sRGB.icc", "-profile", "{profiles}/AdobeRGB1998.icc", "png:-"],
        ALIKE,
    ),
    "a profile that swaps red and green": (
        "image/png",
        [
            "-profile",
            "{profiles}/sRGB.icc",
            "-profile",
            "{profiles}/SwappedRedAndGreen.icc",
            "png:-",
        ],
        ALIKE,
    ),
}


@pytest.mark.parametrize("form, loss", [("png", 0), ("webp", ALIKE)])
@pytest.mark.parametrize("mime_type, arguments, limit", STORED.values(), ids=STORED)
def test_a_photo_looks_the_same_in_any_colour_space(
    derive, mime_type, arguments, limit, form, loss
):
    photo = media(PHOTOS["from a messenger"]).read_bytes()
    profiles = media(PROFILES)
    data = magick("-", *(argument.format(profiles=profiles) for argument in arguments), data=photo)

    made = derive(data, mime_type, form=form)

    assert distance(made, reference("-", SMALL, photo)) < limit + loss


def test_sixteen_bits_of_grey_are_grey(derive):
    photo = media(PHOTOS["grey"]).read_bytes()
    data = magick("-", "-depth", "16", "-define", "png:bit-depth=16", "png:-", data=photo)

    assert distance(derive(data, "image/png"), reference("-", SMALL, photo)) < 2 * EQUAL


def test_a_gif_that_imagemagick_animates_moves_the_same(derive):
    photo = media(PHOTOS["from a messenger"]).read_bytes()
    frames = [
        argument
        for step in range(8)
        for argument in ("(", "-clone", "0", "-roll", f"+{step * 40}+0", ")")
    ]
    gif = magick(
        "-",
        "-resize",
        "300x",
        *frames,
        "-delete",
        "0",
        "-set",
        "delay",
        "9",
        "-loop",
        "0",
        "gif:-",
        data=photo,
    )
    stills = magick("-", "-coalesce", "-resize", "200x200>", "-append", "png:-", data=gif)

    made = derive(gif, "image/gif", Preset("inside", 200, 200), "webp")

    assert (made.n_frames, made.info["loop"]) == (8, 0)
    expected = Image.open(io.BytesIO(stills))
    for index, frame in enumerate(ImageSequence.Iterator(made)):
        height = frame.height
        assert (
            distance(frame, expected.crop((0, index * height, frame.width, (index + 1) * height)))
            < 2 * ALIKE
        )
        assert frame.info["duration"] == 90


def test_a_real_animated_png_moves(derive):
    data = media(ANIMATION).read_bytes()
    with Image.open(io.BytesIO(data)) as original:
        frames = original.n_frames - bool(original.info.get("default_image"))

    assert derive(data, "image/apng", form="webp").n_frames == frames > 1


def test_a_still_of_a_real_animated_png_is_as_imagemagick_makes_it(derive):
    data = media(ANIMATION).read_bytes()

    assert distance(derive(data, "image/apng"), reference("-", SMALL, data)) < EQUAL


@pytest.mark.parametrize("name, facts, location", FILMS.values(), ids=FILMS)
def test_real_films_tell_their_size_duration_and_place(name, facts, location):
    data = media(name).read_bytes()
    mime_type = {"mp4": "video/mp4", "mov": "video/quicktime", "webm": "video/webm"}[
        name.rpartition(".")[2]
    ]

    assert probe(data, mime_type) == Facts(*facts)
    assert has_location(data, mime_type) is location


def test_the_location_in_real_photos_is_found():
    found = {
        name
        for name, path in PHOTOS.items()
        if has_location(media(path).read_bytes(), "image/jpeg")
    }

    assert found == {
        "12 MP with a location",
        "upside down",
        "just under 5 MiB",
        "grey",
    }  # according to exiftool


@pytest.mark.parametrize("folder", ["samples", "corrupt"])
def test_photos_of_many_cameras_are_derived_or_refused(pool, folder):
    outcomes = {"derived": 0, "refused": 0}
    for path in sorted(media(f"{CAMERAS}/{folder}").glob("*.jpg")):
        try:
            derived = pool.derive(io.BytesIO(path.read_bytes()), "image/jpeg", SMALL, "webp")
            outcomes["derived"] += bool(Image.open(io.BytesIO(derived)).load())
        except UnusableImage:  # most of the samples are cut short behind their metadata
            outcomes["refused"] += 1

    assert sum(outcomes.values()) >= 3
