"""Smaller pictures, made with Pillow. Imported only in a process of its own (worker.py): decoders can be attacked."""

import importlib
import io
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

from PIL import Image, ImageCms, PngImagePlugin

from aurora_blobs.media import exif
from aurora_blobs.thumbnails.presets import READABLE, Preset

MAX_PIXELS = 50_000_000  # of one picture
# Of an animation; beyond, its first frame is shown. The pixels of its frames are counted together. At these bounds
# an animated GIF took 2 to 4 of the 10 seconds that a child has.
MAX_FRAMES, MAX_DECODED_PIXELS, MAX_ENCODED_PIXELS = 300, 200_000_000, 20_000_000
_MOST_PLAYS, _LONGEST = (
    2**16 - 1,
    2**24 - 1,
)  # of an animation, and of a frame in milliseconds; RFC 9649, 2.7.1
_CLEARED, _AS_BEFORE = 2, 3  # what a frame of a GIF leaves behind; GIF89a, 23
_GAP = (
    2.0  # reduce in two steps, of which the first, cheap one stays above this multiple of the size
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TRANSPOSED = 5  # orientations from here on swap width and height
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}  # modes, as colour profiles call them
_OPTIONS: dict[str, dict[str, object]] = {
    # A comment is the one piece of metadata that Pillow carries over by itself.
    "jpeg": {"quality": 85, "progressive": True, "comment": b""},
    "png": {
        "compress_level": 3
    },  # 4 MP of a photo in 0.5 s; the default, 6, takes 1.2 s and saves 4 %
    "webp": {"quality": 80, "method": 4},
    "avif": {"quality": 65, "speed": 8, "max_threads": 1},
}


class Unusable(Exception):
    """No picture can be made of the bytes; the message says why."""


def prepare() -> None:
    """Load whatever Pillow would load when it is needed: by then no file can be opened."""
    Image.preinit()
    for plugin in ("MpoImagePlugin", "WebPImagePlugin", "AvifImagePlugin"):
        importlib.import_module(f"PIL.{plugin}")
    ImageCms.createProfile("sRGB")
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def derive(source: BinaryIO, mime_type: str, preset: Preset, form: str) -> bytes:
    """The picture in *source*, of a type in `READABLE`, as *preset* wants it, encoded in *form*.

    It stands upright, is in sRGB and has no metadata. Raises Unusable.
    """
    try:
        # Nothing else is opened, whatever the bytes look like.
        with Image.open(source, formats=(READABLE[mime_type],)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Unusable(f"the picture has more than {MAX_PIXELS} pixels")
            if form == "webp" and _is_short_film(image, preset):
                return _animation(image, preset)
            return _encoded(_derived(image, preset), form)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Unusable(f"the picture has more than {MAX_PIXELS} pixels") from None
    except MemoryError:
        raise Unusable("the picture needs more memory than is allowed") from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        EOFError,
        OverflowError,
    ) as error:
        # What Pillow raises for damaged files; it has no class of its own for them.
        raise Unusable("the picture is damaged") from error


def _is_short_film(image: Image.Image, preset: Preset) -> bool:
    # What phones put behind the first picture of a JPEG, depths or brightness, is no second frame.
    if image.format not in ("GIF", "PNG", "WEBP", "AVIF") or not getattr(
        image, "is_animated", False
    ):
        return False
    frames: int = image.n_frames  # type: ignore[attr-defined]
    width, height = preset.plan(*image.size)[1]
    return (
        frames <= MAX_FRAMES
        and frames * image.width * image.height <= MAX_DECODED_PIXELS
        and frames * width * height <= MAX_ENCODED_PIXELS
    )


def _animation(image: Image.Image, preset: Preset) -> bytes:
    frames, durations = [], []
    for frame in _png_frames(image) if image.format == "PNG" else _frames(image):
        frames.append(_derived(frame, preset).convert("RGBA"))
        # Browsers show a frame of no duration for this long.
        durations.append(min(int(image.info.get("duration", 0)) or 100, _LONGEST))
    output = io.BytesIO()
    frames[0].save(
        output,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=_plays(image),
        background=(0, 0, 0, 0),  # not that of a GIF, which browsers ignore
        quality=75,
        method=2,
    )
    return output.getvalue()


def _frames(image: Any) -> Iterator[Image.Image]:
    """*image* at each of its frames; whoever iterates loads each, before the next is put on it as browsers do."""
    for index in range(image.n_frames):
        image.seek(index)
        yield image
        if image.format == "GIF":
            # NOTE: what is to be cleared gets a colour of the palette, unless the frame has a transparent one.
            image.im, image._mode = image.convert("RGBA").im, "RGBA"
            image.info.pop("transparency", None)
            # Before the first frame there was nothing.
            if image.disposal_method == _CLEARED or (
                image.disposal_method == _AS_BEFORE and index == 0
            ):
                left, top, right, bottom = image.dispose_extent
                image.dispose = Image.new("RGBA", (right - left, bottom - top)).im


