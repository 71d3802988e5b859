"""Uploads on a real socket: whole, cut off, malformed and too large, in random pieces."""

import gzip
import json
import random
import socket
import zlib
from contextlib import suppress

import brotli
import pytest
from support.accounts import UPLOAD
from support.cids import cid_of
from support.live_service import Service

from aurora_blobs.server.client_timeouts import IDLE_SECONDS

pytestmark = pytest.mark.live

LIMIT = 400_000
ENCODE = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=1),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with Service(
        tmp_path_factory.mktemp("sockets"),
        AURORA_BLOBS_MAX_BLOB_SIZE=str(LIMIT),
        AURORA_BLOBS_DURABILITY="os",
        AURORA_BLOBS_WORKERS="2",
    ) as service:
        yield service


@pytest.fixture(scope="module")
def token(service):
    return service.account().token


class Request:
    """A random upload, and the statuses that may answer it."""

    def __init__(self, chance, token):
        self.chance = chance
        size = chance.choice(
            [
                3,
                100,
                8191,
                8192,
                8193,
                262_144,
                262_145,
                LIMIT - 1,
                LIMIT,
                chance.randrange(3, LIMIT),
            ]
        )
        self.blob = b"\xff\xd8\xff" + chance.randbytes(size - 3)
        self.cid = cid_of(self.blob)
        self.headers = {
            "Host": "x",
            "Authorization": f"Bearer {token}",
            "Content-Type": "image/jpeg",
        }
        self.expected = {200}
        self.fault = chance.choice(
            ["none"] * 4 + ["cut", "too large", "not a picture", "wrong encoding", "bad chunk"]
        )
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
                body, self.expected = (
                    self.chance.choice([self.blob, body[:-3], body + b"more"]),
                    {400},
                )
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
        """Send it; the status, None without an answer, and the body."""
        wire = self.wire
        try:
            while wire:
                size = self.chance.choice([1, 100, 1400, 65_536, 10**9])
                connection.sendall(wire[:size])
                wire = wire[size:]
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # an early answer; the rest is not read
        return answer(connection)


def answer(connection):
    """Read to the end; the status, None if nothing came, and the body."""
    received = b""
    try:
        while piece := connection.recv(65_536):
            received += piece
    except ConnectionResetError:
        pass
    head, _, body = received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    return (int(head.split()[1]), body) if head else (None, b"")


def test_an_upload_is_stored_whole_or_not_at_all(service, token):
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
    stored = {path.name: cid_of(path.read_bytes()) for path in data.glob("blobs/*/*")}
    assert stored == {cid: cid for cid in accepted}
    assert len(accepted) > 50
    assert list((data / "spool").iterdir()) == []
    assert "Traceback" not in service.log


def test_pipelined_requests_are_answered_in_order(service, token):
    blobs = [
        b"\xff\xd8\xff" + bytes([number]) * size
        for number, size in enumerate((20_000, 3, 300_000, 5))
    ]
    head = (
        f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: image/jpeg\r\n"
    )
    wire = b"".join(f"{head}Content-Length: {len(blob)}\r\n\r\n".encode() + blob for blob in blobs)
    cids = [cid_of(blob) for blob in blobs]

    with service.connect() as connection:
        connection.sendall(wire)
        connection.shutdown(socket.SHUT_WR)
        answers = b"".join(iter(lambda: connection.recv(65536), b""))

    assert [answers.find(cid.encode()) for cid in cids] == sorted(
        answers.find(cid.encode()) for cid in cids
    )
    assert answers.count(b"HTTP/1.1 200 OK") == len(blobs)


def chunks(*pieces, end=b"0\r\n\r\n"):
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end


