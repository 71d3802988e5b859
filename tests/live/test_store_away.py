"""The disk of the blobs is unmounted under the running service, and mounted again."""

import os
import shutil
import signal

import pytest
from support.live_service import becomes
from support.media_samples import jpeg
from support.nginx import service_behind

from aurora_blobs.storage.health import FRESH_SECONDS

pytestmark = pytest.mark.live

HEALTH = "/xrpc/_health"
CAT, DOG, NEW = jpeg("cat"), jpeg("dog"), jpeg("new")


@pytest.fixture
def service(tmp_path):
    with service_behind(
        tmp_path,
        AURORA_BLOBS_WORKERS="2",
        AURORA_BLOBS_ACCEL_REDIRECT="/_blobs/",
    ) as service:
        yield service


def unmount(blobs):
    blobs.rename(f"{blobs}.away")
    blobs.mkdir()


def mount(blobs):
    assert list(blobs.iterdir()) == []
    blobs.rmdir()
    shutil.move(f"{blobs}.away", blobs)


def test_a_disk_that_goes_and_comes_back_loses_nothing(service, nginx):
    alice = service.account().at(nginx)
    cat, dog = alice.publish(CAT).cid, alice.publish(DOG).cid
    # nginx has a link to the cat, and has not asked for the dog.
    assert [alice.fetch(cat).data for _ in range(2)] == [CAT, CAT]
    blobs = service.folder / "data" / "blobs"

    unmount(blobs)
    reads = [alice.fetch(cid).status_code for cid in (cat, dog) for _ in range(10)]
    upload, again = alice.upload(NEW), alice.upload(CAT)
    killed = service.workers()[0]
    os.kill(killed, signal.SIGKILL)
    assert becomes(lambda: len({*service.workers()} - {killed}) == 2)
    health = becomes(lambda: service.get(HEALTH).status_code == 503, 3 * FRESH_SECONDS)
    mount(blobs)

    assert set(reads) == {503}
    assert (upload.status_code, upload.headers["Retry-After"]) == (503, "30")
    assert again.status_code == 503
    assert health
    assert becomes(lambda: service.get(HEALTH).status_code == 200, 3 * FRESH_SECONDS)
    assert [alice.fetch(cid).data for cid in (cat, dog)] == [CAT, DOG]
    assert alice.upload(NEW).status_code == 200
    assert service.run("blobs", "fsck").returncode == 0
