"""Stops: a graceful one waits for uploads, a sudden one leaves no file."""

import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress

import pytest
from support.live_service import Service, becomes
from support.project import ROOT

from aurora_blobs.storage.base import MARK

pytestmark = pytest.mark.live

PNG = b"\x89PNG\r\n\x1a\n"
BODY = PNG + os.urandom(9_000_000)  # too large to be in memory


@pytest.fixture
def service(tmp_path):
    with Service(tmp_path, AURORA_BLOBS_MAX_BLOB_SIZE="10MB") as service:
        yield service


def test_run_takes_no_socket_from_a_service(tmp_path):
    with Service(tmp_path, AURORA_BLOBS_BIND=f"unix:{tmp_path}/gunicorn.sock") as service:
        command = [sys.executable, "-m", "aurora_blobs", "run"]
        refused = subprocess.run(
            command, cwd=ROOT, env=service.environ(), capture_output=True, text=True, timeout=60
        )

        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == (
            f"Error: a service listens at unix:{service.socket} already: stop it first\n"
        )
        assert service.is_answering()
        service.kill()
        assert service.socket.exists()
        service.start()  # a socket that nobody listens at is replaced


def stored(service):
    """The files in the store and the spool."""
    data = service.folder / "data"
    return sorted(
        path
        for name in ("blobs", "spool")
        for path in (data / name).rglob("*")
        if path.is_file() and path.name != MARK
    )


def spooled(service):
    return list((service.folder / "data" / "spool").iterdir())


class SlowUpload(threading.Thread):
    """Uploads half of `BODY`, which reaches the spool, and the rest once `finish` is set."""

    def __init__(self, service, account):
        super().__init__()
        self._account = account
        self.finish = threading.Event()
        self.answer = None
        self.start()
        assert becomes(lambda: spooled(service))

    def run(self):
        with suppress(OSError):
            self.answer = self._account.upload(
                self._pieces(), "image/png", **{"Content-Length": str(len(BODY))}
            )

    def _pieces(self):
        yield BODY[:1_500_000]
        assert self.finish.wait(30)
        yield BODY[1_500_000:]


def test_a_stop_waits_for_an_upload_in_flight(service):
    account = service.account()
    silent = service.connect()  # a silent connection delays no stop
    upload = SlowUpload(service, account)

    service.process.send_signal(signal.SIGTERM)
    refused = becomes(lambda: not service.is_answering())
    upload.finish.set()
    upload.join(30)
    began = time.monotonic()
    status = service.process.wait(30)
    silent.close()

    assert refused
    assert upload.answer.status_code == 200, upload.answer.data
    assert status == 0
    assert time.monotonic() - began < 10
    [file] = stored(service)
    assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(BODY).digest()


def test_ctrl_c_stops_the_service_at_once(service):
    upload = SlowUpload(service, service.account())
    began = time.monotonic()

    service.stop(signal.SIGINT)

    assert time.monotonic() - began < 5
    upload.finish.set()
    upload.join(30)
    assert upload.answer is None


def test_a_sudden_death_in_mid_upload_leaves_nothing_after_the_restart(service):
    account = service.account()
    kept = account.publish(PNG + b"kept", "image/png").cid
    upload = SlowUpload(service, account)

    service.kill()
    upload.finish.set()
    upload.join(30)
    service.start()

    assert [path.name for path in stored(service)] == [kept]
    assert account.fetch(kept).data == PNG + b"kept"


def test_a_dead_worker_is_replaced_and_no_blob_is_lost(service):
    account = service.account()
    kept = account.publish(PNG + b"kept", "image/png").cid

    for pid in service.workers():
        os.kill(pid, signal.SIGKILL)

    assert becomes(service.is_answering)
    assert account.fetch(kept).data == PNG + b"kept"


def test_connections_beyond_its_open_files_wait_and_end_no_worker(service):
    account = service.account()
    assert becomes(lambda: len(service.workers()) > 1)  # one may answer alone at first
    workers = service.workers()
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64))
    with ExitStack() as open_ones:
        for _ in range(200):
            open_ones.enter_context(service.connect())
        assert becomes(lambda: "connections have to wait" in service.log)

    assert becomes(service.is_answering)
    assert account.upload(PNG + b"after", "image/png").status_code == 200
    assert service.workers() == workers
    assert service.log.count("connections have to wait") <= len(workers)


def test_the_service_starts_within_seconds(tmp_path):
    began = time.monotonic()
    with Service(tmp_path) as service:
        answer = service.get("/xrpc/_health")
        took = time.monotonic() - began

    print(f"started and answered in {took:.2f} s")
    assert answer.status_code == 200
    assert took < 5
