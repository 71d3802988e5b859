"""Keys are those of PDSes, or nothing."""

import pytest
from support.accounts import CAROL
from support.cids import cid_of

from aurora_blobs.object_api.layout import Key, Kind, parse_key

CID = cid_of(b"x")


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_a_key_of_the_reference_pds_is_read_and_written_alike(kind):
    key = parse_key(f"{kind.value}/{CAROL}/{CID}")

    assert key == Key(kind, CAROL, CID)
    assert str(key) == f"{kind.value}/{CAROL}/{CID}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "blocks",
        f"blocks/{CAROL}",
        f"blocks/{CAROL}/",
        f"blocks/{CAROL}/{CID}/",
        f"blocks/{CAROL}/{CID.upper()}",
        f"blocks/{CAROL}/{CID[:-1]}",
        f"blocks/{CAROL}/bafyrei{'0' * 64}",
        f"blocks/alice.test/{CID}",
        f"blocks//{CID}",
        f"/blocks/{CAROL}/{CID}",
        f"other/{CAROL}/{CID}",
        f"tmp/{CAROL}/a/b",
        f"tmp/{CAROL}/{'a' * 256}",
        f"tmp/{CAROL}/a\0b",
        f"tmp/{CAROL}/..%2f",
        f"tmp/did:plc:{'a' * 3000}/a",
    ],
)
def test_another_text_is_no_key(text):
    assert parse_key(text) is None
