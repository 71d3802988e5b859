"""Each alert of deploy/ is raised by Prometheus when a real service fails in the way it is for."""

import os
import re
import shutil
import signal
import sqlite3
import threading
import time
from contextlib import closing, suppress
from http.client import HTTPException

import pytest
from support.accounts import UPLOAD
from support.full_disk import small_disk
from support.http_client import call
from support.live_service import Service, becomes
from support.media_samples import jpeg
from support.metrics import TOKEN
from support.project import DEPLOY
from support.prometheus import Prometheus

# What is planted is planted into SQLite.
pytestmark = [pytest.mark.live, pytest.mark.sqlite]

RULES = (DEPLOY / "prometheus-rules.yml").read_text()
PDS = "http://127.0.0.1:9"
MIRROR = {"AURORA_BLOBS_MIRROR": "pds", "AURORA_BLOBS_FOLLOW": PDS}
HOURS = 3_600_000_000  # microseconds
SLOW_SECONDS = 11


class Watched:
    """A service on a *disk* of its own, and Prometheus, whose alerts wait a second, not minutes."""

    def __init__(self, disk, service, prometheus):
        self.disk = disk
        self.data = disk.path / "data"
        self.service = service
        self.prometheus = prometheus

    def firing(self):
        found = self.prometheus.ask('ALERTS{alertstate="firing"}')
        return {alert["metric"]["alertname"] for alert in found}

    def run(self, sql, *values):
        with closing(sqlite3.connect(self.data / "aurora.sqlite3")) as connection, connection:
            connection.execute(sql, values)


def nothing():
    pass


def is_down(watched):
    watched.service.stop()
    return nothing


def store_is_away(watched):
    shutil.move(watched.data / "blobs", watched.data / "away")
    return nothing


def disk_is_full(watched):
    watched.disk.fill()
    # What frees space takes of the reserve.
    return lambda: watched.service.run("blobs", "gc")


def disk_is_nearly_full(watched):
    watched.disk.fill(leave=1_900_000_000)
    return nothing


def uploads(watched):
    alice = watched.service.account()
    return lambda: alice.upload(os.urandom(100), "text/plain")


def store_cannot_write(watched):
    """Where the folders of blobs should be, there are files."""
    again = uploads(watched)
    for number in range(256):
        folder = watched.data / "blobs" / f"{number:02x}"
        folder.rmdir()
        folder.touch()
    return again


def an_upload_is_slow(watched):
    alice = watched.service.account()
    alice.blob(jpeg("cat"))
    counted = 'aurora_blobs_request_seconds_count{method="com.atproto.repo.uploadBlob"}'
    assert becomes(lambda: watched.prometheus.number(counted) == 1)

    def slowly():
        yield jpeg("dog")[:10]
        time.sleep(SLOW_SECONDS)
        yield jpeg("dog")[10:]

    answer = call(
        watched.service.connect(),
        *("POST", UPLOAD, slowly(), {**alice.headers, "Content-Type": "image/jpeg"}),
    )
    assert answer.status_code == 200
    return nothing


