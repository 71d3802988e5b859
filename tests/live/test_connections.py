"""Several requests on one connection: an unread body is never taken for a request."""

import socket
from contextlib import suppress

import pytest
from support.accounts import UPLOAD
from support.live_service import Service

pytestmark = pytest.mark.live

# A body of many such requests: read from any point, one would be answered.
HIDDEN = (
    b"GET /xrpc/com.atproto.sync.listBlobs?did=did:web:hidden.test HTTP/1.1\r\nHost: hidden\r\n\r\n"
)
NEXT = (
    b"GET /xrpc/com.atproto.server.describeServer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
)
LIMIT = 30_000_000


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with Service(
        tmp_path_factory.mktemp("connections"),
        AURORA_BLOBS_MAX_BLOB_SIZE=str(LIMIT),
        AURORA_BLOBS_DURABILITY="os",
    ) as service:
        yield service


@pytest.fixture(scope="module")
def bearer(service):
    return f"Authorization: Bearer {service.account().token}"


# Refused before the end of the body: method and path, headers, status.
REFUSED = {
    "no credentials": (f"POST {UPLOAD}", "Content-Type: image/jpeg", 401),
    "bad credentials": (f"POST {UPLOAD}", "Authorization: Bearer x", 400),
    "a bad header": (f"POST {UPLOAD}", "Authorization: x y z", 400),
    "no such coding": (f"POST {UPLOAD}", "BEARER\r\nContent-Encoding: zstd", 415),
    "the wrong type": (f"POST {UPLOAD}", "BEARER\r\nContent-Type: image/jpeg", 400),
    "bytes that do not decode": (f"POST {UPLOAD}", "BEARER\r\nContent-Encoding: gzip", 400),
    "the wrong verb": (f"PUT {UPLOAD}", "BEARER", 400),
    "a GET with a body": ("GET /xrpc/com.atproto.server.describeServer", "A: b", 400),
    "a HEAD with a body": ("HEAD /xrpc/com.atproto.server.describeServer", "A: b", 400),
    "a health check with a body": ("GET /xrpc/_health", "A: b", 400),
    "no such method": ("POST /xrpc/com.example.nothing", "A: b", 501),
    "no such page": ("POST /nowhere", "A: b", 404),
    "no JSON": ("POST /xrpc/com.atproto.server.createSession", "Content-Type: text/plain", 400),
    "not JSON": (
        "POST /xrpc/com.atproto.server.createSession",
        "Content-Type: application/json",
        400,
    ),
}
# Answered in spite of a body.
IGNORED = {
    "a preflight": (f"OPTIONS {UPLOAD}", "A: b", 204),
    "a method that takes no body": ("POST /xrpc/com.atproto.server.activateAccount", "BEARER", 200),
}
SIZES = {"small": 10, "larger than a buffer": 5_000}
TOO_MANY = 250_000  # more than is drained


def answers(service, wire):
    """Send *data*; everything received until the connection ends."""
    received = b""
    with service.connect() as connection:
        with suppress(OSError):  # closed before it was sent to its end
            connection.sendall(wire)
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while piece := connection.recv(65_536):
                received += piece
    return received


def framed(body, chunked):
    if chunked:
        return b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.mark.parametrize("chunked", [False, True], ids=["by length", "chunked"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("line, headers, status", REFUSED.values(), ids=REFUSED)
def test_an_unread_body_is_never_taken_for_a_request(
    service, bearer, line, headers, status, size, chunked
):
    head = f"{line} HTTP/1.1\r\nHost: x\r\n{headers.replace('BEARER', bearer)}\r\n".encode()

    received = answers(service, head + framed(HIDDEN * size, chunked) + NEXT)

    assert received.startswith(b"HTTP/1.1 %d" % status), received[:300]
    assert b"hidden.test" not in received
    assert received.count(b"HTTP/1.1 ") == 2 and b'"inviteCodeRequired"' in received, received[
        -600:
    ]


@pytest.mark.parametrize("chunked", [False, True], ids=["by length", "chunked"])
@pytest.mark.parametrize(
    "line, headers, status", (REFUSED | IGNORED).values(), ids=REFUSED | IGNORED
)
def test_an_unread_body_too_long_to_drain_closes_the_connection(
    service, bearer, line, headers, status, chunked
):
    head = f"{line} HTTP/1.1\r\nHost: x\r\n{headers.replace('BEARER', bearer)}\r\n".encode()

    received = answers(service, head + framed(HIDDEN * TOO_MANY, chunked) + NEXT)

    assert received.count(b"HTTP/1.1 ") <= 1
    assert b"hidden.test" not in received and b"inviteCodeRequired" not in received


# Lengths that a proxy in front may read differently.
@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nContent-Length: 5",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding:\x0bchunked",
        "Content-Length: 5 5",
        "Content-Length: 0x5",
    ],
)
def test_an_ambiguous_length_is_refused_and_closes_the_connection(service, framing):
    received = answers(
        service, f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode() + HIDDEN
    )

    assert (
        received.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
        and received.count(b"HTTP/1.1 ") == 1
    )
    assert b"hidden.test" not in received


@pytest.mark.parametrize(
    "header",
    ["SCRIPT_NAME: /xrpc", "PATH_INFO: /nowhere", "X-Forwarded-Ssl: on", "Script-Name: /xrpc"],
)
def test_forwarded_headers_are_ignored_without_a_proxy(service, header):
    head = (
        "GET /xrpc/com.atproto.server.describeServer HTTP/1.1\r\n"
        f"Host: x\r\nConnection: close\r\n{header}\r\n"
    )

    received = answers(service, f"{head}X-Forwarded-Proto: http\r\n\r\n".encode())

    assert received.startswith(b"HTTP/1.1 200 "), received
