"""The reference PDS moves its blobs here from its own disk or bucket, and back."""

import random
import socket

import pytest
from support import s3_access
from support.accounts import Account, blob_path
from support.cids import cid_in
from support.http_client import HttpClient
from support.live_service import becomes
from support.object_api import BUCKET, object_service, pds_settings, s3_client
from support.reference_pds import ReferencePds

pytestmark = pytest.mark.live

OLD_BUCKET = "pds-before"


class PdsClient(HttpClient):
    def __init__(self, port):
        self.port = port

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=300)


class Disk:
    """The PDS's own folder."""

    def __init__(self, folder):
        self.settings = self.service_settings = {}
        self._folder = folder / "pds" / "blobs"
        self.origin = str(self._folder)

    def take_back(self, service):
        done = service.run("blobs", "export", "--layout", "pds", str(self._folder))
        assert done.returncode == 0, done.stdout


class Bucket:
    """A bucket elsewhere."""

    origin = f"s3://{OLD_BUCKET}/"

    def __init__(self, server):
        self._s3 = server.client()
        self._s3.create_bucket(Bucket=OLD_BUCKET)
        self.settings = s3_access.pds_settings(server.url, OLD_BUCKET)
        self.service_settings = {
            "AURORA_BLOBS_S3_ENDPOINT_URL": server.url,
            "AURORA_BLOBS_S3_ADDRESSING_STYLE": "path",
        }

    def take_back(self, service):
        ours = s3_client(f"http://127.0.0.1:{service.port}")
        for page in ours.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for found in page.get("Contents", []):
                data = ours.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read()
                self._s3.put_object(Bucket=OLD_BUCKET, Key=found["Key"], Body=data)


@pytest.fixture(params=["disk", "bucket"])
def before(request, tmp_path, monkeypatch):
    """Where the PDS keeps its blobs at first."""
    if request.param == "disk":
        return Disk(tmp_path)
    for name, value in s3_access.KEYS.items():
        monkeypatch.setenv(name, value)
    return Bucket(request.getfixturevalue("s3_server"))


def some(name):
    return random.Random(name).randbytes(50_000)


def test_a_pds_moves_its_blobs_here_and_back(before, tmp_path):
    with (
        object_service(tmp_path / "service", **before.service_settings) as service,
        ReferencePds(tmp_path / "pds", "http://localhost", **before.settings) as pds,
    ):
        client = PdsClient(pds.facts["port"])
        alice = Account(pds.facts["did"], pds.facts["accessJwt"], client)
        names = ["kept", "hidden", "deleted", "late", "new"]

        def publish(name):
            return alice.publish(some(name), "*/*")

        def take_down(cid, applied):
            answer = client.post(
                "/xrpc/com.atproto.admin.updateSubjectStatus",
                json={
                    "subject": {
                        "$type": "com.atproto.admin.defs#repoBlobRef",
                        "did": alice.did,
                        "cid": cid,
                    },
                    "takedown": {"applied": applied, "ref": "1"},
                },
                auth=("admin", pds.facts["adminPassword"]),
            )
            assert answer.status_code == 200, answer.text

        def move_here(*words):
            done = service.run("blobs", "import", before.origin, "--layout", "pds", *words)
            assert done.returncode == 0, done.stdout

        def served(server, name):
            return server.get(blob_path(alice.did, blobs[name].cid)).data == some(name)

        blobs = {name: publish(name) for name in names[:3]}
        take_down(blobs["hidden"].cid, True)
        move_here()
        first = [served(service, name) for name in names[:3]]
        blobs["late"] = publish("late")
        alice.post(
            "com.atproto.repo.deleteRecord",
            repo=alice.did,
            collection="com.example.file",
            rkey=blobs["deleted"].rkey,
        )
        assert becomes(lambda: not served(client, "deleted"))
        pds.stop()
        move_here("--delete")
        pds.start(**pds_settings(f"http://127.0.0.1:{service.port}"))
        blobs["new"] = publish("new")
        here = [served(service, name) for name in names]
        there = [served(client, name) for name in names]
        blobs["last"] = alice.blob(some("last"), "*/*")
        before.take_back(service)
        pds.stop()
        before.take_back(service)
        service.stop()
        pds.start(**dict.fromkeys(pds_settings("")) | before.settings)
        take_down(blobs["hidden"].cid, False)
        named = alice.record({"file": blobs["last"]})
        back = [served(client, name) for name in names]

        assert first == [True, False, True]
        assert here == there == [True, False, False, True, True]
        assert back == [True, True, False, True, True]
        assert named.status_code == 200, named.text
        assert client.get(blob_path(alice.did, cid_in(blobs["last"]))).data == some("last")
