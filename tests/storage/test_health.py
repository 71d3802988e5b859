"""Health notices a failing store, and probes it seldom."""

import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from support.backends import MemoryBackend

from aurora_blobs.db import SCHEMA_VERSION
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


def test_a_doubt_is_settled_by_a_new_canary(health, backend):
    assert health.works()
    backend.failing = True

    health.doubt()

    assert not health.works()


FORKED = """
import os
from aurora_blobs.storage.health import StoreHealth

class Store:
    failing = False
    meanwhile = None
    def probe(self):
        if self.meanwhile:
            self.meanwhile()
        if self.failing:
            raise OSError("away")

now, store = 1000, Store()
health = StoreHealth(store, lambda: now)
orders, to_child = os.pipe()
from_child, answers = os.pipe()
if os.fork() == 0:
    os.close(to_child)
    while order := os.read(orders, 1):
        now = 1000 + order[0] // 2
        store.failing = order[0] % 2 == 1
        os.write(answers, b"ny"[health.works():][:1])
    os._exit(0)

def in_the_child(failing):
    os.write(to_child, bytes([2 * (now - 1000) + failing]))
    return os.read(from_child, 1) == b"y"

said = [health.works(), in_the_child(failing=True)]
now += 5
said += [in_the_child(failing=True), health.works()]
now += 5
said += [health.works(), in_the_child(failing=True)]
now += 5
store.meanwhile = lambda: in_the_child(failing=True)
said += [health.works(), in_the_child(failing=False)]
print(*said)
"""


def test_processes_share_the_result_and_a_lost_canary_outvotes_one_that_was_under_way():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKED], capture_output=True, text=True, timeout=60
    )

    assert done.stdout.split() == ["True", "True", "False", "False"] * 2, done.stderr


@pytest.mark.parametrize(
    "version, status",
    [(SCHEMA_VERSION - 1, 503), (SCHEMA_VERSION + 1, 200), (SCHEMA_VERSION + 2, 503)],
    ids=["an older one", "the next", "one after that"],
)
def test_health_is_bad_with_a_database_of_a_version_that_is_not_served(
    services, client, version, status
):
    with services.database.write() as tx:
        tx.run("UPDATE schema_version SET version = ?", version)

    found = client.get("/xrpc/_health").status_code
    with services.database.write() as tx:
        tx.run("UPDATE schema_version SET version = ?", SCHEMA_VERSION)

    assert found == status


def test_health_is_bad_while_the_store_does_not_work(app, services, client):
    backend = MoodyBackend()
    backend.failing = True
    app.extensions["aurora_blobs"] = replace(services, store_health=StoreHealth(backend))

    answer = client.get("/xrpc/_health")

    assert answer.status_code == 503
    assert answer.json["error"] == "Service Unavailable"
