"""A slow client needs a place; without one it is refused or cut."""

import socket
import threading
import time

import pytest
from support.slow_clients import trickling

from aurora_blobs.errors import ServiceBusy
from aurora_blobs.server import client_timeouts
from aurora_blobs.server.bodies import DirectBody, drain
from aurora_blobs.server.client_timeouts import IDLE_SECONDS


class Places:
    """A guard with *count* places and little patience."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.entered: list[tuple[str, bool]] = []

    def patience(self, *, download: bool) -> float:
        return 0.02

    def enter(self, environ: dict[str, str], *, download: bool) -> str:
        if not self.count:
            raise ServiceBusy("no place")
        self.count -= 1
        self.entered.append((environ["name"], download))
        return "place"

    def leave(self, place: str) -> None:
        assert place == "place"
        self.count += 1


@pytest.fixture
def watched(pair):
    """``watched(places)`` is a connection with a request of alice, and its client's side."""

    def watched(places):
        connection, client = pair
        connection.begin_request()
        connection.watch(places, {"name": "alice"})
        return connection, client

    return watched


def test_a_slow_sender_takes_one_place_until_its_request_is_over(watched):
    places = Places(3)
    connection, client = watched(places)

    with trickling(client):
        for _ in range(10):
            connection.recv(1)
        assert places.entered == [("alice", False)]
        assert places.count == 2
    connection.end_request()

    assert places.count == 3


def test_a_quick_client_needs_no_place(watched):
    places = Places(0)
    connection, client = watched(places)
    client.sendall(bytes(100_000))

    assert len(DirectBody(connection, b"", 100_000).readall()) == 100_000
    connection.sendall(bytes(1000))
    assert places.entered == []


def test_a_slow_sender_without_a_place_is_refused_and_not_waited_for_again(watched):
    connection, client = watched(Places(0))
    client.sendall(b"half")
    body = DirectBody(connection, b"", 8)

    assert body.read(8) == b"half"
    with pytest.raises(ServiceBusy):
        body.read(8)
    client.sendall(b"ly")
    assert body.read(8) == b"ly"  # what is here can be drained
    assert not drain({"wsgi.input": body, "gunicorn.socket": connection})
    connection.end_request()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        connection.recv(1)
    assert time.monotonic() - began < IDLE_SECONDS / 10


def test_a_slow_receiver_without_a_place_is_cut(watched):
    connection, _ = watched(Places(0))

    with pytest.raises(TimeoutError, match="no place"):
        connection.sendall(bytes(2**22))


def test_a_slow_receiver_with_a_place_gets_all(watched):
    places = Places(1)
    connection, client = watched(places)
    taken = []

    def take():
        time.sleep(0.2)
        while data := client.recv(2**20):
            taken.append(data)

    reader = threading.Thread(target=take)
    reader.start()
    connection.sendall(bytes(2**22))
    connection.end_request()
    connection.shutdown(socket.SHUT_WR)
    reader.join()

    assert sum(map(len, taken)) == 2**22
    assert places.entered == [("alice", True)]
    assert places.count == 1


def test_a_receiver_that_takes_too_little_is_cut(pair, monkeypatch):
    monkeypatch.setattr(client_timeouts, "IDLE_SECONDS", 1)
    monkeypatch.setattr(client_timeouts, "MIN_BYTES_PER_SECOND", 10**9)
    connection, client = pair
    connection.begin_request()
    over = threading.Event()

    def trickle():
        while not over.wait(0.02):
            client.recv(50_000)

    reader = threading.Thread(target=trickle)
    reader.start()
    try:
        with pytest.raises(TimeoutError, match="too slowly"):
            connection.sendall(bytes(2**24))
    finally:
        over.set()
        reader.join()
