import io
import struct
import zlib
from itertools import chain

import pytest
from PIL import Image
from support import media
from support.corpus import PICTURES, corpus

from aurora_blobs.errors import UnusableImage
from aurora_blobs.thumbnails.presets import Preset

JPEG, PNG, WEBP, AVIF = "image/jpeg", "image/png", "image/webp", "image/avif"
LARGE = Preset("inside", 1000, 1000)


def encoded(form: str, *more: Image.Image, **options) -> bytes:
    output = io.BytesIO()
    picture().save(output, form, append_images=more, save_all=bool(more), **options)
    return output.getvalue()


def picture() -> Image.Image:
    return Image.radial_gradient("L").resize((120, 80)).convert("RGB")


@pytest.fixture
def shown(pool):
    def shown(data: bytes, mime_type: str, form: str = "png") -> Image.Image:
        return Image.open(io.BytesIO(pool.derive(io.BytesIO(data), mime_type, LARGE, form)))

    return shown


@pytest.mark.parametrize("form", ["webp", "jpeg"])
@pytest.mark.parametrize("name", PICTURES)
def test_what_browsers_show_has_a_thumbnail(shown, name, form):
    width, height = {"jpg_prog_noeoi.jpg": (640, 480)}.get(name, (96, 64))

    assert shown(corpus(name), PICTURES[name], form).size == (width, height)


@pytest.mark.parametrize("name", ["jpg_no_eoi.jpg", "gps-ifd-type13.jpg"])
def test_a_mended_jpeg_has_all_its_pixels(shown, name):
    made, plain = (shown(corpus(one), JPEG) for one in (name, "plain.jpg"))

    assert made.convert("RGB").tobytes() == plain.convert("RGB").tobytes()


def png_with(*chunks: bytes, image: bytes | None = None) -> bytes:
    data = encoded("PNG") if image is None else image
    return data[:33] + b"".join(chunks) + data[33:]


def wrong(kind: bytes, content: bytes) -> bytes:
    return media.chunk(kind, content)[:-4] + b"oops"


LONG = zlib.compress(bytes(2**21))
PNG_EXTRAS = {
    "a wrong checksum of a profile": wrong(b"iCCP", b"icc\0\0" + zlib.compress(bytes(9))),
    "a wrong checksum of a resolution": wrong(b"pHYs", bytes(9)),
    "a wrong checksum of an orientation": wrong(b"eXIf", media.tiff(orientation=6)),
    "a wrong checksum of a transparent colour": wrong(b"tRNS", bytes(6)),
    "a wrong checksum of an animation": wrong(b"acTL", bytes(8)),
    "a resolution of a byte": media.chunk(b"pHYs", b"x"),
    "a gamma of a byte": media.chunk(b"gAMA", b"x"),
    "a transparent colour of a byte": media.chunk(b"tRNS", b"x"),
    "an orientation of no form": media.chunk(b"eXIf", b"none"),
    "a profile without anything": media.chunk(b"iCCP", b""),
    "a profile of an unknown compression": media.chunk(b"iCCP", b"icc\0\x07" + LONG),
    "a profile that does not inflate": media.chunk(b"iCCP", b"icc\0\0oops"),
    "a profile of megabytes": media.chunk(b"iCCP", b"icc\0\0" + LONG),
    "a text of megabytes": media.chunk(b"zTXt", b"Comment\0\0" + LONG),
    "a hundred texts of megabytes": media.chunk(b"iTXt", b"Comment\0\1\0\0\0" + LONG) * 100,
    "a text of no form": media.chunk(b"iTXt", b"oops"),
    "a chunk that nobody knows": media.chunk(b"abCd", b"what"),
    "an animation of a byte": media.chunk(b"acTL", b"x"),
    "an animation without a frame": media.chunk(b"acTL", bytes(8)),
    "a frame control of a byte": media.chunk(b"fcTL", b"x"),
}


@pytest.mark.parametrize("form", ["webp", "png"])
@pytest.mark.parametrize("chunks", PNG_EXTRAS.values(), ids=PNG_EXTRAS)
def test_no_chunk_beside_the_pixels_decides_whether_a_png_is_shown(shown, chunks, form):
    made, plain = shown(png_with(chunks), PNG, form), shown(encoded("PNG"), PNG, form)

    assert made.convert("RGB").tobytes() == plain.convert("RGB").tobytes()


def test_a_png_in_many_pieces_is_mended_within_a_child_s_time(shown):
    pieces = (media.chunk(b"IDAT", b"") + media.chunk(b"tEXt", b"Comment\0")) * 150_000

    made, plain = shown(png_with(pieces), PNG), shown(encoded("PNG"), PNG)

    assert made.tobytes() == plain.tobytes()


def test_chunks_that_pixels_depend_on_stay(shown):
    turned = shown(png_with(media.chunk(b"eXIf", media.tiff(orientation=6))), PNG)
    black = media.chunk(b"tRNS", struct.pack(">HHH", *picture().getpixel((0, 0))))
    transparent = shown(png_with(black), PNG)

    assert turned.size == (80, 120)
    assert transparent.convert("RGBA").getpixel((0, 0))[3] == 0


