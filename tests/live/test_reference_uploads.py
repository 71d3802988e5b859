"""The promises of the reference PDS's own upload tests, with the settings that match it."""

import gzip
import random
import socket
import struct
from hashlib import sha256

import pytest
from support.accounts import UPLOAD
from support.cids import cid_of
from support.live_service import Service, becomes
from support.media_samples import picture
from support.project import PHOTO

from aurora_blobs.storage.base import MARK

pytestmark = pytest.mark.live

ROCKET = PHOTO.read_bytes()
NOISE = random.Random(22).randbytes(20_000)
# Test vectors of the protocol's data model.
EMPTY = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with Service(
        tmp_path_factory.mktemp("reference"),
        AURORA_BLOBS_ALLOWED_MIME_TYPES="*/*",
        AURORA_BLOBS_MIME_POLICY="sniff",
        AURORA_BLOBS_WORKERS="2",
    ) as service:
        yield service


@pytest.fixture
def alice(service, request):
    """An account for this test."""
    return service.account(f"a{sha256(request.node.name.encode()).hexdigest()[:12]}.test")


@pytest.fixture
def bob(service, request):
    return service.account(f"b{sha256(request.node.name.encode()).hexdigest()[:12]}.test")


def write(account, collection, rkey, **value):
    record = {"$type": collection, **value}
    return account.post(
        "com.atproto.repo.putRecord",
        repo=account.did,
        collection=collection,
        rkey=rkey,
        record=record,
    )


def stored(service):
    data = service.folder / "data"
    return sorted(
        path
        for folder in ("blobs", "spool")
        for path in (data / folder).rglob("*")
        if path.is_file() and path.name != MARK
    )


def test_an_aborted_upload_leaves_no_file(service, alice):
    before = stored(service)
    # Chunked: a declared body of this length would stay in memory.
    head = (
        f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\n"
        f"Transfer-Encoding: chunked\r\n\r\n{4_000_000:x}\r\n"
    )

    connection = service.connect()
    connection.sendall(head.encode() + ROCKET + bytes(2_000_000))
    assert becomes(lambda: stored(service) != before)  # it is being stored
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()  # with a reset

    assert becomes(lambda: stored(service) == before)
    assert alice.blob(ROCKET, "image/jpeg")["size"] == len(ROCKET)
    assert "Traceback" not in service.log


def test_an_upload_is_kept_and_is_temporary(service, alice):
    blob = alice.blob(ROCKET, "image/jpeg")

    assert blob == {
        "$type": "blob",
        "ref": {"$link": cid_of(ROCKET)},
        "mimeType": "image/jpeg",
        "size": len(ROCKET),
    }
    assert cid_of(ROCKET) in [path.name for path in stored(service)]
    assert alice.fetch(cid_of(ROCKET)).json == {
        "error": "BlobNotFound",
        "message": "Blob not found",
    }
    assert alice.fetch(cid_of(ROCKET), **alice.headers).data == ROCKET


def test_a_profile_makes_its_picture_public(alice):
    blob = alice.blob(ROCKET, "image/jpeg")

    answer = write(alice, "app.bsky.actor.profile", "self", displayName="Alice", avatar=blob)

    assert answer.status_code == 200, answer.data
    got = alice.fetch(cid_of(ROCKET))
    assert (got.status_code, got.data) == (200, ROCKET)
    assert got.headers["Content-Type"] == "image/jpeg"
    assert got.headers["Content-Length"] == str(len(ROCKET))
    assert got.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert got.headers["X-Content-Type-Options"] == "nosniff"


def test_a_picture_beyond_what_a_profile_allows_stays_temporary(alice):
    large = ROCKET.ljust(1_317_339, b"\0")
    blob = alice.blob(large, "image/jpeg")

    answer = write(alice, "app.bsky.actor.profile", "self", avatar=blob)

    assert answer.json == {
        "error": "InvalidRequest",
        "message": "Invalid app.bsky.actor.profile record: blob too big (maximum 1000000, "
        "got 1317339)"
        " at $.record.avatar",
    }
    assert alice.fetch(cid_of(large)).json["error"] == "BlobNotFound"
    assert alice.fetch(cid_of(large), **alice.headers).data == large


