"""Crowds of slow clients are bounded, and the others are served."""

import os
import select
import signal
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.accounts import UPLOAD
from support.live_service import Service, becomes

from aurora_blobs.server.client_timeouts import IDLE_SECONDS

pytestmark = pytest.mark.live

PNG = b"\x89PNG\r\n\x1a\n"
LISTENS, NOBODY_S = "0A", "0"  # a state and an inode in /proc/net/tcp
LIMITS = {
    "AURORA_BLOBS_UPLOADS_AT_ONCE_PER_ACCOUNT": "4",
    "AURORA_BLOBS_UPLOADS_AT_ONCE_PER_ADDRESS": "6",
    "AURORA_BLOBS_WORKERS": "3",
    "AURORA_BLOBS_THREADS": "16",
    "AURORA_BLOBS_PROXY_HOPS": "1",
}


@pytest.fixture
def service(tmp_path):
    with Service(tmp_path, **LIMITS) as service:
        yield service


def half_an_upload(account, address):
    head = f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\n"
    head += f"Authorization: {account.headers['Authorization']}\r\nContent-Type: image/png\r\n"
    return f"{head}Content-Length: 100000\r\n\r\n".encode() + PNG + bytes(5000)


@contextmanager
def crowd(service, requests):
    """Connections on which *requests* were sent, and which then wait for their answers."""
    with ExitStack() as stack:
        connections = [stack.enter_context(service.connect()) for _ in requests]
        for connection, request in zip(connections, requests, strict=True):
            connection.sendall(request)
        yield connections


def statuses(connections):
    """What is answered within some seconds, None for those that are still waited for."""
    waiting = select.poll()
    for connection in connections:
        waiting.register(connection, select.POLLIN)
    until = time.monotonic() + IDLE_SECONDS / 5
    found = {connection.fileno(): None for connection in connections}
    while (seconds := until - time.monotonic()) > 0 and None in found.values():
        for number, _ in waiting.poll(1000 * seconds):
            found[number] = int(os.read(number, 100).split()[1])
            waiting.unregister(number)
    return list(found.values())


def test_an_account_has_so_many_bytes_under_way_in_all_processes(tmp_path):
    limits = {"AURORA_BLOBS_SPOOL_SIZE_PER_ACCOUNT": "1MB", "AURORA_BLOBS_WORKERS": "3"}
    with Service(tmp_path, **limits) as service:
        alice, bob = service.account("alice.test"), service.account("bob.test")
        head, _, _ = half_an_upload(alice, "192.0.2.1").partition(b"Content-Length")
        start = head + b"Transfer-Encoding: chunked\r\n\r\nf0000\r\n" + PNG + bytes(600_000)
        large = PNG + bytes(400_000)
        spool = tmp_path / "data" / "spool"

        with crowd(service, [start]):
            assert becomes(lambda: list(spool.iterdir()))  # it has its bytes before a file
            for _ in range(10):
                refused = alice.upload(large, "image/png")
                assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
                assert "1000000 bytes of one account" in refused.json["message"]
                assert bob.upload(large, "image/png").status_code == 200

        assert becomes(lambda: alice.upload(large, "image/png").status_code == 200)
        assert becomes(lambda: list(spool.iterdir()) == [])


def counted(found):
    return {status: found.count(status) for status in set(found)}


def test_an_account_may_be_slow_so_many_times_in_all_processes(service):
    alice, bob = service.account("alice.test"), service.account("bob.test")
    requests = [half_an_upload(alice, f"192.0.2.{number}") for number in range(20)]

    with crowd(service, requests) as connections:
        assert becomes(lambda: alice.upload(PNG + b"quick", "image/png").status_code == 200)
        with crowd(service, [half_an_upload(bob, "192.0.2.99")]) as others:
            assert statuses(others) == [None]
        found = counted(statuses(connections))

    # Two that come at the same time may both be refused.
    assert found.keys() == {None, 429} and 1 <= found[None] <= 4


def test_an_address_may_be_slow_so_many_times_whatever_its_accounts(service):
    accounts = [service.account(f"account{number}.test") for number in range(5)]
    requests = [half_an_upload(account, "192.0.2.1") for account in accounts * 4]

    with crowd(service, requests) as connections:
        found = counted(statuses(connections))
        refusal = refused(service, half_an_upload(accounts[0], "192.0.2.1"))

    assert found.keys() == {None, 429} and 1 <= found[None] <= 6
    assert b"No more than 6 requests of one address" in refusal
    assert b"\r\nRetry-After: 5\r\n" in refusal and b"\r\nConnection: close\r\n" in refusal


def refused(service, request):
    with crowd(service, [request]) as (connection,):
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_a_crowd_of_many_addresses_leaves_threads_for_quick_clients(service):
    account = service.account()
    stranger = "POST /xrpc/com.atproto.server.createSession HTTP/1.1\r\nHost: x\r\n"
    stranger += "Content-Type: application/json\r\nContent-Length: 100\r\n"
    requests = [
        f"{stranger}X-Forwarded-For: 192.0.2.{number}\r\n\r\n{{".encode() for number in range(150)
    ]

    with crowd(service, requests) as connections:
        answers = [account.upload(PNG + bytes([number]), "image/png") for number in range(20)]
        found = counted(statuses(connections))

    assert {answer.status_code for answer in answers} == {200}
    assert found.keys() == {None, 503} and 1 <= found[None] <= 3 * 12


def test_places_are_given_back(service):
    account = service.account()
    requests = [half_an_upload(account, "192.0.2.1")] * 10
    for _ in range(3):
        with crowd(service, requests) as connections:
            found = counted(statuses(connections))
        assert found.keys() == {None, 429}
        assert becomes(lambda: all_closed(service))


def all_closed(service):
    """Whether no worker has a client's connection left."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return not [
        row
        for row in rows
        if row[1].endswith(f":{service.port:04X}") and row[3] != LISTENS and row[9] != NOBODY_S
    ]


def test_a_dead_worker_s_places_are_free(service):
    account = service.account()
    with crowd(service, [half_an_upload(account, "192.0.2.1")] * 10) as connections:
        assert None in statuses(connections)
        workers = service.workers()
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
    assert becomes(lambda: len(set(service.workers()) - set(workers)) == 3)
    assert becomes(service.is_answering)

    with crowd(service, [half_an_upload(account, "192.0.2.1")] * 3) as connections:
        assert statuses(connections) == [None] * 3
