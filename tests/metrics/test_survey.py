"""What takes long to count is counted seldom, by one process for all, and nobody waits for it."""

import subprocess
import sys
import threading

import pytest

from aurora_blobs.errors import ServiceBusy
from aurora_blobs.metrics.families import BLOBS, SPOOL, Measured
from aurora_blobs.metrics.survey import Survey


class Seconds:
    now = 1000.0

    def __call__(self):
        return self.now


class Question:
    """Answers with the number of times that it was asked; while it is *held*, not at all."""

    def __init__(self):
        self.asked = 0
        self.error = None
        self.held = threading.Event()
        self.held.set()

    def __call__(self):
        self.asked += 1
        self.held.wait(20)
        if self.error is not None:
            raise self.error
        return [Measured(BLOBS, (), self.asked), Measured(SPOOL, (), 7)]


@pytest.fixture
def question():
    question = Question()
    yield question
    question.held.set()


@pytest.fixture
def seconds():
    return Seconds()


@pytest.fixture
def survey(question, seconds):
    return Survey(question, rest_seconds=5, seconds=seconds)


def test_an_answer_that_comes_in_time_is_given(survey):
    assert survey.latest(20) == [Measured(BLOBS, (), 1), Measured(SPOOL, (), 7)]


def test_a_question_is_asked_again_after_a_rest(survey, question, seconds):
    for now in (1000, 1004.9, 1005.1, 1006):
        seconds.now = now
        survey.latest(20)

    assert question.asked == 2
    assert survey.latest(20)[0].value == 2


def test_who_does_not_want_to_wait_gets_the_last_answer(survey, question, seconds):
    question.held.clear()
    nothing = survey.latest(0)
    question.held.set()
    survey.latest(20)
    question.held.clear()
    seconds.now += 10

    old = survey.latest(0)

    assert (nothing, old[0].value, question.asked) == ([], 1, 2)


def test_a_question_takes_no_more_than_a_fiftieth_of_the_time(survey, question, seconds):
    question.held.clear()
    survey.latest(0)
    seconds.now += 20
    question.held.set()
    survey.latest(20)

    for now in (1020 + 999, 1020 + 1001):
        seconds.now = now
        survey.latest(20)

    assert question.asked == 2


def test_who_asks_for_too_long_counts_as_dead(question, seconds):
    survey = Survey(question, rest_seconds=5, claim_seconds=30, seconds=seconds)
    question.held.clear()

    for now in (1000, 1029, 1031):
        seconds.now = now
        survey.latest(0)

    assert question.asked == 2


def test_a_failure_leaves_the_last_answer(survey, question, seconds):
    survey.latest(20)
    question.error = ServiceBusy("not now")
    seconds.now += 10

    assert survey.latest(20)[0].value == 1
    assert question.asked == 2


FORKED = """
import os
from aurora_blobs.metrics.families import BLOBS, Measured
from aurora_blobs.metrics.survey import Survey

def count():
    print("counted", flush=True)
    return [Measured(BLOBS, (), 7)]

survey = Survey(count, rest_seconds=60)
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        print(survey.latest(20)[0].value, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
"""


def test_what_one_process_has_counted_others_know():
    done = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.split() == ["counted", "7", "7"]
