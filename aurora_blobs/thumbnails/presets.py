"""Named sizes of thumbnails, and which part of an image they show. Nothing is ever enlarged."""

from collections.abc import Iterable
from dataclasses import dataclass

# The media types that thumbnails are made of, with Pillow's names, and the forms they are made in.
READABLE = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/apng": "PNG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/avif": "AVIF",
    "image/heic": "HEIF",
    "image/heic-sequence": "HEIF",
    "image/heif": "HEIF",
    "image/heif-sequence": "HEIF",
}
WRITABLE = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "avif": "image/avif"}


@dataclass(frozen=True, slots=True)
class Preset:
    """A size in pixels. The *fit* ``inside`` shows the whole image, ``cover`` crops it to fill."""

    fit: str
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.fit}-{self.width}x{self.height}"

    def plan(self, width: int, height: int) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
        """What to take of an image of *width* and *height*, and the size to make of it, in pixels.

        The part is (left, top, right, bottom), the size (width, height).
        """
        if self.fit == "inside":
            scale = min(self.width / width, self.height / height, 1)
            return (0, 0, width, height), (_pixels(width * scale), _pixels(height * scale))
        shown_width = min(width, _pixels(height * self.width / self.height))
        shown_height = min(height, _pixels(width * self.height / self.width))
        left, top = (width - shown_width) // 2, (height - shown_height) // 2
        size = min(self.width, shown_width), min(self.height, shown_height)
        return (left, top, left + shown_width, top + shown_height), size


# Names and sizes are those of Bluesky's AppView, so that its clients can be pointed here. Its feed
# thumbnail really is larger than its full size. It has no avatar_thumbnail, which clients ask its
# CDN for: that size is ours.
_BUILT_IN = {
    "avatar": Preset("cover", 1000, 1000),
    "avatar_thumbnail": Preset("cover", 128, 128),
    "banner": Preset("cover", 3000, 1000),
    "feed_thumbnail": Preset("inside", 2000, 2000),
    "feed_fullsize": Preset("inside", 1000, 1000),
}


def presets(settings: Iterable[str]) -> dict[str, Preset]:
    """The built-in presets, replaced and extended by *settings* (``card=inside:1200x630``)."""
    found = dict(_BUILT_IN)
    for text in settings:
        name, _, size = text.partition("=")
        fit, _, sides = size.partition(":")
        found[name] = Preset(fit, *map(int, sides.split("x")))
    return found


def _pixels(length: float) -> int:
    return max(1, round(length))
