"""JSON and DAG-CBOR of records, compared with libipld and the protocol's vectors."""

import json
import time
from base64 import b64encode

import libipld
import pytest

from aurora_blobs.protocol.dag_cbor import MAX_DEPTH, cid_of_block, decode, encode

RAW_CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
RECORD_CID = "bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        "",
        "snowman ☃ 😀",
        None,
        True,
        False,
        0,
        23,
        24,
        255,
        256,
        65_535,
        65_536,
        2**32 - 1,
        2**32,
        2**64 - 1,
        -1,
        -24,
        -25,
        -256,
        -257,
        -(2**64),
        1.5,
        {"b": 1, "aa": 2, "a": 3, "": 4, "é": 5},
        {"k" * 300: ["x" * 70_000, {"deep": [[[[1]]]]}]},
    ],
    ids=lambda value: json.dumps(value)[:30],
)
def test_plain_values_are_encoded_as_libipld_does_and_come_back(value):
    assert encode(value) == libipld.encode_dag_cbor(value)
    assert decode(encode(value)) == value


@pytest.mark.parametrize("cid", [RAW_CID, RECORD_CID, "baeaaaaa"])
def test_a_link_is_a_tagged_cid(cid):
    value = {"ref": {"$link": cid}}

    assert encode(value) == libipld.encode_dag_cbor({"ref": bytes_of(cid)})
    assert decode(encode(value)) == value


def bytes_of(cid):
    return libipld.decode_multibase(cid)[1]


def test_bytes_that_look_like_a_cid_stay_bytes():
    value = {"not a link": {"$bytes": b64encode(bytes_of(RAW_CID)).decode().rstrip("=")}}

    assert decode(encode(value)) == value


@pytest.mark.parametrize("data", [b"", b"\x00", b"any", bytes(range(256)) * 300])
def test_bytes_come_back(data):
    value = {"data": {"$bytes": b64encode(data).decode().rstrip("=")}}

    assert encode(value) == libipld.encode_dag_cbor({"data": data})
    assert decode(encode(value)) == value


def test_bytes_stay_bytes_beside_a_link_of_the_same_bytes():
    value = [
        {"$link": RAW_CID},
        {"$bytes": b64encode(bytes_of(RAW_CID)).decode().rstrip("=")},
        {"$link": RAW_CID},
    ]

    assert decode(encode(value)) == value


def test_a_link_is_found_whatever_stands_before_it():
    tag = "\xd8\x2a\x58\x25"
    value = {
        "a": [1.5, 2**40, -5, tag * 99, None, {"$bytes": ""}],
        "b": {"$bytes": "2Co"},
        "c": {"$link": RECORD_CID},
    }

    assert decode(encode(value)) == value


def test_many_byte_strings_are_read_in_good_time():
    count = 200_000
    began = time.monotonic()

    decode(b"\x9a" + count.to_bytes(4, "big") + b"\x40" * count)

    assert time.monotonic() - began < 20


def test_bytes_may_be_padded():
    assert encode({"$bytes": "aGk="}) == encode({"$bytes": "aGk"}) == b"\x42hi"


def test_the_cid_of_a_block_is_that_of_the_protocol():
    # https://github.com/bluesky-social/atproto-interop-tests data-model-fixtures.json, the first
    value = {
        "string": "abc",
        "unicode": "a~öñ©⽘☎𓋓😀👨‍👩‍👧‍👧",
        "integer": 123,
        "bool": True,
        "null": None,
    }
    value |= {
        "array": ["abc", "def", "ghi"],
        "object": {"string": "abc", "number": 123, "bool": True},
    }
    value["object"]["arr"] = ["abc", "def", "ghi"]

    assert cid_of_block(encode(value)) == RECORD_CID


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_value_as_deep_as_allowed_comes_back():
    assert decode(encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)


@pytest.mark.parametrize(
    "value",
    [
        nested(MAX_DEPTH + 1),
        2**64,
        -(2**64) - 1,
        "\ud800",
        {"$link": 1},
        {"$link": "zb2rh"},
        {"$link": "b0"},
        {"$link": "bé"},
        {"$bytes": 1},
        {"$bytes": "a"},
        {"$bytes": "a$c"},
        {"$bytes": "é"},
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_value_without_a_dag_cbor_form_is_refused(value):
    with pytest.raises(ValueError):
        encode(value)


@pytest.mark.parametrize(
    "block",
    {
        "nothing": b"",
        "cut off": b"\xa1\x61a",
        "two values": b"\x01\x01",
        "unsorted keys": bytes.fromhex("a2616201616102"),
        "a key twice": bytes.fromhex("a2616101616102"),
        "a key that is a number": bytes.fromhex("a10101"),
        "no end": bytes.fromhex("9f01ff"),
        "another tag": bytes.fromhex("c24101"),
        "not a number": bytes.fromhex("fb7ff8000000000000"),
        "not UTF-8": b"\x61\xff",
        "longer than memory": bytes.fromhex("9b7fffffffffffffff"),
        "a CID that is none": bytes.fromhex("d82a4301aabb"),
        "nested too deeply": b"\x81" * (MAX_DEPTH + 1) + b"\x00",
        "nested far too deeply": b"\x81" * 1_000_000 + b"\x00",
    }.values(),
)
def test_bytes_that_are_not_dag_cbor_are_refused(block):
    with pytest.raises(ValueError):
        decode(block)
