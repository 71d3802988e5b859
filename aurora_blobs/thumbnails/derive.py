"""Makes thumbnails with Pillow. Only the worker process imports it: decoders can be attacked."""

import importlib
import io
import struct
import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

from PIL import Image, ImageChops, ImageCms, PngImagePlugin

from aurora_blobs.media import exif
from aurora_blobs.thumbnails.mending import mended, with_end
from aurora_blobs.thumbnails.presets import READABLE, Preset

# Of one image, by Pillow's name of its format. At its bound each was measured to need less than
# three quarters of a child's memory and half of its CPU time, whatever it is made into. Per pixel
# Pillow and libwebp hold 16 bytes, Pillow and libavif 18.5 (10 bits, 4:4:4, alpha), the others at
# most 10.
MAX_PIXELS = {
    "JPEG": 50_000_000,
    "PNG": 50_000_000,
    "GIF": 50_000_000,
    "WEBP": 30_000_000,
    "AVIF": 25_000_000,
    "HEIF": 50_000_000,
}
# Bounds of an animation; beyond them only its first frame is shown. DECODED and ENCODED are of all
# frames together.
MAX_FRAMES, MAX_FRAME_PIXELS = 300, 10_000_000
MAX_DECODED_PIXELS, MAX_ENCODED_PIXELS = 200_000_000, 20_000_000
# CPU time for the frames; an animation that takes longer shows its first one. What is left of the
# child's 10 seconds is for the encoder: 20 megapixels of noise take it 6.
_FRAMES_SECONDS = 3.0
# What a WebP can say of an animation: RFC 9649, 2.7.1.
_MAX_LOOPS = 2**16 - 1
_MAX_FRAME_MS = 2**24 - 1
_USUAL_FRAME_MS = 100  # browsers show a frame of no duration for this long
_CLEAR, _RESTORE = 2, 3  # GIF disposal methods; GIF89a, 23
# Images are reduced in two steps. The first, cheap one stays above this multiple of the size.
_REDUCING_GAP = 2.0
_UPRIGHTING = {  # by orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_COLOUR_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}  # Pillow's modes, ICC's names
_OPTIONS: dict[str, dict[str, object]] = {
    # A comment is the only metadata that Pillow copies by itself.
    # Progressive, it takes five times as long for 5 % fewer bytes, and a phone more to show it.
    "jpeg": {"quality": 85, "comment": b""},
    # 4 MP of a photo in 0.5 s; the default, 6, takes 1.2 s and saves 4 %.
    "png": {"compress_level": 3},
    "webp": {"quality": 80, "method": 4},
    "avif": {"quality": 65, "speed": 8, "max_threads": 1},
}


# Not JPEG: what phones append to it, a depth or brightness map, is no second frame.
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")


class Unusable(Exception):
    """No thumbnail can be made of the bytes; the message says why."""


class _TooLarge(Exception):
    """The picture has more than `MAX_PIXELS`."""


class _TooSlow(Exception):
    """The frames of an animation take more than `_FRAMES_SECONDS`."""


def prepare() -> None:
    """Load all that Pillow would load on demand, because a child cannot open files."""
    Image.preinit()
    for plugin in ("MpoImagePlugin", "WebPImagePlugin", "AvifImagePlugin"):
        importlib.import_module(f"PIL.{plugin}")
    ImageCms.createProfile("sRGB")
    Image.MAX_IMAGE_PIXELS = max(MAX_PIXELS.values())
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def load_decoder(mime_type: str) -> None:
    """Load what `prepare` has not: HEIC has few pictures, and its libraries are large."""
    if READABLE[mime_type] == "HEIF":
        heif: Any = importlib.import_module("pillow_heif")
        # An embedded thumbnail may be of other quality, and of another picture.
        heif.register_heif_opener(thumbnails=False, depth_images=False, decode_threads=1)


# All that Pillow raises for damaged files: it has no class of its own for them.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    EOFError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    RuntimeError,  # of libavif
    struct.error,
    zlib.error,
)
_NO_MEMORY = "the picture needs more memory than is allowed"
_OUT_OF_MEMORY = ("Out of memory", "Memory allocation error")  # of libavif, of libheif


