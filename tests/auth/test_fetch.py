"""An answer that is read piece by piece is bounded in time, in size and in where it comes from."""

import threading
import time

import pytest
from support.document_server import send, serving

from aurora_blobs.auth.fetch import FetchFailed, opened


def read(address, **changed):
    limits = {"allowed": None, "timeout_seconds": 30, "max_received": 100_000, "redirects": 3}
    with opened(f"http://{address}/", **limits | changed) as answer:
        return answer.status, answer.read()


@pytest.mark.parametrize("status", [200, 404, 500])
def test_an_answer_of_any_status_is_the_callers_to_read(status):
    with serving(lambda handler: send(handler, b"some bytes", status)) as address:
        assert read(address) == (status, b"some bytes")


def test_an_answer_has_so_many_bytes_and_no_more():
    too_long = "more than 100000 bytes"

    with (
        serving(lambda handler: send(handler, bytes(100_000))) as address,
        pytest.raises(OSError, match=too_long),
    ):
        read(address)


def test_a_server_that_falls_silent_is_left():
    done = threading.Event()

    def answer(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        done.wait(30)

    with serving(answer) as address:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            read(address, silence_seconds=0.3)
        took = time.monotonic() - began
        done.set()

    assert took < 5


@pytest.mark.parametrize(
    "target",
    [
        "/elsewhere",
        "http://example.com/",
        "file:///etc/passwd",
        "https://127.0.0.1:PORT/",
        "https://localhost:PORT/",
        "https://10.0.0.1/",
        "https://169.254.169.254/",
        "https://[::1]:PORT/",
        "https://[::ffff:127.0.0.1]:PORT/",
        "https://[64:ff9b::7f00:1]/",
        "https://[/",
        "gopher://example.com",
    ],
)
def test_a_redirect_leads_to_public_addresses_over_https_alone(target):
    paths = []

    def answer(handler):
        paths.append(handler.path)
        port = str(handler.server.server_port)
        send(handler, b"", 302, Location=target.replace("PORT", port))

    with serving(answer) as address, pytest.raises(FetchFailed):
        read(address)

    assert paths == ["/"]


def test_a_redirect_that_nobody_follows_is_an_answer():
    with serving(lambda handler: send(handler, b"", 302, Location="/elsewhere")) as address:
        assert read(address, redirects=0) == (302, b"")
