import io
import struct
import subprocess
import sys
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image
from support import media
from support.corpus import PICTURES, corpus

from aurora_blobs.errors import UnusableImage
from aurora_blobs.media.probe import probe
from aurora_blobs.thumbnails.presets import WRITABLE, Preset, presets

HEIC = "image/heic"
LARGE = Preset("inside", 1000, 1000)
FILES = [name for name, mime_type in PICTURES.items() if mime_type == HEIC]


def shown(pool, data: bytes, form: str = "png") -> Image.Image:
    return Image.open(io.BytesIO(pool.derive(io.BytesIO(data), HEIC, LARGE, form)))


@pytest.mark.parametrize("form", WRITABLE)
@pytest.mark.parametrize("name", FILES)
def test_a_heic_has_a_thumbnail_in_every_form(pool, name, form):
    assert shown(pool, corpus(name), form).size == (96, 64)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_heic_is_shown_upright_and_its_size_is_that(pool, orientation):
    image = Image.new("RGB", (128, 64), (200, 30, 30))
    image.paste((40, 50, 200), (0, 32, 128, 64))
    output = io.BytesIO()
    exif = b"Exif\0\0" + media.tiff(orientation=orientation)
    pillow_heif.from_pillow(image).save(output, exif=exif)
    upright = image.rotate({1: 0, 3: 180, 6: 270, 8: 90}[orientation], expand=True)

    made = shown(pool, output.getvalue())

    assert made.size == upright.size == probe(output.getvalue(), HEIC)[:2]
    for x, y in ((3, 3), (upright.width - 4, upright.height - 4)):
        pairs = zip(made.getpixel((x, y)), upright.getpixel((x, y)), strict=True)
        assert max(abs(one - other) for one, other in pairs) < 12


def test_heic_is_decoded_in_the_child_alone(pool):
    shown(pool, corpus(FILES[0]))

    assert "PIL" in Path(f"/proc/{pool.process.pid}/maps").read_text()
    assert "heif" not in Path(f"/proc/{pool.process.pid}/maps").read_text()


def test_a_heic_of_more_pixels_than_is_promised_is_refused(pool):
    data, extent = corpus(FILES[0]), struct.pack(">II", 96, 64)
    assert extent in data
    larger = data.replace(extent, struct.pack(">II", 5000, 10_001))

    with pytest.raises(UnusableImage, match="more than 50000000 pixels"):
        shown(pool, larger)


@pytest.mark.long
@pytest.mark.parametrize("preset", ["banner", "avatar_thumbnail"])
def test_a_heic_may_have_as_many_pixels_as_is_promised(pool, preset):
    output = io.BytesIO()
    image = Image.radial_gradient("L").resize((8000, 6250)).convert("RGB")
    pillow_heif.from_pillow(image).save(output, enc_params={"preset": "ultrafast"})

    made = pool.derive(io.BytesIO(output.getvalue()), HEIC, presets([])[preset], "webp")

    assert Image.open(io.BytesIO(made)).size == presets([])[preset].plan(8000, 6250)[1]


WITHOUT_HEIF = """
import io, sys
sys.modules["pillow_heif"] = None
from aurora_blobs.errors import MethodNotImplemented
from aurora_blobs.thumbnails.pool import WorkerPool
from aurora_blobs.thumbnails.presets import Preset
try:
    WorkerPool().derive(io.BytesIO(), "image/heic", Preset("inside", 9, 9), "png")
except MethodNotImplemented as error:
    print(error.message)
"""


def test_without_pillow_heif_the_answer_says_what_is_missing():
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_HEIF], capture_output=True, text=True, check=True
    )

    assert "install the extra heic of aurora_blobs" in run.stdout
