"""Text that is not UTF-8, or has a U+0000, is refused at every door in plain words."""

import json

import pytest
from support.accounts import ADMIN
from support.car_files import CAR, IMPORT, car_of

from aurora_blobs.api.envelope import error_response
from aurora_blobs.auth.jwts import base64url, parse_jwt
from aurora_blobs.errors import InvalidRequest, OAuthRefused
from aurora_blobs.protocol.dag_cbor import decode

SURROGATE, NUL = "The request body is not UTF-8", "The request body has a U+0000"
METHODS = [
    *("com.atproto.server.createSession", "com.atproto.server.createAccount"),
    *("com.atproto.repo.createRecord", "com.atproto.repo.applyWrites"),
    *("com.atproto.admin.updateSubjectStatus", "com.atproto.server.deleteAccount"),
]
BODIES = {
    "UTF-16": ('{"é": 1}'.encode("utf-16"), SURROGATE),
    "UTF-16 without a mark": ('{"a": 1}'.encode("utf-16-le"), NUL),
    "UTF-32": ('{"é": 1}'.encode("utf-32"), SURROGATE),
    "a raw surrogate": (b'{"a": "\xed\xa0\x80"}', SURROGATE),
    "an escaped one": (b'{"a": "\\ud800"}', SURROGATE),
    "a raw NUL": (b'{"a": "\x00"}', NUL),
    "an escaped NUL": (b'{"a": "\\u0000"}', NUL),
}


def refused(answer, message):
    assert (answer.status_code, answer.json["error"]) == (400, "InvalidRequest"), answer.text
    assert message in answer.json["message"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("body, message", BODIES.values(), ids=BODIES.keys())
def test_a_body_of_broken_text_is_refused(alice, method, body, message):
    admin = {"auth": ADMIN} if ".admin." in method else {"headers": alice.headers}

    answer = alice.client.post(
        f"/xrpc/{method}", data=body, content_type="application/json", **admin
    )

    refused(answer, message)


@pytest.mark.parametrize(
    "identifier", [b"\xed\xa0\x80.test", b"\\ud800", b"\xff", b"a\\u0000b"], ids=ascii
)
def test_a_log_in_with_such_a_name_is_refused_and_not_unimplemented(client, identifier):
    answer = client.post(
        "/xrpc/com.atproto.server.createSession",
        data=b'{"identifier": "' + identifier + b'", "password": "correct horse"}',
        content_type="application/json",
    )

    refused(answer, "The request body ")


def send_query(client, path, query):
    return client.get(path, environ_overrides={"QUERY_STRING": query})


@pytest.mark.parametrize(
    "method, name",
    [
        ("com.atproto.sync.listBlobs", "cursor"),
        ("com.atproto.sync.getBlob", "cid"),
        ("com.atproto.repo.listRecords", "cursor"),
        ("com.atproto.identity.resolveHandle", "handle"),
    ],
)
@pytest.mark.parametrize(
    "text, message",
    [
        ("%ED%A0%80", "The query is not UTF-8"),
        ("%ff", "The query is not UTF-8"),
        ("%C3", "The query is not UTF-8"),
        ("\xe9", "The query is not UTF-8"),
        ("a%00b", "The query has a U+0000"),
    ],
    ids=ascii,
)
def test_a_query_of_broken_text_is_refused(client, method, name, text, message):
    refused(send_query(client, f"/xrpc/{method}", f"did=did:web:a.test&{name}={text}"), message)


@pytest.mark.parametrize("text", ["%C3%A9", "\xc3\xa9", "%F0%9F%98%80", "%25ff", "+", "%2500"])
def test_a_query_of_sound_text_is_read(alice, text):
    answer = send_query(
        alice.client, "/xrpc/com.atproto.sync.listBlobs", f"did={alice.did}&cursor={text}"
    )

    assert answer.json == {"cids": []}


def token(header, claims):
    return ".".join(base64url(part) for part in (header, claims, b"signature"))


@pytest.mark.parametrize(
    "text", [b'"\xed\xa0\x80"', b'"\\udfff"', b'"\\u0000"', b'"\x00"', b'"\xff"'], ids=ascii
)
def test_a_token_of_broken_text_is_no_token(text):
    good, bad = b'{"alg":"ES256"}', b'{"sub":' + text + b"}"

    for header, claims in [(good, bad), (bad, good)]:
        with pytest.raises(ValueError):
            parse_jwt(token(header, claims))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_a_token_in_another_encoding_is_no_token(encoding):
    with pytest.raises(ValueError):
        parse_jwt(token(b'{"alg":"ES256"}', '{"sub":"a"}'.encode(encoding)))


@pytest.mark.parametrize(
    "block",
    [b"\xa1\x61a\x63\xed\xa0\x80", b"\xa1\x63\xed\xa0\x80\x01", b"\xa1\x61a\x61\xff"],
    ids=ascii,
)
def test_a_block_of_broken_text_is_refused(block):
    with pytest.raises(ValueError):
        decode(block)


@pytest.mark.parametrize("value", [{"a": "x\0"}, {"a\0": 1}, {"a": [{"b": ["\0"]}]}], ids=ascii)
def test_an_imported_text_with_a_nul_is_refused_by_name(alice, value):
    answer = alice.client.post(
        IMPORT,
        data=car_of({"com.example.file/1": value}, alice.did).getvalue(),
        headers={**alice.headers, "Content-Type": CAR},
    )

    refused(answer, "record 'com.example.file/1': a text has a U+0000, which is not accepted")


@pytest.mark.parametrize("ref", ["\udcff", "a\0"], ids=ascii)
def test_no_takedown_is_noted_under_such_a_text(core, ref):
    with pytest.raises(InvalidRequest, match="takedown.ref has to be UTF-8 without U\\+0000"):
        core.take_down("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", "", ref)


def test_an_error_is_answered_whatever_its_message_is(app):
    with app.test_request_context():
        answer = error_response(InvalidRequest("\ud800 and \0 and ☃"))

    assert json.loads(answer.data)["message"] == "? and \0 and ☃"


@pytest.mark.parametrize("message", ["a\r\nb", "☃", 'say "a"', "a\\", "\x7f"], ids=ascii)
def test_an_unusual_message_is_in_no_header(message):
    assert message not in str(OAuthRefused("invalid_token", message).headers)


@pytest.mark.parametrize("path", ["/xrpc/com.atproto.sync.listBlobs", "/.well-known/did.json"])
def test_a_failure_while_an_error_is_answered_is_no_missing_method(app, path):
    class Broken(InvalidRequest):
        @property
        def headers(self):
            raise RuntimeError("the error page fails")

    @app.before_request
    def fail():
        raise Broken("anything")

    answer = app.test_client().get(path)

    assert (answer.status_code, answer.json["error"]) == (500, "InternalServerError")
    assert answer.headers["X-Request-Id"]
