"""Answers given before the body was read: the rest of the body breaks no other request."""

import select
import subprocess
import threading
import time
from contextlib import suppress

import pytest
from support.accounts import UPLOAD
from support.http_client import call
from support.nginx import in_front, service_behind

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
    with service_behind(
        folder,
        AURORA_BLOBS_DURABILITY="os",
    ) as service:
        yield service


@pytest.fixture(scope="module")
def nginx(folder, service):
    with in_front(service, folder / "nginx", ("#pds ", "")) as nginx:
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
            read_exactly(connection, length_of(answer))
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


# The first goes through a file of nginx's, the second as it comes.
@pytest.mark.parametrize("path", ["/xrpc/com.atproto.server.createSession", "/pds-blobs/x"])
@pytest.mark.parametrize("target, headers, status", HEADS.values(), ids=HEADS)
def test_behind_a_refused_head_nginx_keeps_the_connection(nginx, path, target, headers, status):
    target = target.replace("/xrpc/com.atproto.server.createSession", path)
    lines = [f"PUT {target} HTTP/1.1", "Host: x", "Content-Length: 900000", *headers, "", ""]

    for _ in range(20):
        with nginx.connect() as connection:
            send(connection, "\r\n".join(lines).encode() + bytes(900_000))
            answer = read_head(connection)
            read_exactly(connection, length_of(answer))
            following = call(connection, "GET", SESSION)

        assert answer.startswith(b"HTTP/1.1 %d" % status), answer
        assert following.status_code == 200


@pytest.mark.parametrize("size", [10, 900_000])
def test_a_refused_head_is_answered_when_its_body_has_come(service, size):
    lines = ["PUT /" + "x" * 5000 + " HTTP/1.1", "Host: x", f"Content-Length: {size}", "", ""]
    with service.connect() as connection:
        connection.sendall("\r\n".join(lines).encode() + bytes(size - 1))
        early = select.select([connection], [], [], 0.3)[0]
        connection.sendall(b"x")
        answer = read_head(connection)

    assert early == []
    assert answer.startswith(b"HTTP/1.1 414 "), answer


@pytest.mark.parametrize("framing", ["Content-Length: 9", "Transfer-Encoding: chunked", "A: b"])
def test_a_refused_head_is_answered_soon_whatever_does_not_come(service, framing):
    lines = ["PUT /" + "x" * 5000 + " HTTP/1.1", "Host: x", framing, "", ""]
    began = time.monotonic()
    with service.connect() as connection:
        connection.sendall("\r\n".join(lines).encode())
        answer = read_head(connection)

    assert answer.startswith(b"HTTP/1.1 414 "), answer
    assert time.monotonic() - began < 5


def test_a_refused_head_is_not_quoted_at_length(service):
    with service.connect() as connection:
        connection.sendall(b"GET " + b"x" * 4000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = read_head(connection)

    assert answer.startswith(b"HTTP/1.1 400 ") and 0 < length_of(answer) < 300


# A sender that waits to be asked for its body: headers, status.
UNASKED = {
    "no token": (["Content-Length: 100"], 401),
    "no token, chunked": (["Transfer-Encoding: chunked"], 401),
    "a bad token": (["Content-Length: 100", "Authorization: Bearer bad"], 400),
    "over the limit": (["Content-Length: 200000000", "BEARER"], 413),
}
WAITS = "Expect: 100-continue"


def uploading(account, *headers):
    lines = [f"POST {UPLOAD} HTTP/1.1", "Host: x", "Content-Type: image/png", WAITS, *headers]
    bearer = f"Authorization: {account.headers['Authorization']}"
    return "\r\n".join([*lines, "", ""]).replace("BEARER", bearer).encode()


@pytest.mark.parametrize("headers, status", UNASKED.values(), ids=UNASKED)
def test_a_body_that_is_refused_by_its_head_is_not_asked_for(service, account, headers, status):
    with service.connect() as connection:
        connection.sendall(uploading(account, *headers))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 %d" % status), answer
    assert b"100 Continue" not in answer
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize("headers, status", UNASKED.values(), ids=UNASKED)
def test_a_sender_that_does_not_wait_to_be_asked_has_its_refusal(service, account, headers, status):
    with service.connect() as connection:
        send(connection, uploading(account, *headers) + bytes(1_000_000))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 %d" % status), answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("chunked", [False, True], ids=["by length", "chunked"])
def test_a_body_that_is_accepted_is_asked_for_once_and_the_connection_stays(
    service, account, chunked
):
    blob = PNG.ljust(100, b"=")
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(blob)}"
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(blob), blob) if chunked else blob

    with service.connect() as connection:
        connection.sendall(uploading(account, framing, "BEARER"))
        asked = read_head(connection)
        connection.sendall(body)
        answer = read_head(connection)
        read_exactly(connection, length_of(answer))
        following = call(connection, "GET", SESSION)

    assert asked == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert following.status_code == 200


def test_no_body_is_asked_for_where_none_is_announced(service, account):
    with service.connect() as connection:
        connection.sendall(f"GET {SESSION} HTTP/1.1\r\nHost: x\r\n{WAITS}\r\n\r\n".encode())
        answer = read_head(connection)

    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "token, size, expected",
    [("Bearer bad", 3_000_000, "400 0"), ("OURS", 3_000_000, "200 3000000")],
    ids=["refused", "accepted"],
)
def test_curl_sends_a_body_that_is_accepted_and_no_other(
    service, account, tmp_path, token, size, expected
):
    (tmp_path / "body").write_bytes(PNG.ljust(size, b"="))
    bearer = token.replace("OURS", account.headers["Authorization"])

    done = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{size_upload}", "--unix-socket"]
        + [service.socket, "-H", WAITS, "-H", f"Authorization: {bearer}", "-H"]
        + ["Content-Type: image/png", "--data-binary", f"@{tmp_path}/body", f"http://x{UPLOAD}"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout == expected


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


def length_of(answer):
    return int(answer.partition(b"Content-Length: ")[2].split(b"\r")[0] or b"0")


def read_exactly(connection, size):
    while size:
        size -= len(connection.recv(size))
