"""The judge of the hostile tests sees what it is there for."""

import os
import random
import socket
import time
from types import SimpleNamespace

import pytest
from support import process_watch
from support.hostile import judge
from support.hostile.grammar import Grammar
from support.hostile.request import Request
from support.routes import Route
from support.wire import NotHttp, Silence, Wire

ROUTE = Route("/xrpc/com.atproto.sync.getBlob", "GET", ("did", "cid"))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def replies(wire_bytes, methods=("GET",)):
    """What a client makes of *wire_bytes*, the answers to requests of *methods*."""
    ours, theirs = socket.socketpair()
    with theirs, Wire(ours, seconds=5) as wire:
        theirs.sendall(wire_bytes)
        theirs.shutdown(socket.SHUT_WR)
        return [wire.reply(method) for method in methods]


def complaints(wire_bytes, **options):
    request = Request(ROUTE, b"GET", ROUTE.rule.encode(), [])
    return judge.complaints(request, replies(wire_bytes)[0], is_proxied=False, **options)


def error(status, body=b'{"error": "A", "message": "b"}', *headers):
    lines = [b"HTTP/1.1 %d X" % status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def test_answers_are_read_one_by_one():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"

    found = replies(OK + chunked + head + interim + OK, ("GET", "GET", "HEAD", "GET", "GET"))

    assert [reply and (reply.status, reply.body, reply.interim) for reply in found] == [
        (200, b"hi", ()),
        (200, b"hi", ()),
        (200, b"", ()),
        (200, b"hi", (100,)),
        None,
    ]


@pytest.mark.parametrize(
    "wire_bytes",
    [
        b"hello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nX-\x80: 1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nno end",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_not_taken_for_one(wire_bytes):
    with pytest.raises(NotHttp):
        replies(wire_bytes)


def test_a_server_that_says_nothing_is_not_waited_for():
    ours, theirs = socket.socketpair()
    with theirs, Wire(ours, seconds=0.1) as wire, pytest.raises(Silence):
        wire.reply()


def test_an_answer_is_read_while_the_request_is_sent():
    ours, theirs = socket.socketpair()
    with theirs, Wire(ours, seconds=20) as wire:
        wire.send(bytes(5_000_000))
        theirs.sendall(OK)
        assert wire.reply().body == b"hi"


@pytest.mark.parametrize(
    "wire_bytes",
    [
        error(500),
        error(502),
        error(501),
        error(503),
        error(400, b"<html>"),
        error(400, b'{"error": 5}'),
        error(400, b'{"error": "A", "message": "' + b"x" * 2000 + b'"}'),
        error(416, b'{"error": "A", "message": "b"}', b"Cache-Control: public, max-age=300"),
        error(400, b'{"error": "A", "message": "b"}', b"X-Injected: 1"),
        error(400, b'{"error": "A", "message": "b"}', b"ETag: a", b"ETag: b"),
        error(400, b'{"error": "A", "message": "b"}', b"Vary: " + b"x" * 20_000),
    ],
    ids=lambda wire_bytes: wire_bytes[9:12].decode(),
)
def test_an_answer_that_should_not_be_is_complained_of(wire_bytes):
    assert complaints(wire_bytes)


@pytest.mark.parametrize(
    "wire_bytes", [OK, error(400), error(503, b'{"error": "A", "message": "b"}', b"Retry-After: 5")]
)
def test_an_answer_that_may_be_is_not_complained_of(wire_bytes):
    assert complaints(wire_bytes) == []


def test_the_cpu_time_and_the_files_of_a_process_are_seen():
    pid = os.getpid()
    before, began = process_watch.cpu_seconds(pid), time.process_time()
    while time.process_time() < began + 0.1:
        pass

    assert process_watch.cpu_seconds(pid) - before >= 0.1
    with socket.socket() as one:
        assert f"socket:[{os.fstat(one.fileno()).st_ino}]" in process_watch.open_files(pid)


def test_a_peak_of_memory_is_seen_and_forgotten():
    pid = os.getpid()
    start = process_watch.forget_peak(pid)
    held = bytearray(b"x") * 50_000_000
    del held

    assert process_watch.peak_bytes(pid) - start > 40_000_000
    assert process_watch.forget_peak(pid) - start < 40_000_000


def test_an_attack_is_repeated_by_its_seed_and_number(routes):
    stage = SimpleNamespace(
        mallory=SimpleNamespace(did="did:web:mallory.test", token="x" * 300),
        alice=SimpleNamespace(did="did:web:alice.test"),
        **{name: name * 9 for name in ("refresh", "published", "temporary", "loot", "handle")},
        admin=("admin", "x"),
    )

    made = [
        [Grammar(routes, stage).attack(random.Random(f"1/{n}")).name for n in numbers]
        for numbers in (range(200), [*range(100, 200), *range(100)])
    ]

    assert made[0] == made[1][100:] + made[1][:100]
    assert len({name.partition(" ")[0] for name in made[0]}) > len(routes) / 2
