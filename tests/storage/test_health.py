"""Health notices a failing store, and probes it seldom."""

import threading
from dataclasses import replace

import pytest
from support.backends import MemoryBackend

from aurora_blobs.errors import BackendTimeout
from aurora_blobs.storage.health import FRESH_SECONDS, StoreHealth


class MoodyBackend(MemoryBackend):
    """Fails while `failing` is set, and counts canaries."""

    def __init__(self):
        super().__init__()
        self.failing = False
        self.canaries = 0

    def probe(self):
        self.canaries += 1
        if self.failing:
            raise BackendTimeout()


class Seconds:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def backend():
    return MoodyBackend()


@pytest.fixture
def seconds():
    return Seconds()


@pytest.fixture
def health(backend, seconds):
    return StoreHealth(backend, seconds)


def test_a_store_is_probed_at_most_every_few_seconds(health, backend, seconds):
    for _ in range(10):
        assert health.works()
    assert backend.canaries == 1

    seconds.now += FRESH_SECONDS

    assert health.works()
    assert backend.canaries == 2


def test_a_failure_is_noticed_and_so_is_its_end(health, backend, seconds):
    answers = [health.works()]
    for failing in (True, False):
        backend.failing = failing
        seconds.now += FRESH_SECONDS
        answers.append(health.works())

    assert answers == [True, False, True]


def test_a_canary_that_is_under_way_is_not_waited_for(health, backend, seconds):
    assert health.works()
    seconds.now += FRESH_SECONDS
    under_way, release = threading.Event(), threading.Event()

    def probe():
        under_way.set()
        release.wait(10)

    backend.probe = probe
    prober = threading.Thread(target=health.works)
    prober.start()
    under_way.wait(10)

    assert health.works()

    release.set()
    prober.join(10)


def test_health_is_bad_while_the_store_does_not_work(app, services, client):
    backend = MoodyBackend()
    backend.failing = True
    app.extensions["aurora_blobs"] = replace(services, store_health=StoreHealth(backend))

    answer = client.get("/xrpc/_health")

    assert answer.status_code == 503
    assert answer.json["error"] == "Service Unavailable"
