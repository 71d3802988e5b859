"""Connections are spread over the workers, and none waits for a worker that takes none."""

import os
import signal
import time
from contextlib import ExitStack

import pytest
from support.live_service import Service, becomes
from support.process_watch import children, open_files

pytestmark = pytest.mark.live

CONNECTIONS = 8
REQUEST = b"GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def service(tmp_path):
    with Service(tmp_path, AURORA_BLOBS_WORKERS="2") as service:
        assert becomes(lambda: len(workers(service)) == 2)
        yield service


def workers(service):
    return [pid for pid in children(service.process.pid) if sockets(pid)]


def sockets(pid):
    return {name for name in open_files(pid) if name.startswith("socket:")}


def opened(service, stack):
    """Open as many connections as there are, each kept after one answer."""
    connections = [stack.enter_context(service.connect()) for _ in range(CONNECTIONS)]
    for connection in connections:
        connection.sendall(REQUEST)
    for connection in connections:
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


def shares(service):
    """How many of them each worker gets, in order."""
    before = {pid: sockets(pid) for pid in workers(service)}
    with ExitStack() as stack:
        opened(service, stack)
        new = {pid: sockets(pid) - before[pid] for pid in before}
    assert becomes(lambda: not any(new[pid] & sockets(pid) for pid in new))
    return sorted(map(len, new.values()))


def test_each_worker_gets_its_share_of_the_connections(service):
    assert becomes(lambda: min(shares(service)) > 0)  # each has answered once

    seen = [shares(service) for _ in range(5)]

    assert all(least >= CONNECTIONS // 2 - 1 for least, _ in seen), seen


def test_no_connection_waits_for_a_worker_that_hangs(service):
    hung, _ = workers(service)
    os.kill(hung, signal.SIGSTOP)

    began = time.monotonic()
    with ExitStack() as stack:
        opened(service, stack)
    took = time.monotonic() - began

    os.kill(hung, signal.SIGCONT)
    assert took < 2