FULL = b"\xff\xd8\xff".ljust(LIMIT, b"=")
PART = b"\xff\xd8\xff".ljust(100, b"-")
LENGTH, CHUNKED, GZIP = (
    b"Content-Length: 100",
    b"Transfer-Encoding: chunked",
    b"Content-Encoding: gzip",
)
UNDERSTOOD = {
    "exactly the limit": (b"Content-Length: %d" % LIMIT, FULL, FULL),
    "exactly the limit, chunked": (CHUNKED, chunks(FULL), FULL),
    "exactly the limit, packed": (CHUNKED + b"\r\n" + GZIP, chunks(gzip.compress(FULL)), FULL),
    "a byte a chunk": (CHUNKED, chunks(*(bytes([byte]) for byte in PART)), PART),
    "extensions": (CHUNKED, b'64;a=1;b="c d"\r\n' + PART + b"\r\n0;last\r\n\r\n", PART),
    "trailers": (CHUNKED, chunks(PART, end=b"0\r\nX-Sum: 1\r\nServer-Timing: a\r\n\r\n"), PART),
    "gzip twice": (
        CHUNKED + b"\r\n" + GZIP + b", gzip",
        chunks(gzip.compress(gzip.compress(PART))),
        PART,
    ),
    "two headers": (
        CHUNKED + b"\r\n" + GZIP + b"\r\nContent-Encoding: deflate",
        chunks(zlib.compress(gzip.compress(PART))),
        PART,
    ),
    "identity": (LENGTH + b"\r\nContent-Encoding: identity, identity", PART, PART),
    "two members": (
        CHUNKED + b"\r\n" + GZIP,
        chunks(gzip.compress(PART), gzip.compress(b"more")),
        PART + b"more",
    ),
    "a member and zeros": (
        CHUNKED + b"\r\n" + GZIP,
        chunks(gzip.compress(PART), bytes(512)),
        PART,
    ),
    "deflate without zlib's frame": (
        CHUNKED + b"\r\nContent-Encoding: deflate",
        chunks(zlib.compress(PART, wbits=-15)),
        PART,
    ),
    "an expectation": (LENGTH + b"\r\nExpect: 100-continue", PART, PART),
}
REFUSED = {
    "one over": (b"Content-Length: %d" % (LIMIT + 1), FULL + b"=", 413),
    "one over, chunked": (CHUNKED, chunks(FULL, b"="), 413),
    "one over, packed": (CHUNKED + b"\r\n" + GZIP, chunks(gzip.compress(FULL + b"=")), 413),
    "a bomb": (CHUNKED + b"\r\n" + GZIP, chunks(gzip.compress(FULL + bytes(10**7))), 413),
    "a bomb in between": (
        CHUNKED + b"\r\n" + GZIP + b", gzip",
        chunks(gzip.compress(gzip.compress(b"") * 50_000)),
        413,
    ),
    "a thousand codings": (LENGTH + b"\r\n" + GZIP + b",gzip" * 999, PART, 415),
    "a coding that is not known": (LENGTH + b"\r\nContent-Encoding: zstd", PART, 415),
    "a member and garbage": (CHUNKED + b"\r\n" + GZIP, chunks(gzip.compress(PART), b"x" * 20), 400),
    "a packed body that is short": (b"Content-Length: 200\r\n" + GZIP, gzip.compress(PART), 400),
    "a length in the trailers": (CHUNKED, chunks(PART, end=b"0\r\nContent-Length: 5\r\n\r\n"), 400),
    "trailers that are none": (CHUNKED, chunks(PART, end=b"0\r\nno colon\r\n\r\n"), 400),
    "an endless extension": (
        CHUNKED,
        b"64;" + b"a" * 1_000_000 + b"\r\n" + PART + b"\r\n0\r\n\r\n",
        400,
    ),
    "lines without CR": (CHUNKED, b"64\n" + PART + b"\n0\n\n", 400),
    "a size with a prefix": (CHUNKED, b"0x64\r\n" + PART + b"\r\n0\r\n\r\n", 400),
    "a size with a sign": (CHUNKED, b"+64\r\n" + PART + b"\r\n0\r\n\r\n", 400),
    "a size beyond all": (CHUNKED, b"F" * 40 + b"\r\n" + PART + b"\r\n0\r\n\r\n", 400),
    "a chunk longer than its size": (CHUNKED, b"63\r\n" + PART + b"\r\n0\r\n\r\n", 400),
    "no last chunk": (CHUNKED, chunks(PART, end=b""), 400),
    "half a last chunk": (CHUNKED, chunks(PART, end=b"0\r\n"), 400),
    "a short body": (LENGTH, PART[:99], 400),
    "both lengths": (LENGTH + b"\r\n" + CHUNKED, chunks(PART), 400),
    "two lengths": (LENGTH + b"\r\nContent-Length: 99", PART, 400),
    "a list of lengths": (b"Content-Length: 100, 100", PART, 400),
    "a length with a sign": (b"Content-Length: +100", PART, 400),
    "chunked twice": (CHUNKED + b"\r\n" + CHUNKED, chunks(PART), 400),
    "chunked, then not": (CHUNKED + b", identity", chunks(PART), 400),
    "packed for the way": (b"Transfer-Encoding: gzip, chunked", chunks(gzip.compress(PART)), 501),
    "no body": (b"X-A: b", b"", 400),
}


