"""Verify-on-read: wrong bytes are never served whole, and their blob counts as missing."""

import pytest
from support.backends import MemoryBackend

from aurora_blobs.blobs.verify import VerifyingReader
from aurora_blobs.errors import BlobNotFound

UPLOAD = "/xrpc/com.atproto.repo.uploadBlob"
GET_BLOB = "/xrpc/com.atproto.sync.getBlob"
CHUNK = 256 * 1024


@pytest.fixture
def app(open_app):
    return open_app(VERIFY_ON_READ="on", ALLOWED_MIME_TYPES="*/*")


@pytest.fixture
def upload(client, alice):
    def upload(data):
        headers = {**alice.headers, "Content-Type": "text/x-test"}
        return client.post(UPLOAD, data=data, headers=headers).json["blob"]["ref"]["$link"]

    return upload


@pytest.fixture
def get(client, alice):
    def get(cid, **headers):
        query = {"did": alice.did, "cid": cid}
        return client.get(GET_BLOB, query_string=query, headers={**alice.headers, **headers})

    return get


@pytest.fixture
def damage(services):
    def damage(cid, data):
        backend = services.blobs.backend
        (backend.root / backend.path(cid)).write_bytes(data)

    return damage


def test_right_bytes_are_served(upload, get):
    large = bytes(range(256)) * 4000

    assert get(upload(large)).data == large
    assert get(upload(b"small")).data == b"small"
    assert get(upload(large), Range="bytes=5-9").data == large[5:10]


def test_a_small_wrong_blob_is_missing_and_healed_by_an_upload(upload, get, damage, client, alice):
    cid = upload(b"right")
    damage(cid, b"wrong")

    answer = get(cid)

    assert (answer.status_code, answer.json["error"]) == (400, "BlobNotFound")
    assert get(cid).status_code == 400
    upload(b"right")
    assert get(cid).data == b"right"


def test_a_large_wrong_blob_never_reaches_its_end(services, upload, alice, damage):
    data = bytes(range(256)) * 4000
    cid = upload(data)
    damage(cid, data[:-1] + b"?")
    blobs = services.blobs
    sent = 0

    with (
        blobs.open(blobs.describe(alice.did, cid, viewer=alice.did)) as file,
        pytest.raises(BlobNotFound),
    ):
        while piece := file.read(CHUNK):
            sent += len(piece)

    assert sent < len(data)
    with pytest.raises(BlobNotFound):
        blobs.describe(alice.did, cid, viewer=alice.did)


def test_bytes_that_end_early_are_wrong(store):
    backend = MemoryBackend()
    cid = store(backend, b"all of it")
    backend.held[cid] = b"all of"
    wrong = []

    with (
        VerifyingReader(backend.open(cid), cid, 9, lambda: wrong.append(cid)) as file,
        pytest.raises(BlobNotFound),
    ):
        while file.read(4):
            pass

    assert wrong == [cid]
