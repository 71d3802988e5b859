"""Four times the text costs four times the work, in whatever place a client puts it.

Costs are CPU seconds of this thread, which other processes do not add to.
"""

import json
import time
from contextlib import suppress
from urllib.parse import quote

import pytest
from support.accounts import UPLOAD, blob_path
from support.media_samples import jpeg
from werkzeug.test import EnvironBuilder

from aurora_blobs.api.ranges import is_listed, parse_accept, wanted_part
from aurora_blobs.auth.jwts import parse_jwt
from aurora_blobs.auth.requester import parse_authorization
from aurora_blobs.auth.scopes import allows_blob, allows_import, allows_repo
from aurora_blobs.errors import BlobServiceError
from aurora_blobs.intake.decoding import parse_encodings
from aurora_blobs.media.mime import choose_mime_type
from aurora_blobs.protocol import cid, syntax
from aurora_blobs.protocol.blob_refs import find_references
from aurora_blobs.protocol.strict_json import parse_json
from aurora_blobs.records.data_model import record_cid

# What comes before, again and again, and at the end.
FILLERS = {
    "spaces in a list": (",", " ", "x"),
    "spaces": ("a", " ", "\x7f"),
    "tabs": ("a/b;", "\t", "x"),
    "commas": ("", ",", "x"),
    "commas and spaces": ("", ", ", "x"),
    "quotes": ("", '"', ""),
    "a quote that does not end": ('"', "a", ""),
    "tags": ("", '"a",', "x"),
    "weak tags": ("", "W/", "x"),
    "backslashes": ('a/b; c="', "\\", "x"),
    "escaped quotes": ('a/b; c="', '\\"', ""),
    "parameters": ("a/b", ";a=b", "\x7f"),
    "continuations": ("a/b", ";a*0=b", "\x7f"),
    "qualities": ("a/b", ";q=0.1", "x"),
    "semicolons": ("a/b", "; ", "x"),
    "letters": ("a/", "a", "\x7f"),
    "zeros": ("bytes=", "0", "x"),
    "ranges": ("bytes=", "0-0,", "0-0"),
    "ranges apart": ("bytes=", "5-1,", "x"),
    "spaces in a range": ("bytes", " ", "x"),
    "dots": ("a", ".a", "-"),
    "hyphens": ("a.", "-", "."),
    "colons": ("did:web:", ":", ":"),
    "escapes": ("did:web:", "%41", "%"),
    "percents": ("", "%", "x"),
    "slashes": ("at://", "/", "x"),
    "equal signs": ("bearer ", "=", "x"),
    "segments": ("bearer ", "a.", "a"),
    "scopes": ("", "blob:*/* ", "x"),
    "parameters of a scope": ("blob?", "accept=a/b&", "x"),
    "brackets": ("", "[", ""),
    "texts": ("", '"a\\', ""),
}
# For the places where one request has many such texts.
FEW = ["spaces in a list", "tags", "escaped quotes", "letters", "percents", "brackets"]
# A cost below this is not compared, CPU seconds. Quadratic work over the texts below takes more.
_NOISE = 0.1


def cost(call, argument):
    began = time.thread_time()
    with suppress(ValueError, BlobServiceError):
        call(argument)
    return time.thread_time() - began


def assert_linear(call, text_of, length):
    """*call* with ``text_of(4 * length)`` costs four times that with *length*, or little."""
    assert cost(call, text_of(length)) < 10 * _NOISE
    if cost(call, text_of(4 * length)) < _NOISE:
        return
    short = min(cost(call, text_of(length)) for _ in range(3))
    long = min(cost(call, text_of(4 * length)) for _ in range(3))
    assert long < _NOISE or long < 10 * short


def text_maker(parts):
    start, again, end = parts
    return lambda length: start + again * (length // len(again)) + end


def drained(parse):
    return lambda text: list(parse(text))


PARSERS = {
    "DID": syntax.parse_did,
    "handle": syntax.parse_handle,
    "identifier": syntax.parse_at_identifier,
    "NSID": syntax.parse_nsid,
    "record key": syntax.parse_record_key,
    "AT URI": syntax.parse_at_uri,
    "TID": syntax.parse_tid,
    "media type": syntax.parse_mime_type,
    "CID": cid.parse_cid,
    "CID in base32": lambda text: cid.parse_cid("b" + "a" * len(text)),
    "tags": lambda text: is_listed(text, '"x"'),
    "range": lambda text: wanted_part(text, size=100, etag='"x"', if_range=None),
    "If-Range": lambda text: wanted_part("bytes=0-", size=100, etag='"x"', if_range=text),
    "Accept": parse_accept,
    "Content-Encoding": parse_encodings,
    "Content-Type": lambda text: choose_mime_type(
        text, b"\x1f\x8b\x08", policy="strict", allowed=("*/*",)
    ),
    "Content-Type of XML": lambda text: choose_mime_type(
        text, b"<?xml ", policy="strict", allowed=("*/*",)
    ),
    "Authorization": parse_authorization,
    "token": parse_jwt,
    "scope of blobs": lambda text: allows_blob(text, "image/png"),
    "scope of records": lambda text: allows_repo(text, "com.example.a", "create"),
    "scope of imports": allows_import,
    "type against a scope": lambda text: allows_blob("blob:image/*", text),
    "JSON": lambda text: parse_json(text.encode()),
    "text in JSON": lambda text: parse_json(json.dumps({text: [text]}).encode()),
    "references": drained(lambda text: find_references({"a": [text] * 2, text: {text: text}})),
    "link": lambda text: record_cid({"a": {"$link": text}}),
    "bytes": lambda text: record_cid({"a": {"$bytes": text}}),
}


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS.keys())
def test_parsers_take_time_in_proportion(parse):
    for parts in FILLERS.values():
        assert_linear(parse, text_maker(parts), 25_000)