def derive(source: BinaryIO, mime_type: str, preset: Preset, form: str) -> bytes:
    """The thumbnail of *source*, of a type in `READABLE`, for *preset*, encoded in *form*.

    It is upright, in sRGB and without metadata. Whether there is one depends on *source* alone, so
    that a failure is remembered for all presets and forms. Raises Unusable.
    """
    # One decoder only, whatever the bytes look like.
    kind = READABLE[mime_type]
    too_large = f"the picture has more than {MAX_PIXELS[kind]} pixels, the most of a {kind}"
    try:
        if form == "webp" and kind in _ANIMATED:
            # What is too much for an animation, or damaged behind its first frame, stands still.
            with suppress(_TooSlow, MemoryError, *_DAMAGED):
                animation = _animation(mended(source, kind, moves=True), kind, preset)
                if animation is not None:
                    return animation
        source = mended(source, kind)
        try:
            return _encoded(_still(source, kind, preset), form)
        except OSError:
            if kind != "JPEG":
                raise
        # Not before: until here the error keeps the first attempt's pixels in memory.
        return _encoded(_still(_completed(source), kind, preset), form)
    except (_TooLarge, Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Unusable(too_large) from None
    except MemoryError:
        raise Unusable(_NO_MEMORY) from None
    except _DAMAGED as error:
        if any(said in str(error) for said in _OUT_OF_MEMORY):
            raise Unusable(_NO_MEMORY) from None
        raise Unusable("the picture is damaged") from error


def _opened(source: BinaryIO, kind: str) -> Image.Image:
    source.seek(0)
    return Image.open(source, formats=(kind,))


def _animation(source: BinaryIO, kind: str, preset: Preset) -> bytes | None:
    """The thumbnail that moves; None if there is none. Raises _TooSlow."""
    with _opened(source, kind) as image:
        return _encoded_animation(image, preset) if _is_short_animation(image, preset) else None


def _still(source: BinaryIO, kind: str, preset: Preset) -> Image.Image:
    """Raises _TooLarge."""
    with _opened(source, kind) as image:
        if image.width * image.height > MAX_PIXELS[kind]:
            raise _TooLarge
        return _thumbnail(image, preset)


def _completed(source: BinaryIO) -> BinaryIO:
    """*source*, a JPEG, with the end that it lacks. Raises OSError if it lacks pixels too."""
    ends = list(with_end(source))
    with _opened(ends[0], "JPEG") as one, _opened(ends[1], "JPEG") as other:
        for image in (one, other):
            image.draft(None, (1, 1))  # an eighth of the size, by the means of 8 x 8 pixels
        if ImageChops.difference(one, other).getbbox() is not None:
            raise OSError("pixels are missing")
    return ends[0]


def _is_short_animation(image: Image.Image, preset: Preset) -> bool:
    if not getattr(image, "is_animated", False):
        return False
    frames: int = image.n_frames  # type: ignore[attr-defined]
    width, height = preset.plan(*image.size)[1]
    return (
        frames <= MAX_FRAMES
        and image.width * image.height <= MAX_FRAME_PIXELS
        and frames * image.width * image.height <= MAX_DECODED_PIXELS
        and frames * width * height <= MAX_ENCODED_PIXELS
    )


def _encoded_animation(image: Image.Image, preset: Preset) -> bytes:
    """Raises _TooSlow."""
    frames, durations = [], []
    for frame in _png_frames(image) if image.format == "PNG" else _frames(image):
        frames.append(_thumbnail(frame, preset).convert("RGBA"))
        duration = int(image.info.get("duration", 0)) or _USUAL_FRAME_MS
        durations.append(min(duration, _MAX_FRAME_MS))
        if time.process_time() > _FRAMES_SECONDS:
            raise _TooSlow
    output = io.BytesIO()
    frames[0].save(
        output,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=_loop_count(image),
        background=(0, 0, 0, 0),  # not the GIF's own, which browsers ignore
        quality=75,
        method=2,
    )
    return output.getvalue()


def _frames(image: Any) -> Iterator[Image.Image]:
    """*image* at each of its frames, drawn as browsers do.

    The caller must load a frame before it asks for the next one.
    """
    for index in range(image.n_frames):
        image.seek(index)
        yield image
        if image.format == "GIF":
            # NOTE: Pillow clears to a colour of the palette, unless one is transparent.
            image.im, image._mode = image.convert("RGBA").im, "RGBA"
            image.info.pop("transparency", None)
            # Before the first frame there was nothing, so restoring clears.
            if image.disposal_method == _CLEAR or (
                image.disposal_method == _RESTORE and index == 0
            ):
                left, top, right, bottom = image.dispose_extent
                image.dispose = Image.new("RGBA", (right - left, bottom - top)).im


def _png_frames(image: Any) -> Iterator[Image.Image]:
    """The frames of an animated PNG, drawn on one canvas.

    NOTE: Pillow draws the first frame on the image for programs that cannot animate, clears to
    black if the file has no alpha, and squares the alpha of a half transparent frame.
    https://www.w3.org/TR/png-3/#apng-frame-based-animation
    """
    canvas, whole = Image.new("RGBA", image.size), (0, 0, *image.size)
    for index in range(1 if image.default_image else 0, image.n_frames):
        image.seek(index)
        image._prev_im = None  # then Pillow draws the frame on nothing
        box, disposal = image.dispose_extent, image.dispose_op
        frame = _resizable(image if box == whole else image.crop(box))
        before = canvas.copy() if disposal == PngImagePlugin.Disposal.OP_PREVIOUS else None
        _draw(canvas, frame, box, over=image.blend_op == PngImagePlugin.Blend.OP_OVER)
        canvas.info = {name: image.info.get(name) for name in ("exif", "icc_profile")}
        yield canvas.convert("LA") if frame.mode in ("L", "LA") else canvas
        if before is not None:
            canvas = before
        elif disposal == PngImagePlugin.Disposal.OP_BACKGROUND:
            canvas.paste((0, 0, 0, 0), box)


def _draw(
    canvas: Image.Image, frame: Image.Image, box: tuple[int, int, int, int], *, over: bool
) -> None:
    """Draw *frame* into *box*, *over* what is there or in its place."""
    if frame.mode != "RGBA":  # converting to the same mode copies
        frame = frame.convert("RGBA")
    if over:
        canvas.alpha_composite(frame, box[:2])
    else:
        canvas.paste(frame, box)


def _loop_count(image: Image.Image) -> int:
    """How often the animation is shown, as in a WebP; 0 is without end."""
    if image.format == "GIF" and "loop" not in image.info:
        return 1
    loops = int(image.info.get("loop", 0))
    if image.format == "GIF" and loops:
        loops += 1  # a GIF counts the repetitions
    return min(loops, _MAX_LOOPS)


def _thumbnail(image: Image.Image, preset: Preset) -> Image.Image:
    """The part of *image* that *preset* shows, in its size, upright and in sRGB."""
    profile = image.info.get("icc_profile")
    orientation = exif.orientation(image.info.get("exif") or b"")
    is_sideways = orientation in exif.SIDEWAYS
    box, size = preset.plan(*(image.size[::-1] if is_sideways else image.size))
    if is_sideways:
        size = size[::-1]
    left, top, right, bottom = _as_stored(box, orientation, image.size)
    width, height = image.size
    # JPEG can be decoded at a lower resolution, which saves up to four fifths of the time.
    least_width = int(size[0] * _REDUCING_GAP * width / (right - left))
    least_height = int(size[1] * _REDUCING_GAP * height / (bottom - top))
    image.draft(None, (least_width, least_height))
    across, down = image.width / width, image.height / height
    part = (left * across, top * down, right * across, bottom * down)
    small = _resizable(image)
    if size != small.size or part != (0, 0, *small.size):
        small = small.resize(size, Image.Resampling.LANCZOS, part, _REDUCING_GAP)
    small = _in_srgb(small, profile)
    return small.transpose(_UPRIGHTING[orientation]) if orientation in _UPRIGHTING else small


def _as_stored(
    box: tuple[int, int, int, int], orientation: int, size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Where *box*, of the upright image, lies in the stored one, of *size*."""
    left, top, right, bottom = box
    width, height = size
    if orientation in exif.SIDEWAYS:
        left, top, right, bottom = top, left, bottom, right
    if orientation in (2, 3, 7, 8):
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def _resizable(image: Image.Image) -> Image.Image:
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
    """*image*, of a mode that `_resizable` gives, converted from *profile*, an ICC profile, if any.

    The mode is then RGB or RGBA, or still L where no profile applies.
    """
    if image.mode in ("LA", "RGBA"):
        alpha = image.getchannel("A")
        colours = image.convert("L" if image.mode == "LA" else "RGB")
        image = _in_srgb(colours, profile).convert("RGB")
        image.putalpha(alpha)
        return image
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if source.profile.xcolor_space.strip() == _COLOUR_SPACES[image.mode]:
                converted = ImageCms.profileToProfile(
                    image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
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
