"""Uploads on a real socket, whole, cut, broken and too large, in pieces as a network makes them."""

import gzip
import json
import random
import socket
import zlib
from hashlib import sha256

import brotli
import pytest
from service import UPLOAD, Service

from aurora_blobs.cid import cid_of_digest

pytestmark = pytest.mark.live

LIMIT = 400_000
ENCODE = {"gzip": gzip.compress, "deflate": zlib.compress, "br": lambda data: brotli.compress(data, quality=1)}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = Service(
        tmp_path_factory.mktemp("sockets"),
        AURORA_BLOBS_MAX_BLOB_SIZE=str(LIMIT),
        AURORA_BLOBS_DURABILITY="os",
        AURORA_BLOBS_WORKERS="2",
    )
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def token(service):
    return service.account().token


class Request:
    """One upload as the bytes that go over the wire, and what must come of it."""

    def __init__(self, chance, token):
        self.chance = chance
        size = chance.choice([3, 100, 8191, 8192, 8193, 262_144, 262_145, LIMIT - 1, LIMIT, chance.randrange(3, LIMIT)])
        self.blob = b"\xff\xd8\xff" + chance.randbytes(size - 3)
        self.cid = cid_of_digest(sha256(self.blob).digest())
        self.headers = {"Host": "x", "Authorization": f"Bearer {token}", "Content-Type": "image/jpeg"}
        self.expected = {200}
        self.fault = chance.choice(["none"] * 4 + ["cut", "too large", "not a picture", "wrong encoding", "bad chunk"])
        body = self.body()
        self.wire = self.framed(body)

    def body(self):
        body = self.blob
        if self.fault == "too large":
            body, self.expected = body.ljust(LIMIT + self.chance.choice([1, 100_000]), b"x"), {413}
        if self.fault == "not a picture":
            body, self.expected = b"<html>" + body, {400, 413}
        if self.chance.random() < 0.4:
            coding = self.chance.choice(list(ENCODE))
            self.headers["Content-Encoding"] = coding
            body = ENCODE[coding](body)
            if self.fault == "wrong encoding":
                body, self.expected = self.chance.choice([self.blob, body[:-3], body + b"more"]), {400}
        return body

    def framed(self, body):
        chunked = self.fault == "bad chunk" or self.chance.random() < 0.5
        if chunked:
            self.headers["Transfer-Encoding"] = "chunked"
            body = b"".join(self.chunks(body)) + b"0\r\n\r\n"
        else:
            self.headers["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        wire = f"POST {UPLOAD} HTTP/1.1\r\n{head}\r\n".encode()
        if self.fault == "cut":
            self.expected = {400, None}
            body = body[: self.chance.randrange(len(body))]
        return wire + body

    def chunks(self, body):
        if self.fault == "bad chunk":
            self.expected = {400, 413, None}
            yield self.chance.choice([b"zz\r\n", b"-5\r\nhello\r\n", b"5\r\nhelloXX", b"\r\n"])
        while body:
            size = self.chance.choice([1, 17, 1000, 8192, 65_536, 300_000])
            piece, body = body[:size], body[size:]
            yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"

    def send(self, connection):
        """The answer's status, None where there is none, and its JSON."""
        wire = self.wire
        try:
            while wire:
                size = self.chance.choice([1, 100, 1400, 65_536, 10**9])
                connection.sendall(wire[:size])
                wire = wire[size:]
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # an early answer, and the rest was not wanted
        return self.answer(connection)

    def answer(self, connection):
        received = b""
        try:
            while piece := connection.recv(65_536):
                received += piece
        except ConnectionResetError:
            pass
        head, _, body = received.partition(b"\r\n\r\n")
        return (int(head.split()[1]), body) if head else (None, b"")


def test_whatever_comes_over_the_wire_is_stored_whole_or_not_at_all(service, token):
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    accepted = set()

    for number in range(300):
        request = Request(chance, token)
        with service.connect() as connection:
            status, body = request.send(connection)
        what = (number, request.fault, request.headers, status, body[:300])
        assert status in request.expected, what
        if status == 200:
            assert json.loads(body)["blob"]["ref"]["$link"] == request.cid, what
            assert json.loads(body)["blob"]["size"] == len(request.blob), what
            accepted.add(request.cid)

    data = service.folder / "data"
    stored = {path.name: cid_of_digest(sha256(path.read_bytes()).digest()) for path in data.glob("blobs/*/*")}
    assert stored == {cid: cid for cid in accepted}
    assert len(accepted) > 50
    assert list((data / "spool").iterdir()) == []
    assert "Traceback" not in service.log


def test_requests_that_are_sent_without_waiting_are_answered_in_turn(service, token):
    blobs = [b"\xff\xd8\xff" + bytes([number]) * size for number, size in enumerate((20_000, 3, 300_000, 5))]
    head = f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: image/jpeg\r\n"
    wire = b"".join(f"{head}Content-Length: {len(blob)}\r\n\r\n".encode() + blob for blob in blobs)
    cids = [cid_of_digest(sha256(blob).digest()) for blob in blobs]

    with service.connect() as connection:
        connection.sendall(wire)
        connection.shutdown(socket.SHUT_WR)
        answers = b"".join(iter(lambda: connection.recv(65536), b""))

    assert [answers.find(cid.encode()) for cid in cids] == sorted(answers.find(cid.encode()) for cid in cids)
    assert answers.count(b"HTTP/1.1 200 OK") == len(blobs)


@pytest.mark.parametrize(
    "line, status",
    [
        ("POST /xrpc/x HTTP/1.1\r\nHost: x\r\nContent-Length: abc", b"400"),
        ("GET /" + "x" * 5000 + " HTTP/1.1\r\nHost: x", b"414"),
        ("POST /xrpc/x HTTP/1.1\r\nHost: x\r\nExpect: a miracle", b"417"),
    ],
    ids=["a length that is no number", "a long line", "an expectation"],
)
def test_what_the_server_itself_refuses_is_in_the_envelope_too(service, line, status):
    connection = service.connect()
    connection.sendall(f"{line}\r\n\r\n".encode())
    with connection, connection.makefile("rb") as answer:
        head, _, body = answer.read().partition(b"\r\n\r\n")

    assert head.split()[1] == status
    assert b"\r\nContent-Type: application/json; charset=utf-8" in head
    assert b"\r\nAccess-Control-Allow-Origin: *" in head
    assert json.loads(body)["error"] == "InvalidRequest"
