"""Blobs move from disk to S3 and back under traffic, while the command is killed."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time

import pytest
from support.live_service import Service
from support.project import ROOT
from support.s3_access import BUCKET, KEYS
from support.services import services_of

from aurora_blobs.app import create_app
from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.config import Config

pytestmark = [pytest.mark.live, pytest.mark.long]

BLOBS = 5_000
KILLS = 5


class Installation:
    """A data folder and a bucket, on which `begin` starts the service and `run` a command."""

    def __init__(self, folder, s3_server):
        self.data = folder / "data"
        self._folder = folder
        self._settings = {
            **KEYS,
            "AURORA_BLOBS_DATA_DIR": str(self.data),
            "AURORA_BLOBS_S3_BUCKET": BUCKET,
            "AURORA_BLOBS_S3_PREFIX": f"{folder.name}/",
            "AURORA_BLOBS_S3_ENDPOINT_URL": s3_server.url,
            "AURORA_BLOBS_S3_ADDRESSING_STYLE": "path",
            "AURORA_BLOBS_ALLOWED_MIME_TYPES": "*/*",
            "AURORA_BLOBS_MIME_POLICY": "sniff",  # random bytes may look like some type
            "AURORA_BLOBS_DURABILITY": "os",
        }
        self._started = 0
        self._client = s3_server.client()

    def begin(self, storage, fallback=""):
        self._started += 1
        self._storage = {"AURORA_BLOBS_STORAGE": storage, "AURORA_BLOBS_STORAGE_FALLBACK": fallback}
        return Service(
            self._folder / f"service{self._started}", **self._settings, **self._storage
        ).start()

    def app(self):
        settings = {
            name: value for name, value in self._settings.items() if name.startswith("AURORA_")
        }
        return create_app(Config.from_environ(settings))

    def count(self, store):
        """The number of blobs in *store*."""
        if store == "disk":
            return sum(len(files) for _, _, files in os.walk(self.data / "blobs"))
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{self._folder.name}/"
        )
        return sum(page["KeyCount"] for page in pages)

    def command(self, *words):
        return subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "wsgi", "blobs", *words, "--json"],
            cwd=ROOT,
            env={**os.environ, **self._settings, **self._storage},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *words):
        process = self.command(*words)
        out, err = process.communicate(timeout=600)
        assert process.returncode in (0, 1), err
        return json.loads(out)


class Traffic:
    """Clients that upload and read all the time, on one service after another."""

    def __init__(self, service, account, known, seed):
        self._service = service
        self.failures = []
        self.requests = 0
        self.account = account
        self._known = known  # CID to bytes
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(seed + n),)) for n in range(3)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, dice):
        while not self._stop.is_set():
            try:
                self._upload(dice.randbytes(dice.randrange(1, 3_000)))
                for cid in dice.sample(list(self._known), 3):
                    self._read(cid)
                self.requests += 4
            except BaseException as failure:
                self.failures.append(repr(failure))
            self._stop.wait(0.05)

    def _upload(self, data):
        blob = self.account.blob(data, "application/x-test")
        self._known[blob["ref"]["$link"]] = data

    def _read(self, cid):
        answer = self.account.fetch(cid, **self.account.headers)
        assert (answer.status_code, answer.data) == (200, self._known[cid]), (
            cid,
            answer.status_code,
            answer.data[:100],
        )

    def move_to(self, service):
        """Send new requests to *service*, and stop the old one once its requests have ended."""
        old, self._service = self._service, service
        self.account = self.account.at(service)
        old.stop()

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(120)


def fill(installation, account, dice):
    app = installation.app()
    blobs = services_of(app).blobs
    known = {}
    for _ in range(BLOBS):
        data = dice.randbytes(dice.randrange(1, 3_000))
        entry = blobs.upload(Incoming(stream=Bytes(data), did=account.did))
        known[entry.cid] = data
    services_of(app).database.close()
    return known


class Bytes:
    def __init__(self, data):
        self._data = data

    def read(self, size, /):
        piece, self._data = self._data[:size], self._data[size:]
        return piece


def migrate(installation, target, kills):
    """Kill the command each time *target* holds a number in *kills*, then run it to its end."""
    for number in kills:
        process = installation.command("migrate", "--to", target)
        deadline = time.monotonic() + 120
        while installation.count(target) < number:
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.02)
        process.kill()
        process.communicate()
    return installation.run("migrate", "--to", target)


@pytest.mark.parametrize("seed", [20261])
def test_blobs_move_to_s3_and_back_under_traffic_and_kills(tmp_path, s3_server, seed):
    print(f"seed {seed}")
    dice = random.Random(seed)
    kills = dice.sample(range(1, BLOBS), KILLS)
    installation = Installation(tmp_path, s3_server)
    service = installation.begin("disk", "s3")
    account = service.account()
    known = fill(installation, account, dice)
    traffic = Traffic(service, account, known, seed)
    try:
        first = migrate(installation, "s3", sorted(kills[:3]))
        traffic.move_to(installation.begin("s3", "disk"))
        there = migrate(installation, "s3", [])
        traffic.move_to(installation.begin("s3"))
        shutil.rmtree(installation.data / "blobs")
        on_s3 = installation.run("fsck")

        traffic.move_to(installation.begin("s3", "disk"))
        second = migrate(installation, "disk", sorted(kills[3:]))
        traffic.move_to(installation.begin("disk", "s3"))
        back = migrate(installation, "disk", [])
        traffic.move_to(installation.begin("disk"))
    finally:
        traffic.stop()
    on_disk = installation.run("fsck")
    scrubbed = installation.run("scrub")
    account = traffic.account
    bodies = {cid: account.fetch(cid, **account.headers).data for cid in known}
    account.client.stop()

    assert traffic.failures == []
    assert traffic.requests > 100
    assert {finding["kind"] for run in (first, second) for finding in run["findings"]} <= {
        "not copied"
    }
    assert (
        there["findings"]
        == back["findings"]
        == on_s3["findings"]
        == on_disk["findings"]
        == scrubbed["findings"]
        == []
    )
    assert first["copiedBlobs"] < BLOBS
    assert second["copiedBlobs"] < BLOBS
    assert bodies == known
