"""Clients that stall or trickle time out; unread bodies are drained within bounds."""

import io
import socket
import threading
import time

import pytest
from support.slow_clients import trickling

from aurora_blobs.server import bodies, client_timeouts
from aurora_blobs.server.bodies import DirectBody, drain


class Unending:
    """A body without an end, which counts the bytes read."""

    def __init__(self) -> None:
        self.taken = 0

    def read(self, size: int) -> bytes:
        self.taken += size
        return b"x" * size


class FromSocket:
    """A body as gunicorn reads it, which waits until there is enough."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self._connection.recv(size - len(data))):
            data += more
        return data


def test_a_read_times_out_on_a_stalled_client(pair, monkeypatch):
    monkeypatch.setattr(client_timeouts, "IDLE_SECONDS", 0.1)
    connection, _ = pair
    connection.begin_request()

    with pytest.raises(TimeoutError):
        connection.recv(1)


@pytest.mark.parametrize("size", [0, 100_000], ids=["from the start", "after a good start"])
def test_a_read_times_out_on_a_trickling_client(pair, monkeypatch, size):
    monkeypatch.setattr(client_timeouts, "IDLE_SECONDS", 0.1)
    connection, client = pair
    connection.begin_request()
    client.send(bytes(size))

    with trickling(client), pytest.raises(TimeoutError, match="too slowly"):
        FromSocket(connection).read(size + 100)


def test_a_write_waits_while_a_slow_client_reads_something(pair, monkeypatch):
    monkeypatch.setattr(client_timeouts, "IDLE_SECONDS", 0.5)
    connection, client = pair
    connection.begin_request()
    data = bytes(range(256)) * 4096
    taken = []
    reader = threading.Thread(
        target=lambda: [(taken.append(client.recv(32_768)), time.sleep(0.05)) for _ in range(32)]
    )

    reader.start()
    connection.sendall(data)
    reader.join()

    assert b"".join(taken) == data


def test_a_write_times_out_when_the_client_reads_nothing(pair, monkeypatch):
    monkeypatch.setattr(client_timeouts, "IDLE_SECONDS", 0.1)
    connection, _ = pair
    connection.begin_request()

    with pytest.raises(TimeoutError):
        connection.sendall(bytes(2**20))


def test_time_spent_in_the_service_does_not_count_against_the_client(pair, monkeypatch):
    monkeypatch.setattr(client_timeouts, "IDLE_SECONDS", 0.05)
    connection, client = pair
    connection.begin_request()

    time.sleep(0.2)
    client.send(b"x")

    assert connection.recv(1) == b"x"


def test_a_new_request_is_measured_anew(pair, monkeypatch):
    monkeypatch.setattr(client_timeouts, "IDLE_SECONDS", 0.05)
    connection, client = pair
    connection.begin_request()
    connection.set_deadline(0)

    connection.begin_request()
    client.send(b"x")

    assert connection.recv(1) == b"x"


def test_a_sent_body_is_drained_to_its_end():
    assert drain({"wsgi.input": io.BytesIO(b"x" * 1_000_000)})


def test_no_more_than_the_bound_is_drained(monkeypatch):
    body = Unending()

    assert not drain({"wsgi.input": body})
    assert body.taken == bodies.DRAIN_BYTES


def test_draining_ends_in_time_when_the_client_stalls(pair, monkeypatch):
    monkeypatch.setattr(bodies, "DRAIN_SECONDS", 0.1)
    connection, client = pair
    connection.begin_request()
    client.send(b"half a body")

    began = time.monotonic()
    drained = drain({"wsgi.input": FromSocket(connection), "gunicorn.socket": connection})

    assert not drained
    assert time.monotonic() - began < 5


def test_draining_ends_in_time_when_the_client_trickles(pair, monkeypatch):
    monkeypatch.setattr(bodies, "DRAIN_SECONDS", 0.1)
    connection, client = pair
    connection.begin_request()

    began = time.monotonic()
    with trickling(client):
        drained = drain({"wsgi.input": FromSocket(connection), "gunicorn.socket": connection})

    assert not drained
    assert time.monotonic() - began < 5


def test_a_body_begins_with_the_bytes_read_with_the_head(pair):
    connection, client = pair
    client.sendall(b" and the rest")
    body = DirectBody(connection, b"the start", 22)

    pieces = [body.read(6), body.read(100), body.read(100), body.read(100)]

    assert pieces == [b"the st", b"art", b" and the rest", b""]


def test_a_body_ends_where_its_length_says_so(pair):
    connection, client = pair
    client.sendall(b"bodyPOST /next")

    body = DirectBody(connection, b"", 4).read()

    assert body == b"body"
    assert connection.recv(100) == b"POST /next"


def test_a_body_ends_early_when_its_client_goes_away(pair):
    connection, client = pair
    client.sendall(b"half")
    client.shutdown(socket.SHUT_WR)

    assert DirectBody(connection, b"", 8).read() == b"half"


def test_a_body_has_lines(pair):
    connection, client = pair
    client.sendall(b"one\ntwo\nthree")

    assert list(DirectBody(connection, b"", 13)) == [b"one\n", b"two\n", b"three"]


def test_a_body_whose_client_stalls_has_failed(pair, monkeypatch):
    monkeypatch.setattr(client_timeouts, "IDLE_SECONDS", 0.1)
    connection, _ = pair
    connection.begin_request()
    body = DirectBody(connection, b"", 8)

    with pytest.raises(TimeoutError):
        body.read(8)

    assert body.failed
