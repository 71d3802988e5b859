"""Real images and videos from tests/media.sh, and ImageMagick to compare with."""

import io
import shutil
import subprocess
from pathlib import Path

from PIL import Image, ImageChops, ImageStat
from support.project import CACHE

from aurora_blobs.thumbnails.presets import Preset

_MEDIA = CACHE / "media"
_PHONE = "forensics-samples-files/usr/share/forensics-samples/original-files"
_GO = "usr/share/gocode/src"

PHOTOS = {
    "12 MP with a location": f"{_PHONE}/pic1/IMG_20200827_231612.jpg",
    "progressive": f"{_PHONE}/pic1/IMG_1054.JPG",
    "upside down": f"{_PHONE}/pic2/IMG_20200124_231153.jpg",
    "from a messenger": f"{_PHONE}/pic1/IMG-20191006-WA0002.jpg",
    "just under 5 MiB": f"{_PHONE}/pic2/IMG_20200608_111614.jpg",
    "grey": (
        "librust-jpeg-decoder-dev/usr/share/cargo/registry/jpeg-decoder-0.2.6/benches/"
        "tower_grayscale.jpg"
    ),
}
FILMS = {
    "phone": (f"{_PHONE}/movie1/VID_20191220_170832.mp4", (1920, 1080, 1600), True),
    "screen": (f"{_PHONE}/movie2/movie-hello.mp4", (1280, 720, 8320), False),
    "mp4": (
        f"golang-github-gabriel-vasile-mimetype-dev/{_GO}/github.com/gabriel-vasile/mimetype/testdata/mp4.mp4",
        (560, 320, 5568),
        False,
    ),
    "mov": (
        f"golang-github-gabriel-vasile-mimetype-dev/{_GO}/github.com/gabriel-vasile/mimetype/testdata/mov.mov",
        (560, 320, 5599),
        False,
    ),
    "webm": (
        f"golang-github-gabriel-vasile-mimetype-dev/{_GO}/github.com/gabriel-vasile/mimetype/testdata/webm.webm",
        (560, 320, 5568),
        False,
    ),
}
ANIMATION = (
    f"golang-github-gabriel-vasile-mimetype-dev/{_GO}/"
    "github.com/gabriel-vasile/mimetype/testdata/apng.png"
)
ORIENTATIONS = (
    f"golang-github-disintegration-imaging-dev/{_GO}/github.com/disintegration/imaging/testdata"
)
WEBP = f"golang-golang-x-image-dev/{_GO}/golang.org/x/image/testdata"
CAMERAS = f"golang-github-rwcarlsen-goexif-dev/{_GO}/github.com/rwcarlsen/goexif/exif"
PROFILES = "colord-data/usr/share/color/icc/colord"


def media(name: str) -> Path:
    path = _MEDIA / name
    assert path.exists(), f"{path} is missing: tests/setup.sh brings it"
    return path


def magick(*arguments: str | Path, data: bytes | None = None) -> bytes:
    """Run ImageMagick; its standard output."""
    program = shutil.which("convert-im6.q16")
    assert program, "ImageMagick is missing: tests/setup.sh brings it"
    return subprocess.run(
        [program, *map(str, arguments)], input=data, check=True, capture_output=True
    ).stdout


def reference(source: Path | str, preset: Preset, data: bytes | None = None) -> Image.Image:
    """The picture made by ImageMagick: upright, without its colour profile, never enlarged."""
    cut = []
    if preset.fit == "cover":  # right only for photos stored upright or upside down
        width, height = map(
            int, magick(source, "-ping", "-format", "%w %h", "info:-", data=data).split()
        )
        across = min(width, round(height * preset.width / preset.height))
        down = min(height, round(width * preset.height / preset.width))
        cut = [
            "-crop",
            f"{across}x{down}+{(width - across) // 2}+{(height - down) // 2}",
            "+repage",
        ]
    shrink = ["-resize", f"{preset.width}x{preset.height}>"]
    return Image.open(
        io.BytesIO(
            magick(source, "-auto-orient", "+repage", *cut, *shrink, "-strip", "png:-", data=data)
        )
    )


def distance(one: Image.Image, other: Image.Image) -> float:
    """The root mean square of the differences, of the worst channel, 0 to 255."""
    difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    return max(ImageStat.Stat(difference).rms)
