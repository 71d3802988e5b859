"""The service and its commands on a disk that is full: they start, work and recover."""

import json

import pytest
from support.accounts import ADMIN, take_down
from support.full_disk import small_disk
from support.live_service import Service, becomes
from support.media_samples import jpeg

pytestmark = pytest.mark.live

HEALTH = "/xrpc/_health"


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", megabytes=48) as disk:
        yield disk


@pytest.fixture
def service(disk, tmp_path):
    with Service(
        tmp_path,
        AURORA_BLOBS_DATA_DIR=str(disk.path / "data"),
        AURORA_BLOBS_ADMIN_PASSWORD=ADMIN[1],
        AURORA_BLOBS_WORKERS="2",
    ) as service:
        yield service


def fill(disk):
    disk.fill()


def fill_inodes(disk):
    disk.fill_inodes()


full = pytest.mark.parametrize("full", [fill, fill_inodes], ids=["space", "inodes"])


def run(service, *words):
    done = service.run(*words)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@full
def test_commands_start_and_work_while_the_service_is_stopped(service, disk, full):
    alice = service.account()
    public = alice.publish(jpeg("public"))
    service.stop()
    full(disk)

    down = run(service, "blobs", "takedown", public.cid)
    checked = run(service, "blobs", "fsck", "--repair")
    collected = run(service, "blobs", "gc")
    shown = json.loads(run(service, "blobs", "show", public.cid, "--json"))
    lifted = run(service, "blobs", "takedown", "--lift", public.cid)
    account = run(service, "account", "takedown", alice.did)
    deleted = run(service, "account", "delete", alice.did, "--yes")

    assert down == f"{public.cid} is taken down for every account\n"
    assert "nothing is wrong" in checked
    assert collected == "collected 0 blobs, 0 bytes\n"
    assert len(shown["takedowns"]) == 1
    assert lifted == f"{public.cid} is not taken down for every account any more\n"
    assert account == f"{alice.did} is taken down\n"
    assert deleted.startswith(f"deleted {alice.did}, 1 blobs")


@full
def test_the_service_starts_and_recovers_by_itself(service, disk, full):
    alice = service.account()
    public = alice.publish(jpeg("public"))
    service.stop()
    full(disk)
    service.start()

    served = alice.fetch(public.cid).status_code
    refused = alice.upload(jpeg("refused")).status_code
    take_down(service, alice.did, public.cid)
    hidden = alice.fetch(public.cid).status_code
    is_ill = service.get(HEALTH).status_code
    disk.make_space()

    assert (served, refused, hidden, is_ill) == (200, 507, 400, 503)
    assert becomes(lambda: service.get(HEALTH).status_code == 200)
    assert alice.upload(jpeg("accepted")).status_code == 200
    assert len(list((disk.path / "data" / "reserve").iterdir())) == 16


def test_guesses_are_limited_in_all_processes(service, disk):
    service.account()
    disk.fill()
    path = "/xrpc/com.atproto.admin.getSubjectStatus"
    query = {"did": "did:web:alice.test"}

    statuses = [
        service.get(path, query_string=query, auth=("admin", f"guess {number}")).status_code
        for number in range(40)
    ]

    assert statuses == [401] * 30 + [429] * 10
    assert service.get(path, query_string=query, auth=ADMIN).status_code == 429