@pytest.mark.parametrize(
    "change, refusal",
    [
        (
            {"mimeType": "text/html"},
            {
                "error": "InvalidMimeType",
                "message": "Referenced Mimetype does not match stored blob. Expected: "
                "image/jpeg, Got: text/html",
            },
        ),
        (
            {"size": 12},
            {
                "error": "InvalidSize",
                "message": f"Referenced Size does not match stored blob. Expected: "
                f"{len(ROCKET)}, Got: 12",
            },
        ),
        (
            {"ref": {"$link": HELLO}},
            {"error": "BlobNotFound", "message": f"Could not find blob: {HELLO}"},
        ),
    ],
    ids=["type", "size", "blob"],
)
def test_a_blob_stays_temporary_when_its_record_is_refused(alice, change, refusal):
    blob = alice.blob(ROCKET, "image/jpeg")

    answer = write(alice, "com.example.file", "1", good=blob, bad={**blob, **change})

    assert (answer.status_code, answer.json) == (400, refusal)
    assert alice.fetch(cid_of(ROCKET)).json["error"] == "BlobNotFound"
    assert alice.fetch(cid_of(ROCKET), **alice.headers).data == ROCKET
    assert alice.get("com.atproto.sync.listBlobs", did=alice.did).json["cids"] == []
    assert alice.get("com.atproto.repo.listMissingBlobs").json["blobs"] == []


def test_two_accounts_may_upload_the_same_file_more_than_once(alice, bob):
    blob = alice.blob(ROCKET, "image/jpeg")

    assert bob.blob(ROCKET, "image/jpeg") == blob
    assert write(alice, "com.example.file", "1", file=blob).status_code == 200
    assert bob.fetch(cid_of(ROCKET)).json["error"] == "BlobNotFound"
    assert write(bob, "com.example.file", "1", file=blob).status_code == 200
    assert alice.blob(ROCKET, "image/jpeg") == blob
    assert alice.fetch(cid_of(ROCKET)).data == bob.fetch(cid_of(ROCKET)).data == ROCKET


def test_a_compressed_upload_is_the_blob_of_its_plain_bytes(alice):
    answer = alice.upload(gzip.compress(ROCKET), **{"Content-Encoding": "gzip"})

    assert answer.json["blob"] == alice.blob(ROCKET, "image/jpeg")
    assert alice.fetch(cid_of(ROCKET), **alice.headers).data == ROCKET


@pytest.mark.parametrize(
    "content, declared, mime_type, cid",
    [
        (ROCKET, "video/mp4", "image/jpeg", cid_of(ROCKET)),
        (picture("PNG"), "image/png", "image/png", cid_of(picture("PNG"))),
        (NOISE, "test/fake", "test/fake", cid_of(NOISE)),
        (b"hello world!", "text/plain", "text/plain", cid_of(b"hello world!")),
        (b"hello world", "text/plain", "text/plain", HELLO),
        (
            b'{"hello":"world"}',
            "application/json",
            "application/json",
            cid_of(b'{"hello":"world"}'),
        ),
        (b"", "text/plain", "text/plain", EMPTY),
    ],
    ids=["a bad type", "png", "unknown", "text", "a vector", "json", "nothing"],
)
def test_a_blob_has_the_type_of_its_bytes_or_the_declared_one(
    alice, content, declared, mime_type, cid
):
    blob = alice.blob(content, declared)

    assert blob == {
        "$type": "blob",
        "ref": {"$link": cid},
        "mimeType": mime_type,
        "size": len(content),
    }
    assert write(alice, "com.example.file", "1", file=blob).status_code == 200
    got = alice.fetch(cid_of(content))
    assert (got.status_code, got.data) == (200, content)
    assert got.headers["Content-Type"].partition(";")[0] == mime_type
