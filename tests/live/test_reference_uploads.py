"""What the reference PDS promises of uploads in its own tests, on a socket, with the settings that do as it does."""

import gzip
import json
import random
import socket
import struct
import time
from hashlib import sha256

import pytest
from support.samples import picture
from support.service import ROOT, UPLOAD, Service, blob_path

from aurora_blobs.protocol.cid import cid_of_digest

pytestmark = pytest.mark.live

PHOTO = (ROOT / "examples" / "rocket.jpg").read_bytes()
NOISE = random.Random(22).randbytes(20_000)
# Vectors of the protocol's data model.
EMPTY = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = Service(
        tmp_path_factory.mktemp("reference"),
        AURORA_BLOBS_ALLOWED_MIME_TYPES="*/*",
        AURORA_BLOBS_MIME_POLICY="sniff",
        AURORA_BLOBS_WORKERS="2",
    )
    service.start()
    yield service
    service.stop()


@pytest.fixture
def alice(service, request):
    """An account of this test's own."""
    return service.account(f"a{sha256(request.node.name.encode()).hexdigest()[:12]}.test")


@pytest.fixture
def bob(service, request):
    return service.account(f"b{sha256(request.node.name.encode()).hexdigest()[:12]}.test")


def name_of(content):
    return cid_of_digest(sha256(content).digest())


def write(service, account, collection, rkey, **value):
    given = {
        "repo": account.did,
        "collection": collection,
        "rkey": rkey,
        "record": {"$type": collection, **value},
    }
    headers = {**account.headers, "Content-Type": "application/json"}
    return service.call("POST", "/xrpc/com.atproto.repo.putRecord", json.dumps(given), headers)


def fetch(service, account, content, **headers):
    return service.call("GET", blob_path(account.did, name_of(content)), headers=headers)


def stored(service):
    data = service.folder / "data"
    return sorted(
        path
        for folder in ("blobs", "spool")
        for path in (data / folder).rglob("*")
        if path.is_file()
    )


def test_a_client_that_aborts_leaves_nothing_and_harms_nobody(service, alice):
    before = stored(service)
    # In chunks: one of this length that says so is in memory until all of it is here.
    head = (
        f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\n"
        f"Transfer-Encoding: chunked\r\n\r\n{4_000_000:x}\r\n"
    )

    connection = service.connect()
    connection.sendall(head.encode() + PHOTO + bytes(2_000_000))
    deadline = time.monotonic() + 10
    while stored(service) == before:  # not one that never came to be stored
        assert time.monotonic() < deadline
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()  # with a reset
    while stored(service) != before:
        assert time.monotonic() < deadline
        time.sleep(0.01)

    assert service.upload(alice, PHOTO, "image/jpeg")["size"] == len(PHOTO)
    assert "Traceback" not in service.log


def test_an_upload_is_kept_and_is_temporary(service, alice):
    blob = service.upload(alice, PHOTO, "image/jpeg")

    assert blob == {
        "$type": "blob",
        "ref": {"$link": name_of(PHOTO)},
        "mimeType": "image/jpeg",
        "size": len(PHOTO),
    }
    assert name_of(PHOTO) in [path.name for path in stored(service)]
    assert fetch(service, alice, PHOTO).json == {
        "error": "BlobNotFound",
        "message": "Blob not found",
    }
    assert fetch(service, alice, PHOTO, **alice.headers).body == PHOTO


def test_a_profile_makes_its_picture_public(service, alice):
    blob = service.upload(alice, PHOTO, "image/jpeg")

    answer = write(
        service, alice, "app.bsky.actor.profile", "self", displayName="Alice", avatar=blob
    )

    assert answer.status == 200, answer.body
    got = fetch(service, alice, PHOTO)
    assert (got.status, got.body) == (200, PHOTO)
    assert got.headers["Content-Type"] == "image/jpeg"
    assert got.headers["Content-Length"] == str(len(PHOTO))
    assert got.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert got.headers["X-Content-Type-Options"] == "nosniff"


