import pytest

from aurora_blobs.config import Config, ConfigError
from aurora_blobs.thumbnails.presets import Preset, presets


@pytest.mark.parametrize(
    "preset, picture, box, size",
    [
        (Preset("inside", 1000, 1000), (4000, 3000), (0, 0, 4000, 3000), (1000, 750)),
        (Preset("inside", 1000, 1000), (3000, 4000), (0, 0, 3000, 4000), (750, 1000)),
        (Preset("inside", 1200, 630), (1200, 1260), (0, 0, 1200, 1260), (600, 630)),
        (Preset("inside", 1000, 1000), (640, 480), (0, 0, 640, 480), (640, 480)),
        (Preset("inside", 1000, 1000), (50_000, 1), (0, 0, 50_000, 1), (1000, 1)),
        (Preset("cover", 1000, 1000), (4000, 3000), (500, 0, 3500, 3000), (1000, 1000)),
        (Preset("cover", 1000, 1000), (3000, 4000), (0, 500, 3000, 3500), (1000, 1000)),
        (Preset("cover", 3000, 1000), (6000, 3000), (0, 500, 6000, 2500), (3000, 1000)),
        (Preset("cover", 1000, 1000), (640, 480), (80, 0, 560, 480), (480, 480)),
        (Preset("cover", 3000, 1000), (1500, 1500), (0, 500, 1500, 1000), (1500, 500)),
        (Preset("cover", 1000, 1000), (1, 1), (0, 0, 1, 1), (1, 1)),
    ],
)
def test_a_preset_says_what_to_take_and_how_large_it_becomes(preset, picture, box, size):
    assert preset.plan(*picture) == (box, size)


def test_an_operator_adds_presets_and_changes_the_built_in_ones():
    config = Config.from_environ(
        {"AURORA_BLOBS_IMAGE_PRESETS": "card=inside:1200x630, avatar=cover:400x400"}
    )

    found = presets(config.image_presets)

    assert found["card"] == Preset("inside", 1200, 630)
    assert found["avatar"] == Preset("cover", 400, 400)
    assert found["banner"] == Preset("cover", 3000, 1000)


@pytest.mark.parametrize(
    "text",
    [
        "card",
        "card=inside",
        "card=stretch:1x1",
        "card=inside:0x9",
        "card=inside:12345x9",
        "a/b=inside:9x9",
    ],
)
def test_a_preset_that_cannot_be_read_is_refused(text):
    with pytest.raises(ConfigError, match="card=inside:1200x630"):
        Config.from_environ({"AURORA_BLOBS_IMAGE_PRESETS": text})
