"""An account of 3,000 blobs moves between two running servers, by the calls that migration tools make."""

import json
import random
from base64 import b32decode
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from support.cars import car_of
from support.service import UPLOAD, Service, blob_path

pytestmark = [pytest.mark.live, pytest.mark.long]

BLOBS = 3_000
COLLECTION = "com.example.file"
TYPES = ["image/jpeg", "image/png", "image/gif", "text/vtt", "application/x-own"]
STARTS = {
    "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "image/png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00",
    "image/gif": b"GIF89a\x01\x00\x01\x00",
    "text/vtt": b"WEBVTT\n",
    "application/x-own": b"own ",
}


@pytest.fixture
def servers(tmp_path):
    common = {"AURORA_BLOBS_ALLOWED_MIME_TYPES": "*/*", "AURORA_BLOBS_DURABILITY": "os"}
    old = Service(tmp_path / "old", **common)
    new = Service(tmp_path / "new", **common, AURORA_BLOBS_UPLOADS_PER_DAY="10")
    try:
        yield old.start(), new.start()
    finally:
        old.stop()
        new.stop()


def post(service, account, nsid, **given):
    headers = {**account.headers, "Content-Type": "application/json"}
    answer = service.call("POST", f"/xrpc/{nsid}", json.dumps(given), headers)
    assert answer.status == 200, answer.body
    return answer


def get(service, account, path):
    answer = service.call("GET", f"/xrpc/{path}", headers=account.headers)
    assert answer.status == 200, answer.body
    return answer.json


def pages(service, account, path, key):
    """Everything under *key*, page by page until there is no cursor."""
    found, cursor = [], ""
    while cursor is not None:
        page = get(service, account, f"{path}&cursor={quote(cursor)}" if cursor else path)
        found += page[key]
        cursor = page.get("cursor")
    return found


def fill(service, account, rng):
    """Blobs on the old server, each in a record; their bytes by CID."""
    contents = [
        STARTS[TYPES[n % len(TYPES)]] + rng.randbytes(200) + str(n).encode() for n in range(BLOBS)
    ]

    def upload(number):
        headers = {**account.headers, "Content-Type": TYPES[number % len(TYPES)]}
        return service.call("POST", UPLOAD, contents[number], headers).json["blob"]

    with ThreadPoolExecutor(4) as pool:
        blobs = list(pool.map(upload, range(BLOBS)))
    create = "com.atproto.repo.applyWrites#create"
    for start in range(0, BLOBS, 200):
        writes = [
            {
                "$type": create,
                "collection": COLLECTION,
                "rkey": f"{start + n:05}",
                "value": {"file": blob},
            }
            for n, blob in enumerate(blobs[start : start + 200])
        ]
        post(service, account, "com.atproto.repo.applyWrites", repo=account.did, writes=writes)
    return {blob["ref"]["$link"]: content for blob, content in zip(blobs, contents, strict=True)}


def exported(service, account):
    """The repository as the old PDS would export it."""
    listed = pages(
        service,
        account,
        f"com.atproto.repo.listRecords?repo={account.did}&collection={COLLECTION}&limit=100",
        "records",
    )
    records = {"/".join(record["uri"].split("/")[-2:]): record["value"] for record in listed}
    for value in records.values():
        link = value["file"]["ref"]["$link"]
        value["file"]["ref"] = b32decode(link[1:].upper() + "=" * (-len(link[1:]) % 8))
    return car_of(records, account.did)


def test_an_account_of_3000_blobs_moves_to_another_server(servers):
    old, new = servers
    here, there = old.account(), new.account()
    contents = fill(old, here, random.Random(3000))
    post(new, there, "com.atproto.server.deactivateAccount")

    car = exported(old, here).getvalue()
    headers = {**there.headers, "Content-Type": "application/vnd.ipld.car"}
    assert new.call("POST", "/xrpc/com.atproto.repo.importRepo", car, headers).status == 200
    status = get(new, there, "com.atproto.server.checkAccountStatus")
    assert (status["expectedBlobs"], status["importedBlobs"], status["indexedRecords"]) == (
        BLOBS,
        0,
        BLOBS,
    )
    missing = pages(new, there, "com.atproto.repo.listMissingBlobs?limit=500", "blobs")
    listed = pages(old, here, f"com.atproto.sync.listBlobs?did={here.did}&limit=500", "cids")
    assert listed == [blob["cid"] for blob in missing] == sorted(contents)

    def move(cid):
        source = old.call("GET", blob_path(here.did, cid))
        # Some tools lose the type on the way.
        mime_type = source.headers["Content-Type"] if listed.index(cid) % 2 else "*/*"
        target = new.call("POST", UPLOAD, source.body, {**there.headers, "Content-Type": mime_type})
        return (
            source.status,
            target.status,
            target.json.get("blob", {}).get("mimeType"),
            source.headers["Content-Type"],
        )

    with ThreadPoolExecutor(4) as pool:
        moved = list(pool.map(move, listed))

    assert {(source, target) for source, target, _, _ in moved} == {(200, 200)}
    assert all(then.startswith(now) for _, _, now, then in moved)
    status = get(new, there, "com.atproto.server.checkAccountStatus")
    assert (status["expectedBlobs"], status["importedBlobs"]) == (BLOBS, BLOBS)
    assert pages(new, there, "com.atproto.repo.listMissingBlobs?limit=500", "blobs") == []
    post(new, there, "com.atproto.server.activateAccount")
    for cid in random.Random(1).sample(listed, 100):
        assert new.call("GET", blob_path(there.did, cid)).body == contents[cid]
    assert (
        pages(new, there, f"com.atproto.sync.listBlobs?did={there.did}&limit=1000", "cids")
        == listed
    )
