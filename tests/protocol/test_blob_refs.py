"""References to blobs are found anywhere in a record, in both forms, and nothing else is."""

import pytest

from aurora_blobs.protocol.blob_refs import MAX_SAFE_INTEGER, Reference, find_references
from aurora_blobs.protocol.cid import aurora_form

CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
RECORD = "bafyreihffx5a2e7k5uwrmmgofbvzujc5cmw5h4espouwuxt3liqoflx3ee"
TYPED = {"$type": "blob", "ref": {"$link": CID}, "mimeType": "image/png", "size": 7}
LEGACY = {"cid": CID, "mimeType": "image/png"}
FOUND = Reference(CID, "image/png", 7)


@pytest.mark.parametrize(
    "value, found",
    [
        (TYPED, [FOUND]),
        ({"a": [1, {"b": TYPED}], "c": TYPED}, [FOUND, FOUND]),
        (LEGACY, [Reference(CID, "image/png", None)]),
        ({**TYPED, "size": 0}, [Reference(CID, "image/png", 0)]),
        ({**TYPED, "size": -1}, [Reference(CID, "image/png", -1)]),
        ({**TYPED, "size": MAX_SAFE_INTEGER}, [Reference(CID, "image/png", MAX_SAFE_INTEGER)]),
        ({**TYPED, "ref": {"$link": aurora_form(CID)}}, [FOUND]),
        ({**TYPED, "ref": {"$link": RECORD}}, [Reference(RECORD, "image/png", 7)]),
        ({**LEGACY, "cid": aurora_form(CID)}, [Reference(CID, "image/png", None)]),
    ],
    ids=range(9),
)
def test_a_reference_is_found(value, found):
    assert list(find_references(value)) == found


@pytest.mark.parametrize(
    "value",
    [
        None,
        CID,
        {},
        [],
        {**TYPED, "$type": "image"},
        {**TYPED, "extra": 1},
        {**TYPED, "size": "7"},
        {**TYPED, "size": 7.0},
        {**TYPED, "size": True},
        {**TYPED, "size": -2},
        {**TYPED, "size": MAX_SAFE_INTEGER + 1},
        {**TYPED, "mimeType": "png"},
        {**TYPED, "mimeType": None},
        {**TYPED, "ref": CID},
        {**TYPED, "ref": {"$link": "garbage"}},
        {**TYPED, "ref": {"$link": 7}},
        {**TYPED, "ref": {"$link": CID, "extra": 1}},
        {"$type": "blob", "ref": {"$link": CID}},
        {**LEGACY, "extra": 1},
        {**LEGACY, "mimeType": ""},
        {**LEGACY, "cid": "garbage"},
        {**LEGACY, "cid": 7},
    ],
    ids=str,
)
def test_a_malformed_reference_is_plain_data(value):
    assert list(find_references({"value": value})) == []


def test_a_reference_inside_a_malformed_one_is_found():
    assert list(find_references({**TYPED, "extra": TYPED})) == [FOUND]


def test_references_are_found_however_deep_they_are():
    value = TYPED
    for _ in range(100_000):
        value = [value]

    assert list(find_references(value)) == [FOUND]
