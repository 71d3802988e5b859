"""The reference PDS, unmodified, keeps its blobs here: six settings of its own, no more."""

import random
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from support.accounts import Account, blob_path, sign_up
from support.cids import cid_in, cid_of
from support.http_client import HttpClient
from support.live_service import becomes
from support.object_api import BUCKET, object_service, pds_settings, s3_client
from support.project import ROOT
from support.reference_pds import ReferencePds
from support.s3_access import BUCKET as STORE_BUCKET
from support.s3_access import KEYS

pytestmark = pytest.mark.live


class PdsClient(HttpClient):
    """Calls the PDS at *port*."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=300)


@pytest.fixture(scope="module")
def on_s3(s3_server):
    """Settings of a service whose own store is in S3."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        yield {
            "AURORA_BLOBS_STORAGE": "s3",
            "AURORA_BLOBS_S3_BUCKET": STORE_BUCKET,
            "AURORA_BLOBS_S3_PREFIX": "on-objects/",
            "AURORA_BLOBS_S3_ENDPOINT_URL": s3_server.url,
            "AURORA_BLOBS_S3_ADDRESSING_STYLE": "path",
        }


@pytest.fixture(scope="module", params=["disk", "s3"])
def scene(request, tmp_path_factory):
    """The ``service``, the ``pds`` on it and its ``client``; ``bucket`` lists what is in it."""
    folder = tmp_path_factory.mktemp("objects")
    stores = {"disk": dict, "s3": lambda: request.getfixturevalue("on_s3")}
    with object_service(folder / "service", **stores[request.param]()) as service:
        url = f"http://127.0.0.1:{service.port}"
        settings = pds_settings(url) | {
            "BLOB_UPLOAD_LIMIT": str(300 * 2**20),
            "PDS_BLOBSTORE_S3_UPLOAD_TIMEOUT_MS": "300000",  # on a busy machine
        }
        with ReferencePds(folder / "pds", "http://localhost", **settings) as pds:
            s3 = s3_client(url)

            def bucket(prefix=""):
                pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
                return [found["Key"] for page in pages for found in page.get("Contents", [])]

            yield SimpleNamespace(
                service=service,
                client=PdsClient(pds.facts["port"]),
                bucket=bucket,
                facts=pds.facts,
            )


@pytest.fixture(scope="module")
def member(scene):
    """The account of the PDS."""
    return Account(scene.facts["did"], scene.facts["accessJwt"], scene.client)


def some(size, seed):
    return random.Random(seed).randbytes(size)


def admin(scene, did, cid, applied):
    return scene.client.post(
        "/xrpc/com.atproto.admin.updateSubjectStatus",
        json={
            "subject": {"$type": "com.atproto.admin.defs#repoBlobRef", "did": did, "cid": cid},
            "takedown": {"applied": applied, "ref": "1"},
        },
        auth=("admin", scene.facts["adminPassword"]),
    )


@pytest.mark.parametrize(
    "size",
    [0, 1024, 5 * 2**20 - 1, 5 * 2**20, 23 * 2**20 + 7],
    ids=["nothing", "1 KiB", "below a part", "a part", "five parts"],
)
def test_what_is_uploaded_and_named_is_served_by_both_byte_for_byte(scene, member, size):
    data = some(size, size)

    published = member.publish(data, "application/octet-stream")
    theirs = scene.client.get(blob_path(member.did, published.cid))
    ours = scene.service.get(blob_path(member.did, published.cid))

    assert published.cid == cid_of(data)
    assert (theirs.status_code, theirs.data) == (200, data)
    assert (ours.status_code, ours.data) == (200, data)
    assert scene.bucket("tmp/") == []
    assert f"blocks/{member.did}/{published.cid}" in scene.bucket("blocks/")


def test_what_no_record_names_is_nobody_s_to_fetch(scene, member):
    data = some(2000, "temporary")

    cid = cid_in(member.blob(data, "application/octet-stream"))

    assert scene.service.get(blob_path(member.did, cid)).status_code == 400
    [key] = scene.bucket("tmp/")
    assert key.startswith(f"tmp/{member.did}/")
    member.record({"file": member.blob(data, "application/octet-stream")})
    assert scene.service.get(blob_path(member.did, cid)).data == data


def test_twenty_blobs_of_one_record_are_promoted_at_once(scene, member):
    with ThreadPoolExecutor(8) as threads:
        blobs = list(
            threads.map(
                lambda number: member.blob(some(50_000, f"twenty {number}"), "*/*"), range(20)
            )
        )

    answer = member.record({"files": blobs})

    assert answer.status_code == 200, answer.text
    for number, blob in enumerate(blobs):
        answer = scene.service.get(blob_path(member.did, cid_in(blob)))
        assert answer.data == some(50_000, f"twenty {number}")


