"""The size of an image or a video and its duration, from the headers. Nothing is decoded."""

from typing import NamedTuple

from aurora_blobs.media import heif, image_size, video
from aurora_blobs.media.byte_source import ByteSource, Unreadable

_IMAGES = {
    "image/jpeg": image_size.jpeg_size,
    "image/png": image_size.png_size,
    "image/apng": image_size.png_size,
    "image/gif": image_size.gif_size,
    "image/webp": image_size.webp_size,
    "image/avif": heif.heif_size,
    "image/heic": heif.heif_size,
    "image/heic-sequence": heif.heif_size,
    "image/heif": heif.heif_size,
    "image/heif-sequence": heif.heif_size,
}
_VIDEOS = {
    "video/mp4": video.mp4_info,
    "video/quicktime": video.mp4_info,
    "video/x-m4v": video.mp4_info,
    "video/3gpp": video.mp4_info,
    "video/3gpp2": video.mp4_info,
    "video/webm": video.webm_info,
    "video/matroska": video.webm_info,
    "video/x-matroska": video.webm_info,
}
PROBED_TYPES = frozenset((*_IMAGES, *_VIDEOS))
_MAX_SIDE = 2**31 - 1  # PNG's own limit; the other formats have lower ones


class Facts(NamedTuple):
    """Width and height in pixels, as shown, and the duration; None where none could be read."""

    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None


def probe(source: ByteSource, mime_type: str) -> Facts:
    """The facts in *source*, a blob of *mime_type*. Never raises.

    Takes well under a millisecond if the bytes are in memory.
    """
    size: tuple[int, int] | None
    duration_ms = None
    try:
        if mime_type in _IMAGES:
            size = _IMAGES[mime_type](source)
        elif mime_type in _VIDEOS:
            size, duration_ms = _VIDEOS[mime_type](source)
        else:
            return Facts()
    except Unreadable:
        return Facts()
    if size is None or max(size) > _MAX_SIDE:
        return Facts(duration_ms=duration_ms)
    return Facts(*size, duration_ms)
