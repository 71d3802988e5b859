"""The lines in the log about requests: uploads, refusals, log-ins, failures; without secrets."""

import json
import logging
import re
from base64 import b64encode
from collections import defaultdict
from urllib.parse import quote

import pytest
from flask import request
from support.accounts import ALICE, UPLOAD, set_takedown, sign_up
from support.routes import all_routes

from aurora_blobs import logs
from aurora_blobs.api import request_log
from aurora_blobs.catalog import audit
from aurora_blobs.errors import BackendUnavailable

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(1000)
CREATE_SESSION = "/xrpc/com.atproto.server.createSession"
SAMPLES = {
    "did": ALICE,
    "cid": "bafkreigc3ug6prjy36grchshsym3ckkgjubgtufol7iyzki5got737vjlq",
    "repo": ALICE,
    "collection": "app.bsky.feed.post",
    "rkey": "self",
    "preset": "avatar",
}
FIELD = re.compile(r' (\w+)=("(?:[^"\\]|\\.)*"|[!#-<>-~]+)')


@pytest.fixture(autouse=True)
def one_second(monkeypatch):
    """What may be logged in a second is not used up by another test."""
    for name in ("LOG_INS", "REFUSALS", "FAILURES", "UPLOADS"):
        monkeypatch.setattr(request_log, name, logs.Sparing(logs.LINES_PER_SECOND, lambda: 1.0))


@pytest.fixture
def lines(log_lines):
    """``lines(message)`` gives level and fields of each line with *message*."""

    def lines(message):
        found = []
        for line in log_lines():
            head, said, rest = line.partition(f" aurora_blobs.requests {message}")
            if said:
                fields = {
                    name: json.loads(value) if value.startswith('"') else value
                    for name, value in FIELD.findall(rest)
                }
                found.append((head.split()[1], fields))
        return found

    return lines


def test_an_upload_is_a_line(alice, lines):
    answer = alice.upload(JPEG)

    cid = answer.json["blob"]["ref"]["$link"]
    ((level, fields),) = lines("stored")
    assert level == "INFO"
    assert int(fields.pop("ms")) < 60_000
    assert fields == {
        "request": answer.headers["X-Request-Id"],
        "did": alice.did,
        "cid": cid,
        "bytes": str(len(JPEG)),
        "type": "image/jpeg",
    }


def test_above_so_many_in_a_second_uploads_are_lines_for_debugging_alone(alice, lines):
    log = logging.getLogger("aurora_blobs")
    log.setLevel(logging.INFO)
    for _ in range(logs.LINES_PER_SECOND + 3):
        alice.upload(JPEG)
    assert len(lines("stored")) == logs.LINES_PER_SECOND

    log.setLevel(logging.DEBUG)
    alice.upload(JPEG)
    assert len(lines("stored")) == logs.LINES_PER_SECOND + 1


def test_a_refused_upload_is_a_line_that_says_why(alice, lines):
    answer = alice.upload(b"plain text", "text/plain", **{"User-Agent": "x"})

    ((level, fields),) = lines("refused")
    assert level == "INFO"
    assert fields.pop("reason").startswith("… is not accepted here")
    assert int(fields.pop("ms")) < 60_000
    assert fields == {
        "request": answer.headers["X-Request-Id"],
        "address": "127.0.0.1",
        "verb": "POST",
        "call": "com.atproto.repo.uploadBlob",
        "did": alice.did,
        "status": "400",
        "error": "InvalidMimeType",
    }


def test_a_read_that_is_refused_is_for_debugging(alice, lines):
    alice.fetch("bafkreigc3ug6prjy36grchshsym3ckkgjubgtufol7iyzki5got737vjlq")

    ((level, fields),) = lines("refused")
    assert (level, fields["error"], fields["verb"]) == ("DEBUG", "BlobNotFound", "GET")


def test_what_the_service_fails_with_is_a_warning(alice, lines, monkeypatch):
    def put(blob):
        raise BackendUnavailable("the store is away")

    monkeypatch.setattr(alice.services.blobs.backend, "put", put)

    answer = alice.upload(JPEG)

    assert answer.status_code == 502
    ((level, fields),) = lines("refused")
    assert (level, fields["reason"], fields["did"]) == ("WARNING", "the store is away", alice.did)


def test_a_log_in_is_a_line_and_so_is_one_that_fails(alice, client, lines):
    given = {"identifier": "alice.test", "password": "correct horse"}
    client.post(CREATE_SESSION, json=given)
    client.post(CREATE_SESSION, json=given | {"password": "a wrong horse"})
    client.post(CREATE_SESSION, json=given | {"identifier": "nobody.test"})

    ((level, fields),) = lines("logged in")
    assert (level, fields["did"], fields["address"]) == ("INFO", alice.did, "127.0.0.1")
    failed = [
        (level, fields.get("did"), fields["status"]) for level, fields in lines("log-in failed")
    ]
    assert failed == [("INFO", alice.did, "401"), ("INFO", None, "401")]


def test_who_signs_up_is_a_line(client, lines):
    account = sign_up(client)

    ((level, fields),) = lines("signed up")
    assert (level, fields["did"], fields["address"]) == ("INFO", account.did, "127.0.0.1")