def _png_frames(image: Any) -> Iterator[Image.Image]:
    """The frames of an animated PNG, each on the same canvas. https://www.w3.org/TR/png-3/#apng-frame-based-animation

    NOTE: Pillow would put the first on the picture that is for programs that cannot animate, make what is cleared black
    where the file has no alpha, and of a half transparent frame the square of its alpha.
    """
    shown, whole = Image.new("RGBA", image.size), (0, 0, *image.size)
    for index in range(1 if image.default_image else 0, image.n_frames):
        image.seek(index)
        image._prev_im = None  # then it puts the frame on nothing
        box, disposal = image.dispose_extent, image.dispose_op
        frame = _plain(image if box == whole else image.crop(box))
        before = shown.copy() if disposal == PngImagePlugin.Disposal.OP_PREVIOUS else None
        _put(shown, frame, box, over=image.blend_op == PngImagePlugin.Blend.OP_OVER)
        shown.info = {name: image.info.get(name) for name in ("exif", "icc_profile")}
        yield shown.convert("LA") if frame.mode in ("L", "LA") else shown
        if before is not None:
            shown = before
        elif disposal == PngImagePlugin.Disposal.OP_BACKGROUND:
            shown.paste((0, 0, 0, 0), box)


def _put(
    shown: Image.Image, frame: Image.Image, box: tuple[int, int, int, int], *, over: bool
) -> None:
    if frame.mode != "RGBA":  # converting to the same mode copies
        frame = frame.convert("RGBA")
    if over:
        shown.alpha_composite(frame, box[:2])
    else:
        shown.paste(frame, box)


def _plays(image: Image.Image) -> int:
    """How often the animation is shown, 0 for without end, as a WebP says it."""
    loop = int(image.info.get("loop", 0))
    if image.format == "GIF":
        # It says how often it is shown again, and nothing where once is enough.
        loop = loop + (loop > 0) if "loop" in image.info else 1
    return min(loop, _MOST_PLAYS)


def _derived(image: Image.Image, preset: Preset) -> Image.Image:
    profile = image.info.get("icc_profile")
    turn = exif.orientation(image.info.get("exif") or b"")
    shown = image.size[::-1] if turn >= _TRANSPOSED else image.size
    box, size = preset.plan(*shown)
    if turn >= _TRANSPOSED:
        size = size[::-1]
    left, top, right, bottom = _as_stored(box, turn, image.size)
    width, height = image.size
    # JPEG can be decoded smaller, which saves up to four fifths of the time.
    wanted = (size[0] * _GAP * width / (right - left), size[1] * _GAP * height / (bottom - top))
    image.draft(None, (int(wanted[0]), int(wanted[1])))
    across, down = image.width / width, image.height / height
    part = (left * across, top * down, right * across, bottom * down)
    small = _plain(image)
    if size != small.size or part != (0, 0, *small.size):
        small = small.resize(size, Image.Resampling.LANCZOS, part, _GAP)
    small = _in_srgb(small, profile)
    return small.transpose(_TURNS[turn]) if turn in _TURNS else small


def _as_stored(
    box: tuple[int, int, int, int], turn: int, size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Where *box*, of the upright picture, is in the stored one, of *size*."""
    left, top, right, bottom = box
    width, height = size
    if turn >= _TRANSPOSED:
        left, top, right, bottom = top, left, bottom, right
    if turn in (2, 3, 7, 8):
        left, right = width - right, width - left
    if turn in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def _plain(image: Image.Image) -> Image.Image:
    """*image* in a mode that can be resized: L, LA, RGB, RGBA or CMYK."""
    if image.mode.startswith("I"):  # 16 bits of grey
        return image.convert("I").point(lambda level: level * (1 / 257) + 0.5).convert("L")
    if "transparency" in image.info and image.mode in ("1", "L", "P", "RGB"):
        return image.convert("RGBA")
    if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK"):
        image.load()
        return image
    if image.mode == "1":
        return image.convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """*image* in mode RGB or RGBA, or grey without a profile, converted from *profile*, an ICC profile."""
    if image.mode in ("LA", "RGBA"):
        alpha = image.getchannel("A")
        image = _in_srgb(image.convert("L" if image.mode == "LA" else "RGB"), profile).convert(
            "RGB"
        )
        image.putalpha(alpha)
        return image
    if profile:
        try:
            described = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if described.profile.xcolor_space.strip() == _SPACES[image.mode]:
                converted = ImageCms.profileToProfile(
                    image, described, ImageCms.createProfile("sRGB"), outputMode="RGB"
                )
                assert converted is not None
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a damaged profile says nothing about the colours
    return image.convert("RGB") if image.mode == "CMYK" else image


def _encoded(image: Image.Image, form: str) -> bytes:
    if form == "jpeg" and image.mode == "RGBA":
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    if form in ("webp", "avif") and image.mode == "L":
        image = image.convert("RGB")
    image.info = {}
    output = io.BytesIO()
    image.save(output, form, **_OPTIONS[form])
    return output.getvalue()