@pytest.mark.parametrize("missing", range(1, 17))
def test_a_png_needs_no_end_behind_its_pixels(shown, missing):
    made, plain = shown(encoded("PNG")[:-missing], PNG), shown(encoded("PNG"), PNG)

    assert made.tobytes() == plain.tobytes()


@pytest.mark.parametrize("kind", [b"fcTL", b"fdAT"])
def test_an_animation_with_damaged_frames_stands_still(shown, kind):
    data = encoded("PNG", picture().rotate(90), duration=90)
    at = data.rindex(kind) + 4
    damaged = data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]

    assert getattr(shown(damaged, "image/apng", "webp"), "n_frames", 1) == 1
    assert shown(damaged, "image/apng", "png").size == (120, 80)


def jpeg_with(*segments: bytes) -> bytes:
    data = encoded("JPEG")
    return data[:2] + b"".join(segments) + data[2:]


JPEG_EXTRAS = {
    "jfif, cut short": media.segment(0xE0, b"JFIF"),
    "adobe, cut short": media.segment(0xEE, b"Adobe"),
    "a profile, cut short": media.segment(0xE2, b"ICC_PROFILE\0"),
    "exif of no form": media.exif_segment(b"oops"),
    "exif, cut short": media.segment(0xE1, b"Exif\0\0"),
    "an index of pictures of no form": media.segment(0xE2, b"MPF\0oops"),
    "resources, cut short": media.segment(0xED, b"Photoshop 3.0\x008BIM"),
    "no data": media.segment(0xE5, b""),
    "a comment": media.segment(0xFE, b"hello"),
    "fill bytes": b"\xff\xff\xff",
    "much": media.segment(0xE4, bytes(65_000)) * 40,
}


@pytest.mark.parametrize("segments", JPEG_EXTRAS.values(), ids=JPEG_EXTRAS)
def test_no_segment_beside_the_pixels_decides_whether_a_jpeg_is_shown(shown, segments):
    made, plain = shown(jpeg_with(segments), JPEG), shown(encoded("JPEG"), JPEG)

    assert made.tobytes() == plain.tobytes()


# The picture's last pixels are white, so what is missing would be seen. Twelve bytes are more
# than the padding of the last block.
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
@pytest.mark.parametrize("behind", [b"", b"\xff"])
def test_a_jpeg_needs_no_end_behind_its_pixels(shown, options, behind):
    data = encoded("JPEG", **options)

    made, plain = shown(data[:-2] + behind, JPEG), shown(data, JPEG)

    assert made.tobytes() == plain.tobytes()


NOISE = Image.effect_noise((480, 320), 90)


def cut(form: str, share: float, **options) -> bytes:
    output = io.BytesIO()
    NOISE.convert("RGB").save(output, form, **options)
    return output.getvalue()[: int(len(output.getvalue()) * share)]


CUT = {
    "jpeg, a hundredth missing": (JPEG, cut("JPEG", 0.99)),
    "jpeg, most of it missing": (JPEG, cut("JPEG", 0.1)),
    "jpeg, its pixels missing": (JPEG, media.jpeg(100, 100)[:-2]),
    "progressive jpeg, its first scan cut": (JPEG, cut("JPEG", 0.02, progressive=True)),
    "jpeg of the corpus, a tenth missing": (JPEG, corpus("jpg_cut10.jpg")),
    "png, a hundredth missing": (PNG, cut("PNG", 0.99)),
    "webp, a hundredth missing": (WEBP, cut("WEBP", 0.99)),
    "avif, a hundredth missing": (AVIF, cut("AVIF", 0.99)),
    "gif, a hundredth missing": ("image/gif", cut("GIF", 0.99)),
}


@pytest.mark.parametrize("mime_type, data", CUT.values(), ids=CUT)
def test_a_picture_that_lacks_pixels_is_damaged(shown, mime_type, data):
    with pytest.raises(UnusableImage, match="damaged"):
        shown(data, mime_type)


def test_a_progressive_jpeg_that_lacks_only_finer_scans_is_shown(shown):
    data = encoded("JPEG", progressive=True)

    assert shown(data[: data.rindex(b"\xff\xda")], JPEG).size == (120, 80)


def test_a_webp_that_says_it_is_longer_than_it_is_is_shown(shown):
    data = encoded("WEBP")
    longer = data[:4] + struct.pack("<I", len(data) + 100) + data[8:]

    assert shown(longer, WEBP).tobytes() == shown(data, WEBP).tobytes()


MAJOR = [b"miaf", b"mif1", b"msf1", b"MA1B", b"1234"]


@pytest.mark.parametrize("major", MAJOR, ids=bytes.decode)
def test_an_avif_of_any_major_brand_is_shown(shown, major):
    data = encoded("AVIF")

    assert shown(data[:8] + major + data[12:], AVIF).size == (120, 80)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_a_picture_cut_anywhere_is_shown_or_damaged(shown, form):
    data = encoded(form, quality=10)
    stops = chain(range(0, 200, 7), range(200, len(data), 1 + len(data) // 60))

    outcomes = {_outcome(shown, data[:stop], f"image/{form.lower()}") for stop in stops}

    assert outcomes <= {"shown", "the picture is damaged"}


def _outcome(shown, data: bytes, mime_type: str) -> str:
    try:
        shown(data, mime_type)
    except UnusableImage as error:
        return error.message
    return "shown"
