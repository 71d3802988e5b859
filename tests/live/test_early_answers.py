"""Answers given before the body was read: the rest of the body breaks no other request."""

import threading
from contextlib import suppress

import pytest
from support.accounts import UPLOAD
from support.http_client import call
from support.live_service import Service
from support.nginx import shipped

pytestmark = pytest.mark.live

PNG = b"\x89PNG\r\n\x1a\n"
SIZE = 100_000  # more than gunicorn drains by itself
SESSION = "/xrpc/com.atproto.server.describeServer"
# Answered before the body was read: method and path, headers, status.
EARLY = {
    "a preflight": (f"OPTIONS {UPLOAD}", "A: b", 204),
    "a preflight of nothing": ("OPTIONS /nowhere", "A: b", 204),
    "a method that takes no body": ("POST /xrpc/com.atproto.server.activateAccount", "BEARER", 200),
    "a refusal": (f"POST {UPLOAD}", "A: b", 401),
    "no such page": ("POST /nowhere", "A: b", 404),
    "no such method": ("POST /xrpc/com.example.nothing", "A: b", 501),
    "a GET that takes no body": ("GET BLOB", "If-None-Match: *", 400),
    "a page that takes no body": ("GET /.well-known/did.json", "A: b", 404),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("early")


@pytest.fixture(scope="module")
def service(folder):
    with Service(
        folder / "service",
        AURORA_BLOBS_BIND=f"unix:{folder}/gunicorn.sock",
        AURORA_BLOBS_PROXY_HOPS="1",
        AURORA_BLOBS_DURABILITY="os",
    ) as service:
        yield service


@pytest.fixture(scope="module")
def nginx(folder, service):
    blobs = folder / "service" / "data" / "blobs"
    with shipped(folder / "nginx", folder / "gunicorn.sock", blobs) as nginx:
        yield nginx


@pytest.fixture(scope="module")
def account(service):
    return service.account()


@pytest.mark.parametrize("size", [SIZE, 20_000_000], ids=["drained", "too long to be drained"])
@pytest.mark.parametrize("chunked", [False, True], ids=["by length", "chunked"])
@pytest.mark.parametrize("line, headers, status", EARLY.values(), ids=EARLY)
def test_an_early_answer_keeps_the_connection_usable_or_closes_it(
    service, account, line, headers, status, chunked, size
):
    line = line.replace("BLOB", f"/xrpc/com.atproto.sync.getBlob?did={account.did}&cid=x")
    headers = headers.replace("BEARER", f"Authorization: {account.headers['Authorization']}")
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    head = f"{line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n{framing}\r\n\r\n".encode()
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (size, bytes(size)) if chunked else bytes(size)

    with service.connect() as connection:
        sender = threading.Thread(target=send, args=(connection, head + body))
        sender.start()
        answer = read_head(connection)
        closes = b"\r\nConnection: close\r\n" in answer
        if not closes:
            sender.join(20)
            content = int(answer.partition(b"Content-Length: ")[2].split(b"\r")[0] or b"0")
            read_exactly(connection, content)
            following = call(connection, "GET", SESSION)
    sender.join(20)

    assert answer.startswith(b"HTTP/1.1 %d" % status), answer
    assert closes == (size > SIZE)
    assert closes or following.status_code == 200


def test_early_answers_behind_nginx_break_no_other_upload(nginx, account):
    """nginx keeps connections to the service: one that the service closes fails a request."""
    over = threading.Event()
    attackers = [threading.Thread(target=attack, args=(nginx, over), daemon=True) for _ in range(3)]
    for attacker in attackers:
        attacker.start()
    honest = account.at(nginx)

    statuses = [
        honest.upload(PNG + number.to_bytes(8, "big") + bytes(2000), "image/png").status_code
        for number in range(300)
    ]

    over.set()
    for attacker in attackers:
        attacker.join(30)
    assert {status: statuses.count(status) for status in statuses} == {200: 300}


# What gunicorn refuses, and nginx lets through.
HEADS = {
    "a long line": ("/xrpc/com.atproto.server.createSession?x=" + "x" * 5000, [], 414),
    "many headers": ("/xrpc/com.atproto.server.createSession", ["A: b"] * 150, 431),
}


@pytest.mark.parametrize("target, headers, status", HEADS.values(), ids=HEADS)
def test_a_refused_head_is_answered_through_nginx_whatever_body_follows(
    nginx, target, headers, status
):
    lines = [f"POST {target} HTTP/1.1", "Host: x", "Content-Length: 900000", *headers, "", ""]
    head = "\r\n".join(lines).encode()

    for _ in range(20):
        with nginx.connect() as connection:
            send(connection, head + bytes(900_000))
            answer = read_head(connection)

        assert answer.startswith(b"HTTP/1.1 %d" % status), answer


def test_a_refused_head_is_not_quoted_at_length(service):
    with service.connect() as connection:
        connection.sendall(b"GET " + b"x" * 4000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = read_head(connection)

    length = int(answer.partition(b"Content-Length: ")[2].split(b"\r")[0])
    assert answer.startswith(b"HTTP/1.1 400 ") and length < 300


def attack(nginx, over):
    while not over.is_set():
        with suppress(OSError):
            nginx.open(UPLOAD, method="OPTIONS", data=bytes(SIZE))


def send(connection, wire):
    with suppress(OSError):  # closed before it was sent to its end
        connection.sendall(wire)


def read_head(connection):
    head = b""
    while not head.endswith(b"\r\n\r\n") and (byte := connection.recv(1)):
        head += byte
    return head


def read_exactly(connection, size):
    while size:
        size -= len(connection.recv(size))
