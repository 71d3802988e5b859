"""Changed copies of files: what parsers meet when a disk, a network or somebody else errs.

As a program it reads SEED and COUNT from its arguments, bounds its memory, and has the parsers of
`aurora_blobs.media` read COUNT mutants of each container.
"""

import io
import random
import resource
import sys
from collections.abc import Iterator

from PIL import Image
from support import positions
from support.corpus import corpus

from aurora_blobs.media.location import has_location
from aurora_blobs.media.probe import PROBED_TYPES, probe
from aurora_blobs.media.signatures import detect
from aurora_blobs.thumbnails.worker import address_space

_MEMORY = 64 * 2**20  # bytes that a parser may take; a guess, ten times what was seen
_LENGTHS = (0, 1, 8, 0x7F, 0x80, 0xFE, 0xFF)  # what parsers stumble upon


def pictures() -> dict[str, tuple[str, bytes]]:
    """A small real picture of each container that thumbnails are made of: type and bytes."""
    image = Image.radial_gradient("L").resize((96, 64)).convert("RGB")
    exif = b"Exif\0\0" + positions.tiff()
    frames = [image.rotate(90 * turn) for turn in range(3)]

    def encoded(form: str, **options: object) -> bytes:
        output = io.BytesIO()
        image.save(output, form, **options)  # type: ignore[arg-type]
        return output.getvalue()

    moving = {"save_all": True, "append_images": frames, "duration": 50}
    return {
        "jpeg": ("image/jpeg", encoded("JPEG", exif=exif)),
        "progressive jpeg": ("image/jpeg", encoded("JPEG", progressive=True)),
        "png": ("image/png", encoded("PNG", exif=exif)),
        "palette png": ("image/png", _quantized(image)),
        "apng": ("image/apng", encoded("PNG", **moving)),
        "gif": ("image/gif", encoded("GIF", **moving)),
        "webp": ("image/webp", encoded("WEBP", exif=exif)),
        "moving webp": ("image/webp", encoded("WEBP", **moving)),
        "avif": ("image/avif", encoded("AVIF", exif=exif)),
        "heic": ("image/heic", corpus("heic_hevc.heic")),
    }


def _quantized(image: Image.Image) -> bytes:
    output = io.BytesIO()
    image.quantize(16).save(output, "PNG", transparency=3)
    return output.getvalue()


def containers() -> dict[str, tuple[str, bytes]]:
    """A file of each container that is looked into, by name: type and bytes."""
    found = {name: (mime_type, data) for name, mime_type, data in positions.with_a_position()}
    firsts = {name.partition(":")[0]: value for name, value in reversed(found.items())}
    return firsts | pictures()


def mutants(data: bytes, chance: random.Random, count: int) -> Iterator[bytes]:
    """*count* copies of *data* with bytes changed, cut off, taken out, doubled or made up.

    Most changes are near the beginning, where the headers are.
    """
    for _ in range(count):
        changed = bytearray(data)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            at = int(len(changed) * chance.random() ** 2)
            length = chance.randint(1, 16)
            kind = chance.randrange(8)
            if kind < 5:
                changed[at : at + 1] = bytes([chance.choice((*_LENGTHS, chance.randrange(256)))])
            elif kind == 5:
                del changed[at : at + length]
            elif kind == 6:
                changed[at:at] = changed[at : at + length]
            else:
                del changed[len(changed) - at :]
        yield bytes(changed)


def main() -> None:
    seed, count = map(int, sys.argv[1:])
    chance = random.Random(seed)
    samples = containers()
    memory = address_space() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    for name, (mime_type, data) in samples.items():
        print(name, flush=True)
        for mutant in mutants(data, chance, count):
            detect(mutant[:8192])
            probe(mutant, mime_type if mime_type in PROBED_TYPES else "video/mp4")
            has_location(mutant, mime_type)


if __name__ == "__main__":
    main()
