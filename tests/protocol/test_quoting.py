"""What error messages repeat of a client's text: little, whatever was sent."""

import tracemalloc

import pytest

from aurora_blobs import logs
from aurora_blobs.errors import InvalidRequest
from aurora_blobs.protocol.quoting import (
    SHOWN,
    outlined,
    path_of,
    shown,
    shown_json,
    unquoted,
)


@pytest.mark.parametrize("length", [0, 1, SHOWN])
def test_a_short_text_is_shown_whole(length):
    assert shown("x" * length) == "x" * length


def test_a_long_text_is_cut():
    assert shown("x" * (SHOWN + 1)) == "x" * (SHOWN - 1) + "…"


LONG = "☃😀" * 250_000


@pytest.mark.parametrize(
    "value",
    [LONG, [LONG], {LONG: LONG}, [0] * 500_000, [[]] * 300_000, 10**4000, {"a": {LONG: 1}}],
    ids=["text", "list", "key", "numbers", "lists", "digits", "inner key"],
)
def test_a_value_is_shown_in_a_few_characters(value):
    assert len(shown_json(value)) <= SHOWN + 10
    assert len(outlined(value)) <= 2 * SHOWN + 20


def test_what_is_not_shown_is_not_written():
    values = [str(number) for number in range(500_000)]
    tracemalloc.start()

    shown_json(values)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_a_path_is_written_as_it_is_read():
    place = ((((None, "embed"), "images"), 3), "alt text")

    assert path_of(place) == '$.record.embed.images[3]["alt text"]'


def test_a_long_path_shows_both_ends():
    place = None
    for number in range(100):
        place = (place, f"key{number}")

    path = path_of(place)

    assert path.startswith("$.record.key0.key1.")
    assert path.endswith(".key98.key99")
    assert len(path) == 2 * SHOWN + 1


def test_no_message_is_long_whoever_wrote_it():
    assert len(InvalidRequest("x" * 1_000_000).message) == 2000


@pytest.mark.parametrize(
    "quote",
    [shown, shown_json, lambda text: outlined([{text: text}]), lambda text: outlined({text: 1})],
    ids=["text", "JSON", "list", "key"],
)
@pytest.mark.parametrize("text", ["a secret", 'a "quoted" secret', "a secret" * 100])
def test_a_log_has_a_message_without_what_it_quotes(quote, text):
    message = f"Expected a string (got {quote(text)}) at {path_of((None, text))}"

    told = unquoted(message)

    assert told.startswith("Expected a string (got ")
    assert "secret" not in told


def test_words_that_an_earlier_request_has_quoted_stay_in_messages():
    logs.begin_request()
    shown("Expected a string")
    logs.begin_request()
    told = unquoted("Expected a string")
    logs.end_request()

    assert told == "Expected a string"