def test_a_picture_beyond_what_a_profile_allows_stays_temporary(service, alice):
    large = PHOTO.ljust(1_317_339, b"\0")
    blob = service.upload(alice, large, "image/jpeg")

    answer = write(service, alice, "app.bsky.actor.profile", "self", avatar=blob)

    assert answer.json == {
        "error": "InvalidRequest",
        "message": "Invalid app.bsky.actor.profile record: blob too big (maximum 1000000, got 1317339)"
        " at $.record.avatar",
    }
    assert fetch(service, alice, large).json["error"] == "BlobNotFound"
    assert fetch(service, alice, large, **alice.headers).body == large


@pytest.mark.parametrize(
    "change, refusal",
    [
        (
            {"mimeType": "text/html"},
            {
                "error": "InvalidMimeType",
                "message": "Referenced Mimetype does not match stored blob. Expected: image/jpeg, Got: text/html",
            },
        ),
        (
            {"size": 12},
            {
                "error": "InvalidSize",
                "message": f"Referenced Size does not match stored blob. Expected: {len(PHOTO)}, Got: 12",
            },
        ),
        (
            {"ref": {"$link": HELLO}},
            {"error": "BlobNotFound", "message": f"Could not find blob: {HELLO}"},
        ),
    ],
    ids=["type", "size", "blob"],
)
def test_a_blob_stays_temporary_when_its_record_is_refused(service, alice, change, refusal):
    blob = service.upload(alice, PHOTO, "image/jpeg")

    answer = write(service, alice, "com.example.file", "1", good=blob, bad={**blob, **change})

    assert (answer.status, answer.json) == (400, refusal)
    assert fetch(service, alice, PHOTO).json["error"] == "BlobNotFound"
    assert fetch(service, alice, PHOTO, **alice.headers).body == PHOTO
    for path in (
        f"com.atproto.sync.listBlobs?did={alice.did}",
        "com.atproto.repo.listMissingBlobs",
    ):
        assert [] in service.call("GET", f"/xrpc/{path}", headers=alice.headers).json.values()


def test_the_same_file_may_be_uploaded_by_two_and_again(service, alice, bob):
    blob = service.upload(alice, PHOTO, "image/jpeg")

    assert service.upload(bob, PHOTO, "image/jpeg") == blob
    assert write(service, alice, "com.example.file", "1", file=blob).status == 200
    assert fetch(service, bob, PHOTO).json["error"] == "BlobNotFound"
    assert write(service, bob, "com.example.file", "1", file=blob).status == 200
    assert service.upload(alice, PHOTO, "image/jpeg") == blob
    assert fetch(service, alice, PHOTO).body == fetch(service, bob, PHOTO).body == PHOTO


def test_a_compressed_upload_is_the_blob_of_its_plain_bytes(service, alice):
    headers = {**alice.headers, "Content-Type": "image/jpeg", "Content-Encoding": "gzip"}

    answer = service.call("POST", UPLOAD, gzip.compress(PHOTO), headers)

    assert answer.json["blob"] == service.upload(alice, PHOTO, "image/jpeg")
    assert fetch(service, alice, PHOTO, **alice.headers).body == PHOTO


@pytest.mark.parametrize(
    "content, declared, mime_type, cid",
    [
        (PHOTO, "video/mp4", "image/jpeg", name_of(PHOTO)),
        (picture("PNG"), "image/png", "image/png", name_of(picture("PNG"))),
        (NOISE, "test/fake", "test/fake", name_of(NOISE)),
        (b"hello world!", "text/plain", "text/plain", name_of(b"hello world!")),
        (b"hello world", "text/plain", "text/plain", HELLO),
        (
            b'{"hello":"world"}',
            "application/json",
            "application/json",
            name_of(b'{"hello":"world"}'),
        ),
        (b"", "text/plain", "text/plain", EMPTY),
    ],
    ids=["a bad type", "png", "unknown", "text", "a vector", "json", "nothing"],
)
def test_a_blob_has_the_type_of_its_bytes_else_the_declared_one(
    service, alice, content, declared, mime_type, cid
):
    blob = service.upload(alice, content, declared)

    assert blob == {
        "$type": "blob",
        "ref": {"$link": cid},
        "mimeType": mime_type,
        "size": len(content),
    }
    assert write(service, alice, "com.example.file", "1", file=blob).status == 200
    got = fetch(service, alice, content)
    assert (got.status, got.body) == (200, content)
    assert got.headers["Content-Type"].partition(";")[0] == mime_type
