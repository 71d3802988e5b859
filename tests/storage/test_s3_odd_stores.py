"""The S3 store on servers that know less than AWS does, or err."""

import io
import logging

import pytest
from support.s3_access import BUCKET

from aurora_blobs.errors import BackendUnavailable, BlobNotFound
from aurora_blobs.intake.spool import spooled
from aurora_blobs.protocol.cid import cid_of_digest
from aurora_blobs.storage.s3 import S3Backend
from aurora_blobs.storage.s3_bucket import REFUSED_SECONDS, Bucket
from aurora_blobs.storage.s3_client import S3Client

CHECKSUM, CONDITION = "x-amz-checksum-", "if-none-match"
WORDS = {
    CHECKSUM: (400, "InvalidArgument", "Unsupported header 'x-amz-checksum-sha256' received"),
    CONDITION: (501, "NotImplemented", "A header implies functionality that is not implemented"),
}
BARE = dict.fromkeys(WORDS, (501, "NotImplemented", ""))
DATA = b"bytes of a blob"


@pytest.fixture
def seconds():
    return [1000.0]


@pytest.fixture(params=[{}, {"max_put": 1}], ids=["whole", "in parts"])
def store(request, server, seconds):
    return opened(server, seconds, **request.param)


@pytest.fixture
def whole(server, seconds):
    return opened(server, seconds)


def opened(server, seconds, **sizes):
    client = S3Client(endpoint_url=server.url, region=None, addressing_style="path")
    return S3Backend(Bucket(BUCKET, client, seconds=lambda: seconds[0]), prefix="", **sizes)


@pytest.fixture
def put(tmp_path):
    def put(store, data=DATA):
        with spooled(
            io.BytesIO(data),
            folder=tmp_path,
            inspect=lambda head: "image/png",
            max_bytes=10**6,
            declared_size=None,
        ) as blob:
            store.put(blob)
            return blob.cid

    return put


def test_an_upload_to_a_store_that_knows_all_is_one_request(server, whole, put):
    put(whole)

    assert server.operations() == ["PUT"]


@pytest.mark.parametrize(
    "refused",
    [
        {CHECKSUM: WORDS[CHECKSUM]},
        {CONDITION: WORDS[CONDITION]},
        WORDS,
        {CHECKSUM: BARE[CHECKSUM]},
        BARE,
    ],
    ids=["checksums", "conditions", "both", "checksums, without a word", "both, without a word"],
)
def test_what_is_refused_is_left_out_alone_and_not_for_ever(server, store, seconds, put, refused):
    server.refused = dict(refused)

    cid = put(store)
    server.operations()
    put(store, b"the next")
    again = [server.with_header(header) != [] for header in WORDS]
    server.refused = {}
    seconds[0] += REFUSED_SECONDS
    server.operations()
    put(store, b"the last")
    at_last = [server.with_header(header) != [] for header in WORDS]

    assert store.open(cid).read() == DATA
    assert again == [header not in refused for header in WORDS]
    assert at_last == [True, True]


@pytest.mark.parametrize("refused", [WORDS, BARE], ids=["with words", "without"])
def test_an_object_that_is_there_is_found_without_checksums(server, whole, put, refused):
    put(whole)
    server.refused = {CHECKSUM: refused[CHECKSUM]}

    cid = put(whole)

    assert whole.open(cid).read() == DATA


def test_a_refusal_that_no_header_causes_is_an_error_for_uploads_and_for_health(server, store, put):
    server.answers, server.always = [(400, "InvalidRequest", {})], True

    with pytest.raises(BackendUnavailable):
        put(store)
    with pytest.raises(BackendUnavailable):
        store.probe()


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidBucketName"])
def test_a_refusal_of_the_settings_is_not_tried_with_fewer_headers(server, whole, put, code):
    server.answers, server.always = [(400, code, {})], True

    with pytest.raises(BackendUnavailable):
        put(whole)

    assert server.operations() == ["PUT"]


