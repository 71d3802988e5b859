"""What is remembered of the runs of jobs."""

import os
import signal
import threading
from contextlib import suppress
from dataclasses import astuple

import pytest

from aurora_blobs.catalog.jobs import Counts
from aurora_blobs.disk_space import DiskSpace
from aurora_blobs.errors import BackendUnavailable, InsufficientStorage
from aurora_blobs.maintenance.job_log import JobLog

JOBS = ["gc", "fsck", "scrub", "backup"]
NOTHING = Counts(0, 0, 0, 0)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "jobs"


@pytest.fixture
def job_log(core, folder):
    return JobLog(core.database, folder, core.clock)


def status(job_log, job="fsck"):
    return next(found for found in job_log.statuses() if found.job == job)


def run(job_log, job="fsck", counts=NOTHING, error=None):
    with suppress(BaseException), job_log.run(job, lambda: counts):
        raise_any(error)


def raise_any(error):
    for one in filter(None, [error]):
        raise one


def test_every_job_is_told_of_before_it_ever_ran(job_log):
    assert [(found.job, found.state) for found in job_log.statuses()] == [
        (job, "never") for job in JOBS
    ]


def test_a_run_is_told_of_with_its_times_and_counts(job_log, core):
    began = core.clock()
    with job_log.run("fsck", lambda: Counts(7, 700, 0, 0)):
        core.clock.advance(60)
    found = status(job_log)

    assert astuple(found.last) == (1, began, core.clock(), None, 7, 700, 0, 0)
    assert (found.state, found.completed) == ("ok", found.last)
    assert status(job_log, "gc").state == "never"


def test_a_run_is_under_way_while_it_lasts(job_log, core, folder):
    with job_log.run("scrub", lambda: NOTHING):
        seen_by_another = status(JobLog(core.database, folder, core.clock), "scrub")

    assert (seen_by_another.state, seen_by_another.last.ended_at) == ("running", None)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "error, failure",
    [
        (BackendUnavailable("the store is away"), "the store is away"),
        (
            PermissionError(13, "Permission denied", "/backup"),
            "[Errno 13] Permission denied: '/backup'",
        ),
        (ValueError("accepted is a URL"), "accepted is a URL"),
        (KeyboardInterrupt(), "broken off"),
        (RuntimeError("a bug"), "broken off"),
    ],
    ids=["store", "system", "argument", "Ctrl-C", "bug"],
)
def test_a_run_that_fails_says_why_and_what_it_has_found_so_far(job_log, core, error, failure):
    run(job_log, counts=Counts(5, 500, 0, 0))
    completed = status(job_log).last
    core.clock.advance(3600)
    run(job_log, counts=Counts(3, 300, 2, 1), error=error)
    found = status(job_log)

    assert (found.state, found.completed) == ("failed", completed)
    assert astuple(found.last) == (2, core.clock(), core.clock(), failure, 3, 300, 2, 1)


def test_an_error_is_not_swallowed(job_log):
    with pytest.raises(BackendUnavailable), job_log.run("gc", lambda: NOTHING):
        raise BackendUnavailable("the store is away")


def test_a_run_that_found_something_has_come_to_its_end(job_log):
    run(job_log, counts=Counts(5, 500, 3, 3))
    found = status(job_log)

    assert (found.state, found.completed) == ("findings", found.last)


def in_a_child(call):
    """Run *call* in a process that ends by SIGKILL as soon as it says so."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        call(lambda: (os.write(writer, b"."), signal.pause()))
        os._exit(1)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    return child


@pytest.fixture
def child(job_log):
    """A process in the middle of a run of fsck."""

    def job(ready):
        with job_log.run("fsck", lambda: NOTHING):
            ready()

    child = in_a_child(job)
    yield child
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def kill(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_run_whose_process_was_killed_has_died(job_log, child):
    running = status(job_log)
    kill(child)
    dead = status(job_log)

    assert (running.state, dead.state) == ("running", "died")
    assert (dead.last, dead.completed) == (running.last, None)


def test_the_file_of_a_dead_run_goes_with_the_next_run_of_any_job(job_log, folder, child):
    kill(child)

    run(job_log, "gc")
    assert list(folder.iterdir()) == []
    assert status(job_log).state == "died"


def test_runs_of_one_job_at_the_same_time_do_not_disturb_each_other(job_log):
    both, seen = threading.Barrier(2), []

    def one():
        with job_log.run("gc", lambda: Counts(1, 1, 0, 0)):
            both.wait(10)
            seen.append(status(job_log, "gc").state)
            both.wait(10)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == ["running", "running"]
    assert (status(job_log, "gc").state, status(job_log, "gc").last.number) == ("ok", 2)


def test_ten_runs_are_kept_and_the_last_that_came_to_its_end(job_log, core):
    for _ in range(3):
        run(job_log)
    for _ in range(20):
        run(job_log, error=RuntimeError())
    run(job_log, "gc")

    with core.database.read() as tx:
        kept = tx.all("SELECT number FROM job_run WHERE job = 'fsck' ORDER BY number")
    assert [number for (number,) in kept] == [3, *range(14, 24)]
    assert status(job_log).completed.number == 3


class Full(DiskSpace):
    def make_room(self, spend):
        raise InsufficientStorage("no space left")

    def is_short(self):
        return True


def test_a_job_runs_also_where_it_cannot_be_noted(core, job_log, caplog):
    core.database.space = Full()
    done = []

    with job_log.run("gc", lambda: NOTHING):
        done.append("freed")

    assert done == ["freed"]
    assert caplog.messages == ["a run is not noted: no space left"]
    assert status(job_log, "gc").state == "never"