def test_a_wrong_password_of_the_administrator_is_a_failed_log_in_whatever_is_read(client, lines):
    client.get(f"/xrpc/com.atproto.admin.getSubjectStatus?did={ALICE}", auth=("admin", "a guess"))

    ((level, fields),) = lines("log-in failed")
    assert (level, fields["call"]) == ("INFO", "com.atproto.admin.getSubjectStatus")


def test_strangers_cause_so_many_lines_in_a_second_and_no_more(client, lines):
    for _ in range(4 * logs.LINES_PER_SECOND):
        client.post(UPLOAD, data=JPEG)

    assert len(lines("refused")) == logs.LINES_PER_SECOND


def test_no_number_of_refusals_hides_a_guess_at_a_password(client, lines):
    for _ in range(logs.LINES_PER_SECOND + 1):
        client.post(UPLOAD, data=JPEG)
    client.post(CREATE_SESSION, json={"identifier": "nobody.test", "password": "a guess"})

    assert len(lines("log-in failed")) == 1


@pytest.mark.parametrize(
    "name", ["a\nb", "\x1b[2J", "\u202eb", '" did=did:web:evil.test'], ids=ascii
)
def test_a_path_breaks_no_line_and_forges_no_field(client, log_lines, lines, name):
    client.get(f"/img/avatar/plain/{quote(name)}/x")

    ((_, fields),) = lines("refused")
    assert fields["call"] == f"/img/avatar/plain/{name}/x"
    assert "did" not in fields
    assert all(line.isprintable() for line in log_lines())


def hushed(route, arguments):
    """A request to *route* with a secret wherever there is room for one."""
    query = {
        name: f"hush-query-{name}" for name in (*route.query, "access_token", "X-Amz-Signature")
    }
    return {
        "path": route.path(arguments),
        "method": route.verb,
        "query_string": query | {name: SAMPLES[name] for name in route.query if name in arguments},
        "headers": {
            "Cookie": "session=hush-cookie",
            "DPoP": "hush-proof",
            "Referer": "http://x.test/?t=hush-referrer",
            "X-Api-Key": "hush-key",
        },
    }


CREDENTIALS = ["Bearer hush-token", "DPoP hush-token", "hush-scheme hush-token", "hush-alone"]
BODIES = [
    lambda names: {name: f"hush-body-{name}" for name in names},
    lambda names: {name: {"hush-key": ["hush-inner"]} for name in names},
    lambda names: "hush-whole",
]


@pytest.mark.parametrize("route", all_routes(), ids=lambda route: f"{route.verb} {route.rule}")
def test_no_line_about_a_refusal_holds_what_may_be_a_secret(app, route, log_lines):
    client = app.test_client()
    alice = sign_up(client)
    given = [alice.headers["Authorization"], "Basic " + b64encode(b"admin:open sesame").decode()]
    for arguments in (dict.fromkeys(SAMPLES, "hush-path"), SAMPLES):
        request = hushed(route, defaultdict(lambda: "hush-path", arguments))
        for authorization in (*CREDENTIALS, *given):
            headers = request["headers"] | {"Authorization": authorization}
            for body in BODIES:
                client.open(**request | {"headers": headers}, json=body(route.body))

    text = "\n".join(line.replace("hush-path", "") for line in log_lines())
    assert "hush" not in text
    assert alice.token not in text and given[1].split()[1] not in text


def test_no_traceback_holds_what_came_with_the_request(client, alice, log_lines, monkeypatch):
    def fail(identifier, password):
        raise RuntimeError(f"{identifier} {password} {request.headers} {request.url}")

    monkeypatch.setattr(alice.services.accounts, "with_password", fail)

    answer = client.post(
        f"{CREATE_SESSION}?access_token=hush-query",
        json={"identifier": "hush-name", "password": "hush-password"},
        headers={"Authorization": "Bearer hush-token", "Cookie": "a=hush-cookie"},
    )

    text = "\n".join(log_lines())
    assert answer.status_code == 500
    assert "Traceback" in text and "RuntimeError: …" in text
    assert "hush" not in text


def test_an_act_of_moderation_is_a_line(client, alice, log_lines):
    def line_of(applied):
        answer = set_takedown(client, alice.did, SAMPLES["cid"], applied)
        named = f" aurora_blobs.audit {'takedown' if applied else 'lift'} request="
        (line,) = [
            line for line in log_lines() if f"{named}{answer.headers['X-Request-Id']}" in line
        ]
        return line

    taken_down, lifted = line_of(True), line_of(False)

    for line in (taken_down, lifted):
        assert f" actor=admin via=com.atproto.admin.updateSubjectStatus did={alice.did}" in line
        assert f" cid={SAMPLES['cid']}" in line


def test_an_act_that_is_not_committed_is_no_line(services, alice, log_lines):
    with pytest.raises(RuntimeError), services.database.write() as tx:
        audit.add(tx, audit.PROGRAM, "takedown", did=alice.did)
        raise RuntimeError

    assert [line for line in log_lines() if " aurora_blobs.audit " in line] == []
