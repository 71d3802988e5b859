"""Shared calls: one for all concurrent callers, with bounds on calls and on waiters."""

import threading

import pytest
from support.credentials import refusal
from support.live_service import becomes

from aurora_blobs.auth.flights import Flights
from aurora_blobs.errors import ServiceBusy

BUSY = (503, "ServiceUnavailable", "busy")


class Held:
    """Calls that last until `let_go`, in threads of their own."""

    def __init__(self, flights):
        self.flights = flights
        self.made, self.answers = [], []
        self._begun = threading.Semaphore(0)
        self._hold = threading.Event()
        self._threads = []

    def call(self, name):
        def call():
            self.made.append(name)
            self._begun.release()
            self._hold.wait(10)
            return f"answer about {name}"

        return call

    def begin(self, name):
        """Wait until the call has started."""
        self.join(name)
        assert self._begun.acquire(timeout=10)

    def join(self, name):
        thread = threading.Thread(target=self._ask, args=(name,))
        thread.start()
        self._threads.append(thread)

    def _ask(self, name):
        try:
            self.answers.append(self.flights.share(name, self.call(name)))
        except ServiceBusy as error:
            self.answers.append(error.message)

    def let_go(self):
        self._hold.set()
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def held():
    held = Held(Flights(at_once=2, waiting=3, refusal="busy", patience_seconds=0.05))
    yield held
    held.let_go()


def test_concurrent_callers_share_one_call_up_to_a_limit(held):
    held.begin("a")
    for _ in range(10):
        held.join("a")
    assert becomes(lambda: held.answers == ["busy"] * 7)  # so three are waiting
    held.let_go()

    assert held.made == ["a"]
    assert held.answers == ["busy"] * 7 + ["answer about a"] * 4


def test_a_later_caller_makes_its_own_call(held):
    held.let_go()

    assert [held.flights.share("a", held.call("a")) for _ in range(2)] == ["answer about a"] * 2
    assert held.made == ["a", "a"]


def test_so_many_calls_are_under_way_at_once_and_a_further_one_has_little_patience(held):
    held.begin("a")
    held.begin("b")

    assert refusal(held.flights.share, "c", held.call("c")) == BUSY
    held.let_go()
    assert held.flights.share("c", held.call("c")) == "answer about c"


def test_a_caller_that_may_only_lead_never_waits(held):
    held.begin("a")

    assert held.flights.lead("a", held.call("a")) is False
    assert held.flights.lead("b", lambda: held.made.append("b")) is True
    assert held.made == ["a", "b"]


def test_a_failure_is_everybodys_and_leaves_nothing_behind(held):
    def fail():
        raise ServiceBusy("no luck")

    for _ in range(5):
        assert refusal(held.flights.share, "a", fail)[2] == "no luck"
    held.let_go()
    assert held.flights.share("a", held.call("a")) == "answer about a"
