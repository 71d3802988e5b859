"""How large a picture or film is and how long it lasts, from its headers: nothing is decoded."""

from typing import NamedTuple

from aurora_blobs.media import image_size, video
from aurora_blobs.media.byte_source import Data, Unreadable

_STILLS = {
    "image/jpeg": image_size.jpeg_size,
    "image/png": image_size.png_size,
    "image/apng": image_size.png_size,
    "image/gif": image_size.gif_size,
    "image/webp": image_size.webp_size,
}
_FILMS = {"video/mp4": video.mp4, "video/quicktime": video.mp4, "video/webm": video.webm}
PROBED_TYPES = frozenset((*_STILLS, *_FILMS))
_MAX_SIDE = 2**31 - 1  # PNG's own limit; the others have less


class Facts(NamedTuple):
    """Width and height in pixels, as shown, and the duration in milliseconds; None where none could be read."""

    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None


def probe(data: Data, mime_type: str) -> Facts:
    """The facts in *data*, which is of *mime_type*. Never raises; takes well under a millisecond in memory."""
    size: tuple[int, int] | None
    duration_ms = None
    try:
        if mime_type in _STILLS:
            size = _STILLS[mime_type](data)
        elif mime_type in _FILMS:
            size, duration_ms = _FILMS[mime_type](data)
        else:
            return Facts()
    except Unreadable:
        return Facts()
    if size is None or max(size) > _MAX_SIDE:
        return Facts(duration_ms=duration_ms)
    return Facts(*size, duration_ms)