@pytest.mark.parametrize("header, kind", [(CHECKSUM, "checksums"), (CONDITION, "conditions")])
def test_the_canary_says_once_what_a_store_refuses_and_when_it_takes_it(
    server, whole, seconds, caplog, header, kind
):
    server.refused = {header: WORDS[header]}

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            whole.probe()
            seconds[0] += REFUSED_SECONDS
        server.refused = {}
        whole.probe()

    assert [message for message in caplog.messages if f" {kind} " in message] == [
        f"the store refuses {kind} in put_object: sent without them",
        f"the store takes {kind} in put_object again",
    ]
    assert server.objects == {}


def test_a_digest_in_the_signature_will_do_where_the_store_checks_it(server, store, put):
    server.shows_checksums = False

    put(store)
    first = server.operations()
    put(store, b"the next")

    assert "GET" not in first + server.operations()
    assert list(server.objects.values()) == [DATA, b"the next"]


@pytest.mark.parametrize("refused", [{}, {CHECKSUM: WORDS[CHECKSUM]}], ids=["ignored", "refused"])
def test_a_store_that_checks_no_digest_is_read_back(server, store, put, refused):
    server.refused, server.shows_checksums, server.checks_signatures = refused, False, False

    cid = put(store)
    read = server.operations().count("GET")
    server.damages = True

    assert (read, store.open(cid).read()) == (1, DATA)
    with pytest.raises(BackendUnavailable):
        put(store, b"the next")


def test_what_a_store_checks_is_asked_again_after_a_while(server, whole, seconds, put):
    server.shows_checksums = False
    put(whole)
    server.checks_signatures = False
    seconds[0] += REFUSED_SECONDS
    server.operations()

    put(whole, b"the next")

    assert server.operations().count("GET") == 1


def test_a_clock_that_is_off_for_a_moment_is_forgiven_once(server, whole, put):
    skewed = (403, "RequestTimeTooSkewed", {})
    server.answers = [skewed]

    put(whole)
    first = server.operations()
    server.answers, server.always = [skewed], True
    with pytest.raises(BackendUnavailable):
        put(whole, b"the next")

    assert first == server.operations() == ["PUT", "PUT"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_store_that_is_elsewhere_is_named_in_few_calls(server, store, put, caplog, status):
    location = {"Location": "https://s3.example.com/"}
    server.answers, server.always = [(status, "", location)], True
    calls = [
        lambda: put(store),
        store.probe,
        lambda: store.open(cid_of_digest(bytes(32))),
        lambda: store.size(cid_of_digest(bytes(32))),
    ]

    for call in calls:
        caplog.clear()
        with pytest.raises(BackendUnavailable):
            call()

        assert len(server.operations()) <= 2
        assert "https://s3.example.com/" in caplog.text
        assert "AURORA_BLOBS_S3_ENDPOINT_URL" in caplog.text


@pytest.mark.parametrize(
    "ranges",
    [
        ("bytes 0-3/15", 4),
        ("bytes 3-6/15", 4),
        ("bytes 2-6/15", 5),
        ("bytes 2-4/15", 3),
        ("bytes 2-5/15", 5),
        ("bytes 2-5/15", 3),
        ("bytes 2-5/*", 4),
        ("bytes */15", 4),
        ("lines 2-5/15", 4),
        ("", 4),
    ],
)
def test_another_range_than_asked_for_gives_no_byte(server, whole, put, ranges):
    cid = put(whole)
    right = whole.open(cid, 2, 6).read()
    server.ranges = ranges

    with pytest.raises(BackendUnavailable):
        whole.open(cid, 2, 6)

    assert right == DATA[2:6]


def test_a_range_to_the_end_has_to_end_there(server, whole, put):
    cid = put(whole)
    right = whole.open(cid, 2).read()
    server.ranges = ("bytes 2-9/15", 8)

    with pytest.raises(BackendUnavailable):
        whole.open(cid, 2)

    assert right == DATA[2:]


def test_an_object_that_ends_before_the_range_does_is_lost(server, whole, put):
    cid = put(whole)

    with pytest.raises(BlobNotFound):
        whole.open(cid, 0, len(DATA) + 1)
