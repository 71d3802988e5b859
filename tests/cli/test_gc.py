"""``aurora-blobs blobs gc``."""

import io
import json
import os
import signal
import subprocess
import sys

import pytest
from PIL import Image
from support.backends import UnfinishedUploadBackend
from support.media_samples import jpeg

from aurora_blobs import open_store
from aurora_blobs.errors import BackendUnavailable
from aurora_blobs.storage.disk import DiskBackend

DAY = 86_400


@pytest.fixture
def run(app):
    def run(*arguments):
        return app.test_cli_runner().invoke(args=["blobs", "gc", *arguments])

    return run


def test_the_collector_reports_what_it_removed(run, alice, clock):
    cid = alice.blob(jpeg("cat"))["ref"]["$link"]
    clock.advance(DAY + 1)

    result = run()

    assert result.exit_code == 0
    header, line, summary = result.output.splitlines()
    assert header.split("\t")[:4] == ["kind", "cid", "did", "bytes"]
    assert line.split("\t")[:4] == ["temporary", cid, alice.did, str(len(jpeg("cat")))]
    assert summary == f"collected 1 blobs, {len(jpeg('cat'))} bytes"
    assert run().output == "collected 0 blobs, 0 bytes\n"


def test_a_dry_run_reports_reasons_and_times_and_removes_nothing(run, alice, clock):
    blob, rkey = alice.publish(jpeg("cat"))
    clock.advance(3600)
    alice.post(
        "com.atproto.repo.deleteRecord", repo=alice.did, collection="com.example.file", rkey=rkey
    )
    clock.advance(DAY + 1)

    result = run("--dry-run", "--json")

    found, summary = map(json.loads, result.output.splitlines())
    assert found == {
        "kind": "temporary",
        "cid": blob["ref"]["$link"],
        "did": alice.did,
        "bytes": len(jpeg("cat")),
        "count": 1,
        "since": "2025-06-15T16:06:40+00:00",
        "reason": "no record names it",
    }
    assert summary == {"dryRun": True, "blobs": 1, "bytes": len(jpeg("cat")), "failed": 0}
    assert "would collect 1 blobs" in run("--dry-run").output
    assert "collected 1 blobs" in run().output


def test_pictures_go_with_the_blob_that_they_were_derived_from(run, services, alice, clock):
    output = io.BytesIO()
    Image.new("RGB", (200, 100)).save(output, "JPEG")
    blob, rkey = alice.publish(output.getvalue())
    picture = alice.client.get(
        f"/img/avatar_thumbnail/plain/{alice.did}/{blob['ref']['$link']}@jpeg", buffered=True
    )
    images = services.config.data_dir / "images"
    assert (picture.status_code, len(list(images.rglob("*.jpeg")))) == (200, 1)
    alice.post(
        "com.atproto.repo.deleteRecord", repo=alice.did, collection="com.example.file", rkey=rkey
    )
    clock.advance(DAY + 1)

    assert "picture\t\t\t0\t1" in run().output
    assert list(images.rglob("*.jpeg")) == []


def test_unfinished_uploads_are_reported_and_removed(run, services):
    manager = services.blobs
    manager.backend = UnfinishedUploadBackend(manager.backend.root, durable=False)

    told, summary = map(json.loads, run("--dry-run", "--json").output.splitlines())

    assert (told["kind"], told["bytes"], told["reason"]) == (
        "unfinished",
        11,
        "its upload to the store broke off",
    )
    assert summary["blobs"] == 0
    assert f"\nunfinished\t{told['cid']}\t" in run().output
    assert run().output == "collected 0 blobs, 0 bytes\n"


class Away(DiskBackend):
    def delete_many(self, cids):
        raise BackendUnavailable("the store is away")


def test_a_failed_removal_exits_with_status_1(run, services, alice, clock):
    alice.blob(jpeg("cat"))
    clock.advance(DAY + 1)
    manager = services.blobs
    manager.backend = Away(manager.backend.root, durable=False)

    result = run()

    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "collected 0 blobs, 0 bytes, 1 could not be done"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_watching_collector_stops_on_a_signal(tmp_path, number):
    with open_store(tmp_path, durable=False):
        pass
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "wsgi", "blobs", "gc", "--watch"],
        env={**os.environ, "AURORA_BLOBS_DATA_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "collected 0 blobs, 0 bytes\n"
        process.send_signal(number)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_list_is_made_once(run):
    result = run("--dry-run", "--watch")

    assert result.exit_code == 2
    assert "--dry-run lists once: it does not go with --watch" in result.output