def database_is_locked(watched):
    upload = uploads(watched)
    with closing(sqlite3.connect(watched.data / "aurora.sqlite3")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        upload()
        assert becomes(lambda: watched.prometheus.ask("aurora_blobs_database_errors_total"))
        threads = [threading.Thread(target=upload) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return nothing


def a_blob_is_lost(watched):
    alice = watched.service.account()
    cid = alice.publish(jpeg("cat")).cid
    next((watched.data / "blobs").rglob(cid)).unlink()
    watched.service.run("blobs", "fsck", "--repair")
    # Blobs are counted once a minute, and anew by a service that starts.
    watched.service.stop()
    watched.service.start()
    return nothing


def a_blob_is_damaged(watched):
    alice = watched.service.account()
    cid = alice.publish(jpeg("cat")).cid
    next((watched.data / "blobs").rglob(cid)).write_bytes(b"?")
    watched.service.run("blobs", "fsck")
    return nothing


def a_job_fails(watched):
    watched.service.account().publish(jpeg("cat"))  # a store without anything may be a new one
    store_is_away(watched)
    assert watched.service.run("blobs", "gc").returncode == 1
    return nothing


def a_job_is_overdue(watched):
    assert watched.service.run("blobs", "gc").returncode == 0
    watched.run("UPDATE job_run SET ended_at = ended_at - ?", 4 * HOURS)
    return nothing


def workers_die(watched):
    def kill_one():
        with suppress(IndexError, ProcessLookupError):
            os.kill(watched.service.workers()[0], signal.SIGKILL)
        time.sleep(0.3)

    return kill_one


def mirror_is_behind(watched):
    seen_at = time.time_ns() // 1000 - HOURS
    watched.run("INSERT INTO upstream_host (host, seen_at) VALUES (?, ?)", PDS, seen_at)
    return nothing


def mirror_has_an_alarm(watched):
    watched.run(
        "INSERT INTO upstream_round (host, began_at, asked, did, cid, alarm, accepted_at)"
        " VALUES (?, 0, 0, '', '', 'very many are refused', 0)",
        PDS,
    )
    return nothing


# Of each alert: what goes wrong, in which settings, on a disk of how many MB. It returns what goes
# on to happen.
PLANTED = {
    "AuroraBlobsDown": (is_down, {}, 64),
    "AuroraBlobsPartDown": (store_is_away, {}, 64),
    "AuroraBlobsDiskFull": (disk_is_full, {}, 64),
    "AuroraBlobsLittleSpace": (disk_is_nearly_full, {}, 2000),
    "AuroraBlobsErrors": (store_cannot_write, {}, 64),
    "AuroraBlobsUploadsFail": (store_cannot_write, {}, 64),
    "AuroraBlobsSlow": (an_upload_is_slow, {}, 64),
    "AuroraBlobsDatabaseErrors": (database_is_locked, {}, 64),
    "AuroraBlobsStoreErrors": (store_cannot_write, {}, 64),
    "AuroraBlobsMissing": (a_blob_is_lost, {}, 64),
    "AuroraBlobsDamage": (a_blob_is_damaged, {}, 64),
    "AuroraBlobsJobFailed": (a_job_fails, {}, 64),
    "AuroraBlobsJobOverdue": (a_job_is_overdue, {}, 64),
    "AuroraBlobsWorkersDie": (workers_die, {}, 64),
    "AuroraBlobsMirrorBehind": (mirror_is_behind, MIRROR, 64),
    "AuroraBlobsMirrorAlarm": (mirror_has_an_alarm, MIRROR, 64),
}


@pytest.fixture
def watched(tmp_path, request):
    _, settings, megabytes = PLANTED[request.param]
    rules = tmp_path / "rules.yml"
    rules.write_text(re.sub(r"\bfor: \w+", "for: 1s", RULES))
    with (
        small_disk(tmp_path / "disk", megabytes=megabytes) as disk,
        Service(
            tmp_path,
            AURORA_BLOBS_DATA_DIR=str(disk.path / "data"),
            AURORA_BLOBS_METRICS_TOKEN=TOKEN,
            AURORA_BLOBS_ALLOWED_MIME_TYPES="*/*",
            AURORA_BLOBS_WORKERS="2",
            **settings,
        ) as service,
        Prometheus(tmp_path / "prometheus", service.port, rules) as prometheus,
    ):
        yield Watched(disk, service, prometheus)


@pytest.mark.parametrize("watched", PLANTED, indirect=True)
def test_a_failure_raises_its_alert(watched, request):
    alert = request.node.callspec.params["watched"]
    plant, _, _ = PLANTED[alert]
    scrapes = 'count_over_time(up{job="aurora-blobs"}[1m])'
    assert becomes(lambda: (watched.prometheus.number(scrapes) or 0) >= 4)
    before = watched.firing()

    again = plant(watched)

    def is_raised():
        with suppress(OSError, HTTPException):
            again()
        return alert in watched.firing()

    assert becomes(is_raised, 60)
    assert alert not in before


def test_every_alert_is_planted():
    assert set(re.findall(r"alert: (\w+)", RULES)) == set(PLANTED)
