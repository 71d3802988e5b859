"""Jobs that are started from the console, on the service as shipped."""

import json
import os
import signal
from pathlib import Path

import pytest
from support.cids import cid_in
from support.console import PASSWORD, Browser, Console
from support.live_service import Service, becomes
from support.media_samples import jpeg
from support.process_watch import children

pytestmark = pytest.mark.live

SIZE = sum(len(jpeg(number)) for number in range(3))


@pytest.fixture
def service(tmp_path):
    with Service(tmp_path, AURORA_BLOBS_ADMIN_PASSWORD=PASSWORD) as service:
        yield service


@pytest.fixture
def console(service):
    console = Console(Browser(service))
    assert console.sign_in().status_code == 303
    return console


@pytest.fixture
def cids(service):
    alice = service.account()
    return [cid_in(alice.publish(jpeg(number))[0]) for number in range(3)]


def job(service, name):
    """What `blobs stats` says of the job *name*."""
    found = json.loads(service.run("blobs", "stats", "--json").stdout)["jobs"]
    return next(one for one in found if one["job"] == name)


def acts(service):
    lines = service.run("audit", "list", "--json").stdout.splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", ["gc", "scrub", "fsck"])
def test_a_run_is_noted_and_audited_and_what_it_found_is_on_the_page(service, console, cids, name):
    damaged = next(Path(service.folder, "data", "blobs").rglob(cids[0]))
    damaged.write_bytes(b"?")
    seen = {"gc": (0, []), "scrub": (3, [cids[0]]), "fsck": (3, [cids[0]])}[name]

    answer = console.post("/jobs/start", job=name, reason="a look")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/jobs?started=1")
    assert becomes(lambda: console.page("/jobs").rows.get(f"{name} 1"), 30)
    run, page = job(service, name), console.page("/jobs")
    assert (run["blobs"], run["findings"], run["failure"]) == (seen[0], len(seen[1]), None)
    assert page.rows[f"{name} 1"][:1] == [seen[0]]
    assert [cid for cid in cids if cid in page.text] == seen[1]
    assert [
        (act["actor"], act["via"], act["action"], act["newValue"], act["reason"])
        for act in acts(service)
    ] == [("admin", "console", "run", name, "a look")]
    assert becomes(lambda: "a job has ended" in service.log)


def runs_of(service):
    """The processes of commands that the workers have started."""
    found = [pid for worker in service.workers() for pid in children(worker)]
    return [pid for pid in found if b"scrub" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_one_run_goes_on_at_a_time_also_when_the_process_that_began_it_dies(service, console, cids):
    console.post("/jobs/start", job="scrub")
    assert becomes(lambda: runs_of(service))
    [pid] = runs_of(service)
    os.kill(pid, signal.SIGSTOP)
    meanwhile = console.post("/jobs/start", job="fsck")
    for worker in service.workers():
        os.kill(worker, signal.SIGKILL)
    assert becomes(service.is_answering)
    afterwards = console.post("/jobs/start", job="fsck")
    acts_until_then = len(acts(service))
    os.kill(pid, signal.SIGCONT)

    assert becomes(lambda: console.page("/jobs").rows.get("scrub 1") == [3, SIZE, 0, 0], 30)
    assert (meanwhile.status_code, afterwards.status_code) == (400, 400)
    assert "one at a time" in afterwards.text
    assert acts_until_then == 1
    assert becomes(lambda: console.post("/jobs/start", job="fsck").status_code == 303)
    assert becomes(lambda: console.page("/jobs").rows.get("fsck 1") == [3, SIZE, 0, 0], 30)
