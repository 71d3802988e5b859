"""Which media type a blob gets, from the upload to the answer of getBlob."""

import random

import pytest
from members import Member, jpeg

NOISE = random.Random(20).randbytes(20_000)


@pytest.mark.parametrize(
    "data, declared, stored",
    [
        (jpeg("cat"), "video/mp4", "image/jpeg"),
        (jpeg("cat"), "image/jpeg", "image/jpeg"),
        (NOISE, "test/fake", "test/fake"),
        (b"hello world!", "text/plain", "text/plain"),
        (b'{"hello":"world"}', "application/json", "application/json"),
        (b"WEBVTT\n", "text/vtt; charset=utf-8", "text/vtt"),
    ],
    ids=["wrong type", "right type", "noise", "text", "json", "captions"],
)
def test_bytes_win_over_the_declared_type_under_sniff(open_app, data, declared, stored):
    alice = Member.of(open_app(MIME_POLICY="sniff", ALLOWED_MIME_TYPES="*/*"), "alice.test")

    blob, _ = alice.publish(data, declared)

    assert blob["mimeType"] == stored
    assert alice.fetch(blob["ref"]["$link"]).mimetype == stored


def test_a_wrong_type_is_refused_under_strict_and_nothing_is_stored(open_app):
    alice = Member.of(open_app(ALLOWED_MIME_TYPES="*/*"), "alice.test")

    answer = alice.upload(jpeg("cat"), "video/mp4")

    assert (answer.status_code, answer.json["error"]) == (400, "InvalidMimeType")
    assert alice.get("blue.aurora.blob.getUsage").json["blobCount"] == 0