HEADERS = [
    *("If-None-Match", "If-Match", "If-Range", "Range", "Accept", "Content-Type"),
    *("Content-Encoding", "Authorization", "DPoP", "Access-Control-Request-Headers"),
    *("Host", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Cookie"),
]


def call(client, path, method="GET", header=None, query="", body=None, **headers):
    """The request, with *header* (name and text) as it would come over the wire."""
    builder = EnvironBuilder(path=path, method=method, headers=headers, data=body)
    environ = builder.get_environ()
    environ["QUERY_STRING"] = query or environ["QUERY_STRING"]
    if header is not None:
        name = header[0].upper().replace("-", "_")
        environ[name if name == "CONTENT_TYPE" else f"HTTP_{name}"] = header[1]
    client.open(environ, buffered=True).close()


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("target", ["blob", "picture", "upload", "document"])
def test_headers_take_time_in_proportion(alice, target, name):
    published = alice.publish(jpeg("cat"))
    path, method = {
        "blob": (blob_path(alice.did, published.cid), "GET"),
        "picture": (f"/img/avatar/plain/{alice.did}/{published.cid}", "GET"),
        "upload": (UPLOAD, "POST"),
        "document": ("/.well-known/did.json", "GET"),
    }[target]
    body = b"{}" if method == "POST" else None

    for parts in FILLERS.values():
        assert_linear(
            lambda text: call(
                alice.client, path, method, (name, text), body=body, **dict(alice.headers)
            ),
            text_maker(parts),
            16_000,
        )


def test_every_route_reads_paths_and_queries_in_proportion(app, alice):
    parameters = ("did", "cid", "repo", "collection", "rkey", "cursor", "limit", "since", "actor")
    for rule in app.url_map.iter_rules():
        for start, again, end in map(FILLERS.get, FEW[::2]):

            def query(length, start=start, again=again, end=end):
                raw = start + again * (length // len(again)) + end
                escaped = quote(raw)
                return "&".join([*(f"{name}={escaped}" for name in parameters), raw])

            assert_linear(
                lambda text, rule=rule: call(
                    alice.client, rule.rule, query=text, **dict(alice.headers)
                ),
                query,
                1_000,
            )


@pytest.mark.parametrize(
    "method",
    [
        *("repo.createRecord", "repo.applyWrites", "server.createAccount"),
        *("server.createSession", "admin.updateSubjectStatus"),
    ],
)
def test_texts_in_a_body_take_time_in_proportion(alice, method):
    names = ("collection", "rkey", "did", "handle", "email", "password", "identifier", "token")

    def body(text):
        given = dict.fromkeys(names, text)
        write = {"$type": "com.atproto.repo.applyWrites#create", "value": {text: text}, **given}
        record = {"$type": text, "a": {"$link": text}, text: [text]}
        more = {"repo": alice.did, "record": record, "writes": [write], "subject": given}
        return json.dumps({**given, **more}).encode()

    for parts in map(FILLERS.get, FEW):
        assert_linear(
            lambda text: call(
                alice.client,
                f"/xrpc/com.atproto.{method}",
                "POST",
                body=body(text),
                **{**alice.headers, "Content-Type": "application/json"},
            ),
            text_maker(parts),
            8_000,
        )


def test_few_types_of_an_accept_header_are_read():
    header = ",".join(f"a/{number}" for number in range(1000))

    assert list(parse_accept(header)) == [f"a/{number}" for number in range(64)]


@pytest.mark.parametrize(
    "header, found",
    [
        ("", {}),
        ("image/webp", {"image/webp": 1}),
        ("IMAGE/WebP ; Q=0.5 , */* ; q=0.1", {"image/webp": 0.5, "*/*": 0.1}),
        ("a/b;q=0", {"a/b": 0}),
        ("a/b;q=2", {"a/b": 1}),
        ("a/b;level=1;q=0.3, a/b;q=0.25", {"a/b": 0.3}),
        (",, ,a/b", {"a/b": 1}),
    ],
    ids=ascii,
)
def test_an_accept_header_is_read_as_the_rfc_has_it(header, found):
    assert parse_accept(header) == found


def test_a_list_of_tags_is_read_to_where_it_breaks():
    assert is_listed('"a", W/"b" ,"x"', '"x"')
    assert is_listed("*", '"x"')
    assert not is_listed('"a" b, "x"', '"x"')