def answered(service, token, framing, body):
    """Send *body*; the status and the JSON of the answer."""
    head = (
        f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: image/jpeg\r\n"
    )
    with service.connect() as connection:
        with suppress(OSError):  # an early answer; the rest is not read
            connection.sendall(head.encode() + framing + b"\r\n\r\n" + body)
            connection.shutdown(socket.SHUT_WR)
        status, body = answer(connection)
    return status, json.loads(body)


def stored(service):
    data = service.folder / "data"
    return {
        path.name: path.read_bytes() for path in [*data.glob("blobs/*/*"), *data.glob("spool/*")]
    }


@pytest.mark.parametrize("framing, body, content", UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_unusual_framing_is_understood(service, token, framing, body, content):
    status, uploaded = answered(service, token, framing, body)

    assert (status, uploaded["blob"]["size"]) == (200, len(content))
    assert stored(service)[uploaded["blob"]["ref"]["$link"]] == content


@pytest.mark.parametrize("framing, body, status", REFUSED.values(), ids=REFUSED)
def test_wrong_framing_is_refused_and_leaves_no_file(service, token, framing, body, status):
    before = stored(service)

    assert answered(service, token, framing, body)[0] == status

    assert stored(service) == before


JSON = "POST /xrpc/com.atproto.server.createSession HTTP/1.1\r\nContent-Type: application/json"
# Refused before the end; the sender then sends nothing more.
DECIDED = {
    "one over, in one chunk": (None, CHUNKED, chunks(FULL + b"=", end=b""), 413),
    "one over, in a chunk of its own": (None, CHUNKED, chunks(FULL, b"=", end=b""), 413),
    "one over, at the last chunk": (None, CHUNKED, chunks(FULL, b"=", end=b"0\r\n"), 413),
    "one over, in the middle of a chunk": (None, CHUNKED, b"fffff\r\n" + FULL + b"=", 413),
    "a bomb": (
        None,
        CHUNKED + b"\r\n" + GZIP,
        b"fffff\r\n" + gzip.compress(FULL + bytes(10**6)),
        413,
    ),
    "bytes that do not decode": (None, CHUNKED + b"\r\n" + GZIP, chunks(PART, end=b""), 400),
    "no picture": (None, CHUNKED, chunks(b"<html>" * 2000, end=b""), 400),
    "no chunk": (None, CHUNKED, chunks(PART, end=b"zz\r\n"), 400),
    "JSON, one over": (JSON, CHUNKED, chunks(b" " * 1_000_001, end=b""), 413),
    "a GET with a body": (
        "GET /xrpc/com.atproto.server.describeServer HTTP/1.1",
        CHUNKED,
        chunks(b"x", end=b""),
        400,
    ),
}


@pytest.mark.parametrize("line, framing, body, status", DECIDED.values(), ids=DECIDED)
def test_a_refusal_does_not_wait_for_the_rest_of_the_body(
    service, token, line, framing, body, status
):
    line = line or f"POST {UPLOAD} HTTP/1.1\r\nAuthorization: Bearer {token}"
    before = stored(service)

    with service.connect() as connection:
        connection.settimeout(IDLE_SECONDS / 2)
        connection.sendall(line.encode() + b"\r\nHost: x\r\n" + framing + b"\r\n\r\n" + body)
        head = connection.recv(100)

    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert stored(service) == before


@pytest.mark.parametrize(
    "line, status",
    [
        ("POST /xrpc/x HTTP/1.1\r\nHost: x\r\nContent-Length: abc", b"400"),
        ("GET /" + "x" * 5000 + " HTTP/1.1\r\nHost: x", b"414"),
        ("POST /xrpc/x HTTP/1.1\r\nHost: x\r\nExpect: a miracle", b"417"),
        (
            "POST /xrpc/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: new, chunked",
            b"501 Not Implemented",
        ),
        (
            "POST /xrpc/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked",
            b"501 Not Implemented",
        ),
        (
            "POST /xrpc/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n"
            "Transfer-Encoding: chunked",
            b"501",
        ),
    ],
    ids=[
        "a length that is no number",
        "a long line",
        "an expectation",
        "a new coding",
        "a coding",
        "a coding apart",
    ],
)
def test_gunicorn_refuses_with_an_xrpc_error(service, line, status):
    connection = service.connect()
    connection.sendall(f"{line}\r\n\r\n".encode())
    with connection, connection.makefile("rb") as answer:
        head, _, body = answer.read().partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nContent-Type: application/json; charset=utf-8" in head
    assert b"\r\nAccess-Control-Allow-Origin: *" in head
    assert json.loads(body)["error"] == "InvalidRequest"
