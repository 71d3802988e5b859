"""What fails at the start of a process is tried again until it works."""

import threading

import pytest

from aurora_blobs.errors import DatabaseError, ServiceBusy
from aurora_blobs.server.restarts import until_it_works


class Job:
    """Fails with each of *errors* in turn, then works. `done` is set then."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.threads = []
        self.done = threading.Event()

    def __call__(self):
        self.threads.append(threading.current_thread())
        if self.errors:
            raise self.errors.pop(0)
        self.done.set()


def test_what_works_is_done_once_and_at_once():
    job = Job()

    until_it_works(job, "a job")

    assert job.threads == [threading.current_thread()]


@pytest.mark.parametrize("error", [OSError("away"), DatabaseError("away"), ServiceBusy("away")])
def test_what_fails_is_done_again_while_the_process_goes_on(error, caplog):
    job = Job(error, error)

    until_it_works(job, "a job", retry_seconds=0.01)

    assert job.done.wait(10)
    job.threads[-1].join(10)
    assert len(job.threads) == 3
    assert caplog.messages == ["a job: not now: away"] * 2


def test_a_mistake_of_ours_is_not_tried_again():
    with pytest.raises(TypeError):
        until_it_works(Job(TypeError()), "a job")
