"""What clients ask for is counted, by what they ask and how it ends."""

import pytest
from support.accounts import ADMIN, GET_BLOB, UPLOAD
from support.media_samples import jpeg
from support.metrics import HEADERS, TOKEN

from aurora_blobs import __version__

UPLOAD_BLOB = "com.atproto.repo.uploadBlob"
ENTRIES = "request_seconds_count"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer another-token-of-16"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": f"Bearer {TOKEN} "},
        {"Authorization": "Bearer ÿ"},
    ],
    ids=["none", "another", "another scheme", "no scheme", "more", "no ASCII"],
)
def test_who_has_no_token_is_told_nothing(client, headers):
    answer = client.get("/metrics", headers=headers)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "aurora_blobs_" not in answer.text


def test_the_administrator_s_password_is_no_token(client):
    assert client.get("/metrics", auth=ADMIN).status_code == 401


def test_without_a_setting_there_are_no_metrics(open_app):
    client = open_app().test_client()

    answers = [client.get(path, headers=HEADERS) for path in ("/metrics", "/nowhere")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].data == answers[1].data


def test_the_answer_is_text_for_prometheus_that_nobody_keeps(client):
    answer = client.get("/metrics", headers={"Authorization": f"bearer {TOKEN}"})

    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"


def test_requests_are_counted_by_method_and_status(alice, client, scrape):
    photo = jpeg("cat")
    alice.blob(photo)
    alice.blob(photo)
    client.post(UPLOAD, data=photo)
    client.get(UPLOAD)

    found = scrape()

    assert found.value(ENTRIES, method=UPLOAD_BLOB, status="200") == 2
    assert found.value(ENTRIES, method=UPLOAD_BLOB, status="401") == 1
    assert found.value(ENTRIES, method=UPLOAD_BLOB, status="400") == 1
    assert found.value("request_seconds_sum", method=UPLOAD_BLOB, status="200") > 0
    assert found.value("request_seconds_bucket", method=UPLOAD_BLOB, status="200", le="+Inf") == 2


@pytest.mark.parametrize(
    "path, status",
    [("/xrpc/com.example.made.up", "501"), ("/made/up", "404"), ("/xrpc/_health?made=up", "400")],
)
def test_what_a_client_makes_up_becomes_no_label(client, scrape, path, status):
    client.get(path)
    client.open("/made/up", method="MADEUP")

    found = scrape()

    assert "made" not in found.text
    assert found.value(ENTRIES, method="other", status="404") >= 1


def test_a_route_counts_as_its_pattern(client, scrape):
    client.get("/img/card/plain/did:web:alice.test/bafkreia")

    method = "/img/<preset>/plain/<did>/<picture>"
    assert scrape().value(ENTRIES, method=method, status="400") == 1


def test_bytes_are_counted_both_ways(alice, client, scrape):
    photo = jpeg("cat")
    cid = alice.publish(photo).cid
    before = scrape()

    refused = client.post(UPLOAD, data=photo)
    client.get(GET_BLOB, query_string={"did": alice.did, "cid": cid})
    client.head(GET_BLOB, query_string={"did": alice.did, "cid": cid})
    after = scrape()

    received, sent = (
        after.value(name) - before.value(name)
        for name in ("received_bytes_total", "sent_bytes_total")
    )
    assert received == len(photo)
    assert sent == len(before.text.encode()) + len(refused.data) + len(photo)


def test_uploads_are_counted_by_how_they_end(alice, scrape):
    photo = jpeg("cat")
    alice.blob(photo)
    alice.blob(photo)
    alice.upload(b"no picture", "image/jpeg")
    alice.upload(photo, **{"Content-Encoding": "gzip"})
    alice.upload(bytes(6_000_000), "image/jpeg")

    found = scrape()

    outcomes = found.by("uploads_total", "result", "reason")
    assert outcomes == {
        ("stored", ""): 2,
        ("refused", "InvalidMimeType"): 1,
        ("refused", "UploadIncomplete"): 1,
        ("refused", "BlobTooLarge"): 1,
    }
    assert found.value("uploaded_bytes_total") == 2 * len(photo)


def test_the_build_says_what_runs(scrape):
    assert scrape().value("build_info", storage="disk", version=__version__) == 1
