import io
import random

import pytest
from support.mutants import mutants, pictures

from aurora_blobs.errors import UnusableImage
from aurora_blobs.thumbnails.presets import Preset

PICTURES = pictures()
ANSWERS = ("damaged", "pixels", "more memory than is allowed")


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(
    "count", [30, pytest.param(2000, marks=pytest.mark.long)], ids=["some", "2,000"]
)
def test_a_mutant_has_a_thumbnail_or_a_reason(pool, name, count):
    """A child that dies or hangs says nothing, which is a reason of its own."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    mime_type, data = PICTURES[name]

    reasons = {
        _reason(pool, mutant, mime_type, chance.choice(("webp", "png")))
        for mutant in mutants(data, chance, count)
    }

    print(reasons)
    assert not [reason for reason in reasons if not any(said in reason for said in ANSWERS)]


def _reason(pool, data: bytes, mime_type: str, form: str) -> str:
    try:
        pool.derive(io.BytesIO(data), mime_type, Preset("inside", 40, 40), form)
    except UnusableImage as error:
        return error.message
    return "damaged or shown"
