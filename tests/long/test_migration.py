"""An account of 3,000 blobs moves between two servers, with the calls of migration tools."""

import random
from base64 import b32decode
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.car_files import car_of
from support.live_service import Service

pytestmark = [pytest.mark.live, pytest.mark.long]

BLOBS = 3_000
COLLECTION = "com.example.file"
TYPES = ["image/jpeg", "image/png", "image/gif", "text/vtt", "application/x-own"]
STARTS = {
    "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "image/png": b"\x89PNG\r\n"
    b"\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00",
    "image/gif": b"GIF89a\x01\x00\x01\x00",
    "text/vtt": b"WEBVTT\n",
    "application/x-own": b"own ",
}


@pytest.fixture
def servers(tmp_path):
    common = {"AURORA_BLOBS_ALLOWED_MIME_TYPES": "*/*", "AURORA_BLOBS_DURABILITY": "os"}
    old = Service(tmp_path / "old", **common)
    new = Service(tmp_path / "new", **common, AURORA_BLOBS_UPLOADS_PER_DAY="10")
    with old, new:
        yield old, new


def pages(account, nsid, key, **parameters):
    """The items of *key* on all pages."""
    page = account.get(nsid, **parameters).json
    found = page[key]
    while "cursor" in page:
        page = account.get(nsid, cursor=page["cursor"], **parameters).json
        found += page[key]
    return found


def fill(account, rng):
    """Publish the blobs on the old server; their bytes by CID."""
    contents = [
        STARTS[TYPES[n % len(TYPES)]] + rng.randbytes(200) + str(n).encode() for n in range(BLOBS)
    ]

    def upload(number):
        return account.blob(contents[number], TYPES[number % len(TYPES)])

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
        applied = account.post("com.atproto.repo.applyWrites", repo=account.did, writes=writes)
        assert applied.status_code == 200, applied.text
    return {blob["ref"]["$link"]: content for blob, content in zip(blobs, contents, strict=True)}


def exported(account):
    """The repository as the old PDS exports it."""
    listed = pages(
        account,
        "com.atproto.repo.listRecords",
        "records",
        repo=account.did,
        collection=COLLECTION,
        limit=100,
    )
    records = {"/".join(record["uri"].split("/")[-2:]): record["value"] for record in listed}
    for value in records.values():
        link = value["file"]["ref"]["$link"]
        value["file"]["ref"] = b32decode(link[1:].upper() + "=" * (-len(link[1:]) % 8))
    return car_of(records, account.did)


def test_an_account_of_3000_blobs_moves_to_another_server(servers):
    old, new = servers
    here, there = old.account(), new.account()
    contents = fill(here, random.Random(3000))
    there.post("com.atproto.server.deactivateAccount")

    car = exported(here).getvalue()
    headers = {**there.headers, "Content-Type": "application/vnd.ipld.car"}
    assert (
        new.post("/xrpc/com.atproto.repo.importRepo", data=car, headers=headers).status_code == 200
    )
    status = there.get("com.atproto.server.checkAccountStatus").json
    assert (status["expectedBlobs"], status["importedBlobs"], status["indexedRecords"]) == (
        BLOBS,
        0,
        BLOBS,
    )
    missing = pages(there, "com.atproto.repo.listMissingBlobs", "blobs", limit=500)
    listed = pages(here, "com.atproto.sync.listBlobs", "cids", did=here.did, limit=500)
    assert listed == [blob["cid"] for blob in missing] == sorted(contents)

    def move(cid):
        source = here.fetch(cid)
        # Some tools lose the type.
        mime_type = source.headers["Content-Type"] if listed.index(cid) % 2 else "*/*"
        target = there.upload(source.data, mime_type)
        return (
            source.status_code,
            target.status_code,
            target.json.get("blob", {}).get("mimeType"),
            source.headers["Content-Type"],
        )

    with ThreadPoolExecutor(4) as pool:
        moved = list(pool.map(move, listed))

    assert {(source, target) for source, target, _, _ in moved} == {(200, 200)}
    assert all(then.startswith(now) for _, _, now, then in moved)
    status = there.get("com.atproto.server.checkAccountStatus").json
    assert (status["expectedBlobs"], status["importedBlobs"]) == (BLOBS, BLOBS)
    assert pages(there, "com.atproto.repo.listMissingBlobs", "blobs", limit=500) == []
    assert there.post("com.atproto.server.activateAccount").status_code == 200
    for cid in random.Random(1).sample(listed, 100):
        assert there.fetch(cid).data == contents[cid]
    assert pages(there, "com.atproto.sync.listBlobs", "cids", did=there.did, limit=1000) == listed
