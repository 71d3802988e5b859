"""Keys are those of PDSes, or nothing."""

import pytest
from support.accounts import CAROL
from support.cids import cid_of

from aurora_blobs.object_api.layout import Key, Kind, parse_key, parse_place

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
        f"tmp/{CAROL}/..",
        f"tmp/{CAROL}/.",
        f"tmp/did:plc:{'a' * 3000}/a",
    ],
)
def test_another_text_is_no_key(text):
    assert parse_key(text) is None


@pytest.mark.parametrize(
    "name, kind",
    [
        (f"blocks/{CAROL}/{CID}", Kind.STORED),
        (f"prefix/blocks/{CAROL}/{CID}", Kind.STORED),
        (f"{CAROL}/{CID}", Kind.STORED),
        (f"blobs/{CAROL}/{CID}", Kind.STORED),
        (f"tempt/{CAROL}/{CID}", Kind.STAGED),
        (f"prefix/tmp/{CAROL}/{CID}", Kind.STAGED),
        (f"blobs/quarantine/{CAROL}/{CID}", Kind.QUARANTINED),
    ],
)
def test_places_in_a_store_of_the_reference_pds_are_read(name, kind):
    assert parse_place(name) == Key(kind, CAROL, CID)


@pytest.mark.parametrize("name", ["", CID, f"x/{CID}", f"{CAROL}/notes.txt", f"tempt/{CAROL}/.."])
def test_other_files_are_no_objects(name):
    assert parse_place(name) is None
