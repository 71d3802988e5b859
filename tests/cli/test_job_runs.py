"""``blobs stats`` tells how each job last ran, whatever became of it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from support.cids import cid_in
from support.databases import database_settings
from support.live_service import becomes
from support.media_samples import jpeg
from support.services import services_of

from aurora_blobs.catalog.jobs import Counts
from aurora_blobs.errors import BackendUnavailable
from aurora_blobs.storage.disk import DiskBackend

DAY = 86_400
WHEN = "2025-06-15T15:06:40+00:00"
SIZE = len(jpeg("cat"))
NEVER = {"startedAt": None, "endedAt": None, "completedAt": None, "failure": None}
NO_COUNTS = dict.fromkeys(("blobs", "bytes", "findings", "repaired"))


@pytest.fixture
def cid(alice):
    return cid_in(alice.publish(jpeg("cat"))[0])


def jobs(run):
    """What `blobs stats` says of each job, by its name."""
    return {
        found.pop("job"): found
        for found in json.loads(run("blobs", "stats", "--json").output)["jobs"]
    }


def test_jobs_that_never_ran_are_told_of(run):
    assert jobs(run) == {
        job: {"state": "never", **NEVER, **NO_COUNTS} for job in ("gc", "fsck", "scrub", "backup")
    }


@pytest.mark.parametrize(
    "job, words",
    [
        ("fsck", ("blobs", "fsck")),
        ("scrub", ("blobs", "scrub")),
        ("scrub", ("blobs", "scrub", "--dry-run")),
        pytest.param("backup", ("backup", "make", "copy"), marks=pytest.mark.sqlite),
    ],
    ids=["fsck", "scrub", "a scrub that only looks", "backup"],
)
def test_a_job_that_went_well_is_told_of(run, cid, tmp_path, monkeypatch, job, words):
    monkeypatch.chdir(tmp_path)
    run(*words)

    found = jobs(run)

    assert found.pop(job) == {
        "state": "ok",
        "startedAt": WHEN,
        "endedAt": WHEN,
        "blobs": 1,
        "bytes": SIZE,
        "findings": 0,
        "repaired": 0,
        "completedAt": WHEN,
        "failure": None,
    }
    assert {other["state"] for other in found.values()} == {"never"}


def test_a_collection_is_told_of_with_what_it_removed(run, alice, clock):
    alice.blob(jpeg("cat"))
    clock.advance(DAY + 1)
    run("blobs", "gc", "--dry-run")
    listed = jobs(run)["gc"]
    run("blobs", "gc")
    found = jobs(run)["gc"]

    assert listed["state"] == "never"
    assert (found["state"], found["blobs"], found["bytes"]) == ("ok", 1, SIZE)


def test_people_read_it_below_the_counts(run, cid):
    run("blobs", "fsck")

    counts, _, table = run("blobs", "stats").output.partition("\n\n")
    header, *rows = [line.split("\t") for line in table.splitlines()]

    assert "withoutBytes" in counts
    assert header == [
        *("job", "state", "startedAt", "endedAt", "blobs", "bytes", "findings", "repaired"),
        *("completedAt", "failure"),
    ]
    assert [row[:2] for row in rows] == [
        ["gc", "never"],
        ["fsck", "ok"],
        ["scrub", "never"],
        ["backup", "never"],
    ]


@pytest.mark.parametrize("job", ["fsck", "scrub"])
def test_what_a_job_found_and_mended_is_told_of(run, services, cid, job):
    backend = services.blobs.backend
    (backend.root / backend.path(cid)).write_bytes(b"?" * (SIZE - 1))

    run("blobs", job, "--repair")
    found = jobs(run)[job]

    assert (found["state"], found["findings"], found["repaired"]) == ("findings", 1, 1)
    assert found["completedAt"] == WHEN


class Stubborn(DiskBackend):
    def delete_many(self, cids):
        raise BackendUnavailable("the bytes do not go")


class Away(Stubborn):
    def confirm(self):
        raise BackendUnavailable("the store is away")

    probe = confirm


@pytest.fixture
def away(services, cid):
    """The store goes away, with a blob that the collector would take."""

    def go():
        services.blobs.backend = Away(services.blobs.backend.root, durable=False)

    return go


@pytest.mark.parametrize(
    "job, words",
    [
        ("fsck", ("blobs", "fsck")),
        ("scrub", ("blobs", "scrub")),
        pytest.param("backup", ("backup", "make", "a"), marks=pytest.mark.sqlite),
    ],
)
def test_a_job_that_fails_says_why_and_when_it_last_came_to_its_end(
    run, away, clock, tmp_path, monkeypatch, job, words
):
    monkeypatch.chdir(tmp_path)
    run(*words)
    away()
    clock.advance(DAY)

    failed = run(*words)
    found = jobs(run)[job]

    assert (failed.exit_code, failed.output.splitlines()[-1]) == (1, "Error: the store is away")
    assert (found["state"], found["failure"]) == ("failed", "the store is away")
    assert (found["completedAt"], found["endedAt"]) == (WHEN, "2025-06-16T15:06:40+00:00")


def test_a_collection_that_could_not_remove_one_is_told_of(run, services, alice, clock):
    alice.blob(jpeg("cat"))
    clock.advance(DAY + 1)
    services.blobs.backend = Stubborn(services.blobs.backend.root, durable=False)

    assert run("blobs", "gc").exit_code == 1
    found = jobs(run)["gc"]

    assert (found["state"], found["findings"]) == ("findings", 1)
    assert found["completedAt"] == "2025-06-16T15:06:41+00:00"


@pytest.mark.parametrize(
    "number, why",
    [
        (0, "the store is away"),
        (1, "the store is away"),
        (3, "too many removals failed, one after the other: the bytes do not go"),
    ],
)
def test_a_collection_without_its_store_has_failed_whatever_there_was_to_remove(
    run, alice, away, clock, number, why
):
    run("blobs", "gc")
    for count in range(number):
        alice.blob(jpeg(count))
    clock.advance(DAY + 1)
    away()

    failed = run("blobs", "gc")
    found = jobs(run)["gc"]

    assert (failed.exit_code, failed.output.splitlines()[-1]) == (1, f"Error: {why}")
    assert (found["state"], found["failure"], found["findings"]) == ("failed", why, number)
    assert found["completedAt"] == WHEN


@pytest.mark.sqlite
def test_a_copy_of_the_database_knows_no_run_without_an_end(run, services, cid, tmp_path):
    run("blobs", "fsck")
    with services.job_log.run("gc", lambda: Counts(0, 0, 0, 0)):
        made = run("backup", "make", str(tmp_path / "copy"))
    with closing(sqlite3.connect(tmp_path / "copy" / "aurora.sqlite3")) as connection:
        kept = connection.execute("SELECT job, failure FROM job_run").fetchall()
    restored = run("backup", "restore", str(tmp_path / "copy"), "--yes")

    assert (made.exit_code, restored.exit_code) == (0, 0)
    assert kept == [("fsck", None)]
    assert {job: found["state"] for job, found in jobs(run).items()} == {
        "gc": "never",
        "fsck": "ok",
        "scrub": "never",
        "backup": "never",
    }


@pytest.fixture
def process(app, cid):
    """A scrub in a process of its own, which takes for ever."""
    folder = services_of(app).config.data_dir
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "aurora_blobs", "blobs", "scrub"),
            *("--bytes-per-second", "1"),
        ],
        env={
            **os.environ,
            "AURORA_BLOBS_DATA_DIR": str(folder),
            **database_settings(f"{folder}/aurora.sqlite3"),
        },
        stdout=subprocess.DEVNULL,
    )
    yield process
    process.kill()
    process.wait()


def state(run):
    return jobs(run)["scrub"]["state"]


@pytest.mark.parametrize(
    "number, became",
    [(signal.SIGKILL, "died"), (signal.SIGTERM, "died"), (signal.SIGINT, "failed")],
)
def test_a_job_runs_until_it_is_stopped_and_then_it_is_known(run, process, number, became):
    assert becomes(lambda: state(run) == "running", 20)

    process.send_signal(number)
    process.wait(20)

    assert state(run) == became
    run("blobs", "scrub")
    assert state(run) == "ok"
