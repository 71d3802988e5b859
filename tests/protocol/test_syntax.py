import random
from pathlib import Path

import pytest

from aurora_blobs.protocol import syntax
from aurora_blobs.protocol.syntax import AtUri

VECTORS = Path(__file__).parent / "vectors"
PARSERS = {
    "did": syntax.parse_did,
    "handle": syntax.parse_handle,
    "nsid": syntax.parse_nsid,
    "tid": syntax.parse_tid,
    "recordkey": syntax.parse_record_key,
    "aturi": syntax.parse_at_uri,
}


def vectors(verdict):
    return [
        pytest.param(PARSERS[name], line, id=f"{name} {line[:60]}")
        for name in PARSERS
        for line in (VECTORS / f"{name}_syntax_{verdict}.txt").read_text().split("\n")
        if line and not line.startswith("#")
    ]


@pytest.mark.parametrize("parse, text", vectors("valid"))
def test_a_valid_text_is_accepted(parse, text):
    assert str(parse(text)).lower() == text.lower()


@pytest.mark.parametrize("parse, text", vectors("invalid"))
def test_an_invalid_text_is_refused(parse, text):
    with pytest.raises(ValueError, match="^Invalid "):
        parse(text)


@pytest.mark.parametrize(
    "parse, text",
    [
        (syntax.parse_did, "did:plc:" + "v" * 2041),
        (syntax.parse_nsid, "com." + "middle." * 45 + "foo"),
        (syntax.parse_record_key, "o" * 513),
        (syntax.parse_at_uri, "at://did:plc:asdf123/com.atproto.feed.post/" + "o" * 8200),
    ],
    ids=["did", "nsid", "record key", "at-uri"],
)
def test_a_text_that_is_too_long_is_refused_with_a_short_message(parse, text):
    with pytest.raises(ValueError) as refusal:
        parse(text)

    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    "parse", [*PARSERS.values(), syntax.parse_at_identifier], ids=[*PARSERS, "identifier"]
)
@pytest.mark.parametrize(
    "text", ["", "\n", "\0", "ſelf", "a\n"], ids=["empty", "newline", "NUL", "not ASCII", "tail"]
)
def test_no_parser_accepts_odd_characters(parse, text):
    with pytest.raises(ValueError):
        parse(text)


@pytest.mark.parametrize(
    "parse, text",
    [
        (syntax.parse_did, "did:plc:abc"),
        (syntax.parse_handle, "alice.test"),
        (syntax.parse_nsid, "app.bsky.feed.post"),
        (syntax.parse_tid, "3jzfcijpj2z2a"),
        (syntax.parse_record_key, "self"),
        (syntax.parse_at_uri, "at://did:plc:abc/app.bsky.feed.post/self"),
    ],
    ids=PARSERS,
)
def test_a_newline_at_the_end_is_not_overlooked(parse, text):
    parse(text)

    with pytest.raises(ValueError):
        parse(text + "\n")


@pytest.mark.parametrize(
    "parse, text, message",
    [
        (syntax.parse_did, "alice.test", 'Invalid DID (got "alice.test")'),
        (syntax.parse_tid, "nottid", 'Invalid TID string (got "nottid")'),
        (syntax.parse_nsid, "post", 'Invalid NSID (got "post")'),
        (syntax.parse_record_key, "a b", 'Invalid record key (got "a b")'),
        (syntax.parse_at_identifier, "alice", 'Invalid AT identifier (got "alice")'),
        (syntax.parse_at_uri, "at://", 'Invalid at-uri (got "at://")'),
        (syntax.parse_mime_type, 'a"b', r'Invalid MIME type (got "a\"b")'),
    ],
    ids=["did", "tid", "nsid", "record key", "identifier", "at-uri", "mime type, with a quote"],
)
def test_a_refusal_names_what_was_expected_and_shows_what_came(parse, text, message):
    with pytest.raises(ValueError) as refusal:
        parse(text)

    assert str(refusal.value) == message


def test_a_handle_is_normalised_to_lower_case():
    assert syntax.parse_handle("Alice.Test") == "alice.test"


@pytest.mark.parametrize(
    "text, parsed", [("did:web:a.test", "did:web:a.test"), ("A.test", "a.test")]
)
def test_an_identifier_is_a_did_or_a_handle(text, parsed):
    assert syntax.parse_at_identifier(text) == parsed


def test_an_at_uri_comes_apart():
    assert syntax.parse_at_uri("at://did:web:a.test/app.bsky.feed.post/self") == AtUri(
        "did:web:a.test", "app.bsky.feed.post", "self"
    )


@pytest.mark.parametrize(
    "uri",
    [
        "at://did:web:a.test",
        "at://did:web:a.test/app.bsky.feed.post",
        "at://did:web:a.test/app.bsky.feed.post/self",
    ],
    ids=["authority", "collection", "record"],
)
def test_an_at_uri_is_written_as_it_was_read(uri):
    assert str(syntax.parse_at_uri(uri)) == uri


def test_a_tid_holds_the_microseconds_above_ten_bits():
    tid = syntax.new_tid(1_700_000_000_123_456, None)

    alphabet = "234567abcdefghijklmnopqrstuvwxyz"
    value = sum(
        alphabet.index(character) << 5 * place for place, character in enumerate(reversed(tid))
    )
    assert value >> 10 == 1_700_000_000_123_456


@pytest.mark.parametrize(
    "step", [0, -5_000_000, 1], ids=["clock stands", "clock goes back", "clock goes on"]
)
def test_tids_rise_whatever_the_clock_does(step):
    now, tids = 1_700_000_000_000_000, [None]

    for _ in range(2000):
        tids.append(syntax.parse_tid(syntax.new_tid(now, tids[-1])))
        now += step

    assert tids[1:] == sorted(set(tids[1:]))


def test_tids_sort_as_their_times():
    random_times = sorted(random.Random(7).sample(range(2**53), 500))

    tids = [syntax.new_tid(time, None) for time in random_times]

    assert tids == sorted(tids)


def test_nothing_follows_the_greatest_tid():
    with pytest.raises(ValueError, match="no TID"):
        syntax.new_tid(0, "jzzzzzzzzzzzz")


@pytest.mark.parametrize(
    "text, parsed",
    [
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("text/plain; charset=utf-8", "text/plain"),
        (" text/plain ;charset=utf-8", "text/plain"),
        ("image/jpg", "image/jpeg"),
        ("image/JPG; q=1", "image/jpeg"),
        ("application/vnd.ipld.car", "application/vnd.ipld.car"),
        ("image/svg+xml", "image/svg+xml"),
        ("*/*", "*/*"),
        ("image/*", "image/*"),
        ('multipart/form-data; boundary="a;b/c"', "multipart/form-data"),
    ],
)
def test_a_media_type_is_bare_and_in_lower_case(text, parsed):
    assert syntax.parse_mime_type(text) == parsed


@pytest.mark.parametrize(
    "text",
    ["", "jpg", "foo bar", "image/", "/png", "image/png/x", "image /png", "image/p ng", "é/a"],
)
def test_a_malformed_media_type_is_refused(text):
    with pytest.raises(ValueError):
        syntax.parse_mime_type(text)


@pytest.mark.parametrize("now", [2**53 - 1, 2**53, 2**60], ids=["2255", "2255 and more", "38504"])
def test_a_clock_beyond_the_last_tid_still_makes_tids_that_rise(now):
    tids = [syntax.new_tid(now, None)]
    for _ in range(3000):
        tids.append(syntax.new_tid(now, tids[-1]))

    assert tids == sorted(set(tids))
    assert [syntax.parse_tid(tid) for tid in tids] == tids
