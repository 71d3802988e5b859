"""Brands, containers, tags and claims by the thousand, and mutants of each."""

import random
import tracemalloc

import pytest
from support.corpus import NAMES, corpus
from support.media_variants import variants

from aurora_blobs.errors import InvalidMimeType
from aurora_blobs.intake.spool import HEAD, MAX_HEAD
from aurora_blobs.media import mime, type_names
from aurora_blobs.media.signatures import detect, wanted_bytes
from aurora_blobs.protocol.syntax import parse_mime_type

ANY = ("*/*",)
DEFAULT = ("image/jpeg", "image/png", "image/gif", "image/webp", "video/mp4", "video/webm")
VARIANTS = dict(variants())
FILES = {name: corpus(name) for name in NAMES}
REFUSED = {"strict": None, "sniff": "never"}  # where every type is allowed
CLAIMS = [
    None,
    "audio/flac",
    "audio/mp4",
    "audio/mpeg",
    "application/zip",
    "image/avif",
    "image/heic",
    "image/jpeg",
    "image/pjpeg",
    "image/x-png",
    "text/plain",
    "video/mp4",
    "video/x-m4v",
    "video/x-matroska",
    *type_names.NO_CLAIMS,
]


def head_of(data):
    return data[: max(HEAD, min(wanted_bytes(data[:HEAD]), MAX_HEAD))]


def chosen(claim, head, policy, allowed):
    """The type, None if the upload is refused."""
    try:
        return mime.choose_mime_type(claim, head, policy=policy, allowed=allowed)
    except InvalidMimeType:
        return None


@pytest.mark.parametrize("data", VARIANTS.values(), ids=VARIANTS)
def test_a_variant_is_taken_under_its_own_name(data):
    head = head_of(data)
    found = detect(head)

    assert found is not None
    assert chosen(found, head, "strict", ANY) == chosen(None, head, "sniff", ANY) == found
    assert mime.is_consistent(found, head)


@pytest.mark.parametrize("policy", ["strict", "sniff"])
@pytest.mark.parametrize("data", VARIANTS.values(), ids=VARIANTS)
def test_no_claim_gets_a_variant_past_the_list_or_under_a_foreign_name(data, policy):
    head = head_of(data)
    found = detect(head)

    for claim in CLAIMS:
        assert chosen(claim, head, policy, ANY) in {claim, found, REFUSED[policy]}
        taken = chosen(claim, head, policy, DEFAULT)
        assert taken is None or mime.is_allowed(taken, DEFAULT)


@pytest.mark.parametrize(
    "sources, count",
    [
        pytest.param(VARIANTS, 10, id="10 of each variant"),
        pytest.param(FILES, 60, id="60 of each file"),
        pytest.param(VARIANTS, 2000, id="2,000 of each variant", marks=pytest.mark.long),
        pytest.param(FILES, 2000, id="2,000 of each file", marks=pytest.mark.long),
    ],
)
def test_no_mutant_makes_detection_fail_or_takes_memory(sources, count):
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)

    for name, data in sources.items():
        tracemalloc.start()
        for _ in range(count):
            mutant = mutated(head_of(data), chance)
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            found = detect(mutant)
            _, peak = tracemalloc.get_traced_memory()
            assert found is None or parse_mime_type(found) == found, (name, mutant)
            # A part that is cut out of the longest head, and an entry of a ZIP decoded.
            assert peak - before < 400_000, (name, mutant)
            assert 0 <= wanted_bytes(mutant) < 2**34, (name, mutant)
            assert chosen(None, mutant, "strict", ANY) is not None, (name, mutant)
        tracemalloc.stop()


def mutated(data, chance):
    """*data* with a few bytes changed, put in, taken out or cut off."""
    mutant = bytearray(data)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(mutant) + 1)
        mutant[at : at + chance.randrange(9)] = chance.randbytes(chance.randrange(9))
    if chance.random() < 0.3:
        del mutant[chance.randrange(len(mutant) + 1) :]
    return bytes(mutant)