def test_a_record_that_is_deleted_takes_its_blob_along(scene, member):
    published = member.publish(some(3000, "deleted"), "*/*")

    member.post(
        "com.atproto.repo.deleteRecord",
        repo=member.did,
        collection="com.example.file",
        rkey=published.rkey,
    )

    path = blob_path(member.did, published.cid)
    assert becomes(lambda: scene.service.get(path).status_code == 400)
    assert f"blocks/{member.did}/{published.cid}" not in scene.bucket()


def test_a_takedown_at_the_pds_hides_the_blob_here_until_it_is_lifted(scene, member):
    data = some(4000, "taken down")
    published = member.publish(data, "*/*")
    path = blob_path(member.did, published.cid)

    taken = admin(scene, member.did, published.cid, True)
    hidden = scene.service.get(path)
    listed = scene.bucket("quarantine/")
    lifted = admin(scene, member.did, published.cid, False)
    shown = scene.service.get(path)

    assert (taken.status_code, lifted.status_code) == (200, 200)
    assert hidden.status_code == 400
    assert listed == [f"quarantine/{member.did}/{published.cid}"]
    assert (shown.status_code, shown.data) == (200, data)
    assert scene.client.get(path).data == data
    assert scene.bucket("quarantine/") == []


def test_an_account_that_is_deleted_takes_all_of_its_blobs_along(scene):
    carol = sign_up(scene.client, "carol.test")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: carol.publish(some(300, f"carol {n}"), "*/*"), range(40)))
    assert len(scene.bucket(f"blocks/{carol.did}/")) == 40

    deleted = scene.client.post(
        "/xrpc/com.atproto.admin.deleteAccount",
        json={"did": carol.did},
        auth=("admin", scene.facts["adminPassword"]),
    )

    assert deleted.status_code == 200, deleted.text
    assert becomes(lambda: scene.bucket(f"blocks/{carol.did}/") == [])


def test_an_upload_of_300_mib_goes_through(scene, member):
    data = some(2**20, "large") * 300

    published = member.publish(data, "video/mp4")

    assert scene.service.get(blob_path(member.did, published.cid)).data == data


@pytest.fixture
def followed(tmp_path):
    """The ``service``, which follows the ``pds`` that keeps its blobs there, and its ``client``."""
    first = object_service(tmp_path / "service")
    with (
        first,
        ReferencePds(
            tmp_path / "pds", "http://localhost", **pds_settings(f"http://127.0.0.1:{first.port}")
        ) as pds,
    ):
        first.stop()
        second = object_service(
            tmp_path / "service",
            AURORA_BLOBS_BIND=f"127.0.0.1:{first.port}",
            AURORA_BLOBS_MIRROR="pds",
            AURORA_BLOBS_FOLLOW=pds.url,
            AURORA_BLOBS_PLC_URL=pds.plc_url,
        )
        second.port = first.port
        with second, (tmp_path / "follow.log").open("w") as log:
            command = [sys.executable, "-m", "flask", "--app", "wsgi", "follow"]
            follower = subprocess.Popen(
                command, cwd=ROOT, env=second.environ(), stdout=log, stderr=log
            )
            client = PdsClient(pds.facts["port"])
            yield SimpleNamespace(service=second, client=client, facts=pds.facts)
            follower.terminate()
            follower.wait(60)


def test_with_a_mirror_of_the_pds_its_records_and_account_states_hold_here(followed):
    facts, service = followed.facts, followed.service
    alice = Account(facts["did"], facts["accessJwt"], followed.client)
    admin = ("admin", facts["adminPassword"])
    published = alice.publish(b"WEBVTT\n\ncaptions", "text/vtt")
    path = blob_path(alice.did, published.cid)

    def take_down(applied):
        answer = followed.client.post(
            "/xrpc/com.atproto.admin.updateSubjectStatus",
            json={
                "subject": {"$type": "com.atproto.admin.defs#repoRef", "did": alice.did},
                "takedown": {"applied": applied},
            },
            auth=admin,
        )
        assert answer.status_code == 200, answer.text

    def listed():
        answer = service.get(f"/xrpc/com.atproto.sync.listBlobs?did={alice.did}")
        return answer.json.get("cids")

    assert service.get(path).headers["Content-Type"] == "text/vtt; charset=utf-8"
    assert becomes(lambda: listed() == [published.cid])
    take_down(True)
    assert becomes(lambda: b"RepoTakendown" in service.get(path).data)
    take_down(False)
    assert becomes(lambda: service.get(path).status_code == 200)
    alice.post(
        "com.atproto.repo.deleteRecord",
        repo=alice.did,
        collection="com.example.file",
        rkey=published.rkey,
    )
    assert becomes(lambda: service.get(path).status_code == 400 and listed() == [])
    alice.publish(b"WEBVTT\n\ncaptions", "text/vtt")
    assert becomes(lambda: service.get(path).status_code == 200)
