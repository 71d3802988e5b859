"""The JSON that strangers send: what it may be, and what is never made of it."""

import json
import tracemalloc

import pytest

from aurora_blobs.protocol.strict_json import MAX_DEPTH, parse_json


def refusal(data):
    with pytest.raises(ValueError) as caught:
        parse_json(data)
    return str(caught.value)


def nested(depth, opening="[", closing="]"):
    return (opening * depth + closing * depth).encode()


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        "☃ 😀",
        None,
        -1.5,
        {"a": ["[" * 1000, '"]' * 1000, "\\" * 999, 'x\\"[{']},
        [[]] * 5000,
    ],
    ids=lambda value: json.dumps(value)[:20],
)
@pytest.mark.parametrize("is_ascii", [True, False], ids=["ASCII", "UTF-8"])
def test_plain_json_is_read(value, is_ascii):
    assert parse_json(json.dumps(value, ensure_ascii=is_ascii).encode()) == value


def test_a_byte_order_mark_is_passed_over():
    assert parse_json(b"\xef\xbb\xbf{}") == {}


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "latin-1"]
)
def test_no_other_encoding_is_read(encoding):
    assert refusal('{"é": "é"}'.encode(encoding)).startswith(("is not UTF-8", "has a U+0000"))


@pytest.mark.parametrize(
    "data",
    [
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"\\uDFFF": 1}',
        b'"\xff"',
        b'"\xc0\x80"',
    ],
)
def test_halves_of_surrogate_pairs_are_refused(data):
    assert refusal(data) == "is not UTF-8"


def test_whole_surrogate_pairs_are_read():
    assert parse_json(b'"\\ud83d\\ude00"') == "😀"


@pytest.mark.parametrize(
    "data", [b'"\x00"', b'"\\u0000"', b'{"\\u0000": 1}', b'"\\\\\\u0000"', b"{}\x00"]
)
def test_nul_is_refused_by_name(data):
    assert refusal(data) == "has a U+0000, which is not accepted"


def test_a_text_that_only_looks_like_nul_is_read():
    assert parse_json(rb'"\\u0000 \\\\u0000"') == r"\u0000 \\u0000"


@pytest.mark.parametrize("brackets", [("[", "]"), ("[", "")], ids=["lists", "never closed"])
def test_the_depth_is_bounded_and_the_refusal_says_how(brackets):
    message = "is nested too deeply: at most 132 levels are accepted"

    assert refusal(nested(MAX_DEPTH + 1, *brackets)) == message
    assert refusal(nested(300_000, *brackets)) == message


def test_json_of_the_greatest_depth_is_read():
    value = parse_json(nested(MAX_DEPTH))

    assert json.dumps(value).encode() == nested(MAX_DEPTH)


def test_brackets_in_texts_are_no_depth():
    text = json.dumps({"a": "[{" * 10_000, "b\\": '"[[[' * 1000, "c": ["{"] * 300})

    assert parse_json(text.encode()) == json.loads(text)


def test_nothing_is_made_of_json_that_is_too_deep():
    data = nested(500_000)
    tracemalloc.start()

    refusal(data)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * len(data)


@pytest.mark.parametrize("data", [b"", b"{", b"NaN", b"[Infinity]", b"01", b"{'a': 1}", b"[1] 2"])
def test_what_is_not_json_is_refused(data):
    assert refusal(data).startswith("is not JSON: ")
