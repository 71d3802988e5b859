"""An answer that is read piece by piece is bounded in time, in size and in where it comes from."""

import gc
import socket
import threading
import time
from contextlib import suppress

import pytest
from support.document_server import send, serving

from aurora_blobs.auth.connections import Connection, Connections, Origin
from aurora_blobs.auth.fetch import FetchFailed, opened, opened_body
from aurora_blobs.auth.resolver import Resolver


def read(address, **changed):
    limits = {"allowed": None, "timeout_seconds": 30, "max_received": 100_000, "redirects": 3}
    with opened(f"http://{address}/", **limits | changed) as answer:
        return answer.status, answer.read()


@pytest.mark.parametrize("status", [200, 404, 500])
def test_an_answer_of_any_status_is_the_callers_to_read(status):
    with serving(lambda handler: send(handler, b"some bytes", status)) as address:
        assert read(address) == (status, b"some bytes")


@pytest.mark.parametrize(
    "path, headers",
    [
        ("a b", {}),
        ("a\x7f", {}),
        ("\u00e9", {}),
        ("", {"Cookie": "a\r\nHost: b"}),
        ("", {"Cookie\r\nHost: b": "a"}),
    ],
)
def test_what_would_be_another_request_is_not_sent(path, headers):
    asked = []

    with (
        serving(lambda handler: asked.append(handler.path)) as address,
        pytest.raises(FetchFailed, match="a URL or header that cannot be sent"),
        opened_body(f"http://{address}/{path}", max_bytes=1, headers=headers),
    ):
        pass

    assert asked == []


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
    "answer",
    [
        b"HTTP/1.1 200 " + b"x" * 1000,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 90,
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(1000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 200,
    ],
    ids=["the status line", "headers", "a body", "pieces of a body"],
)
def test_a_server_that_trickles_is_left(answer):
    gone = threading.Event()

    def trickle(handler):
        with suppress(OSError):
            for byte in answer:
                handler.wfile.write(bytes([byte]))
                time.sleep(0.02)
        gone.set()

    with serving(trickle) as address:
        began = time.monotonic()
        with (
            pytest.raises((OSError, FetchFailed), match="slowly"),
            opened_body(f"http://{address}/", max_bytes=1_000_000, answer_seconds=0.3) as found,
        ):
            found.read()
        took = time.monotonic() - began
        assert gone.wait(10)

    assert took < 3


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


def raw(head, body=b"some bytes"):
    """Answers with the very bytes *head*."""

    def answer(handler):
        handler.close_connection = True
        with suppress(OSError):
            handler.wfile.write(head + body)

    return answer


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n",
        b"HTTP/1.1 200 OK\r\nA line of a mail\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n and more of it\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: 10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 65536 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,
    ],
    ids=[
        "nothing",
        "another protocol",
        "another version",
        "no status",
        "a status of four digits",
        "cut off",
        "no header",
        "a header of two lines",
        "a blank in a name",
        "no name",
        "a length of 5000 digits",
        "101 headers",
        "a long header",
        "more of them than bytes may come",
    ],
)
def test_a_head_that_is_none_is_no_answer(head):
    with serving(raw(head)) as address, pytest.raises(FetchFailed):
        read(address)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nCONTENT-length:\t10 \r\n\r\n",
        b"HTTP/1.1 200\nContent-Length: 10\n\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: odd\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nServer: \xe4\xff\r\nContent-Length: 10\r\n\r\n",
    ],
    ids=[
        "names in any case",
        "plain ends of lines",
        "no length",
        "a length that is none",
        "two lengths",
        "news before it",
        "a coding that nobody knows",
        "bytes that are no text",
    ],
)
def test_an_odd_head_is_one(head):
    with serving(raw(head)) as address:
        assert read(address) == (200, b"some bytes")


def test_a_body_in_pieces_is_put_together():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: Chunked\r\n\r\n"
    pieces = b"4\r\nsome\r\n6;a=b\r\n bytes\r\n0\r\nA: b\r\n\r\n"

    with serving(raw(head, pieces)) as address:
        assert read(address) == (200, b"some bytes")


class Keeper:
    """A server that keeps connections. `asked` has the connection of each request, by its port.

    *answer* is called with the request handler and the number of the request on its connection.
    """

    def __init__(self, answer=lambda handler, number: send(handler, b"some bytes")):
        self.asked = []
        self._answer = answer

    def __call__(self, handler):
        port = handler.client_address[1]
        self.asked.append(port)
        self._answer(handler, self.asked.count(port))

    @property
    def connections(self):
        return len(set(self.asked))

    def serving(self):
        return serving(self, version="HTTP/1.1")


def test_requests_one_after_the_other_go_over_one_connection():
    server, kept = Keeper(), Connections()
    with server.serving() as address:
        answers = [read(address, connections=kept) for _ in range(5)]

    assert answers == [(200, b"some bytes")] * 5
    assert (server.connections, len(server.asked)) == (1, 5)


def test_without_connections_each_request_has_its_own():
    server = Keeper()
    with server.serving() as address:
        for _ in range(3):
            read(address)

    assert server.connections == 3


def leave(handler, number):
    """Answer the first request, and close without a word when a second one has come."""
    handler.close_connection = number == 2
    if number == 1:
        send(handler, b"some bytes")


def close(handler, number):
    """Answer, and close without having said so."""
    send(handler, b"some bytes")
    handler.close_connection = True


@pytest.mark.parametrize("answer", [leave, close])
def test_where_a_kept_connection_was_closed_the_request_is_made_again(answer):
    server, kept = Keeper(answer), Connections()
    with server.serving() as address:
        answers = [read(address, connections=kept) for _ in range(4)]

    assert answers == [(200, b"some bytes")] * 4


def test_a_request_that_fails_on_a_new_connection_is_not_made_again():
    def answer(handler, number):
        handler.close_connection = True

    server, kept = Keeper(answer), Connections()
    with server.serving() as address, pytest.raises(FetchFailed):
        read(address, connections=kept)

    assert len(server.asked) == 1


def test_a_post_goes_over_a_connection_of_its_own():
    server, kept = Keeper(), Connections()
    with server.serving() as address:
        read(address, connections=kept)
        read(address, connections=kept, body=b"{}")
        read(address, connections=kept)

    first, posted, third = server.asked
    assert first == third != posted


def test_a_connection_whose_answer_was_not_read_is_not_used_again():
    server, kept = Keeper(), Connections()
    with server.serving() as address:
        limits = {"allowed": None, "timeout_seconds": 30, "max_received": 100_000}
        for _ in range(2):
            with opened(f"http://{address}/", connections=kept, **limits) as answer:
                answer.read(3)

    assert server.connections == 2


@pytest.mark.parametrize(
    "surplus", [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", b"x"], ids=["answer", "byte"]
)
def test_what_comes_unasked_is_not_taken_for_an_answer(surplus):
    sent = threading.Event()

    def answer(handler, number):
        send(handler, b"some bytes")
        handler.wfile.flush()
        time.sleep(0.05)
        handler.wfile.write(surplus)
        sent.set()

    server, kept = Keeper(answer), Connections()
    with server.serving() as address:
        answers = []
        for _ in range(3):
            sent.clear()
            answers.append(read(address, connections=kept))
            assert sent.wait(10)
            time.sleep(0.05)

    assert answers == [(200, b"some bytes")] * 3
    assert server.connections == 3


def test_a_kept_connection_is_for_an_address_that_is_allowed_now():
    server, kept = Keeper(), Connections()
    with server.serving() as address:
        read(address, connections=kept)
        with pytest.raises(FetchFailed, match="no address that may be connected to"):
            read(address, connections=kept, allowed=lambda address: False)

    assert len(server.asked) == 1


def test_a_kept_connection_is_for_its_own_host():
    server, kept = Keeper(), Connections()

    def here(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    with server.serving() as address:
        port = address.rpartition(":")[2]
        for name in ("a.example.com", "b.example.com", "a.example.com", "b.example.com"):
            read(f"{name}:{port}", connections=kept, resolver=Resolver(lookup=here))

    a, b, *again = server.asked
    assert a != b
    assert again == [a, b]


def test_a_name_is_looked_up_again_when_its_connection_is_old():
    server, kept = Keeper(), Connections(seconds=0.2)
    looked_up = []

    def here(host, port, **_):
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    with server.serving() as address:
        port = address.rpartition(":")[2]
        for pause in (0, 0, 0.3):
            time.sleep(pause)
            read(f"a.example.com:{port}", connections=kept, resolver=Resolver(lookup=here))

    assert len(looked_up) == server.connections == 2


def test_no_more_than_so_many_connections_are_kept():
    server, kept = Keeper(), Connections(most=2)
    with server.serving() as address:
        together = threading.Barrier(5)

        def ask():
            with opened(
                f"http://{address}/",
                connections=kept,
                allowed=None,
                timeout_seconds=30,
                max_received=100_000,
            ) as answer:
                together.wait(10)
                answer.read()

        threads = [threading.Thread(target=ask) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        before = server.connections
        threads = [threading.Thread(target=ask) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert before == 5
    assert server.connections == 8


def test_a_deadline_holds_on_a_kept_connection():
    done = threading.Event()

    def answer(handler, number):
        if number == 1:
            send(handler, b"some bytes")
        else:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
            done.wait(30)

    server, kept = Keeper(answer), Connections()
    with server.serving() as address:
        read(address, connections=kept)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            read(address, connections=kept, timeout_seconds=0.3)
        took = time.monotonic() - began
        done.set()

    assert took < 5
    assert server.connections == 1


def test_what_is_kept_is_closed_with_its_owner_also_as_a_part_of_a_cycle():
    ours, theirs = socket.socketpair()
    owner = {"connections": Connections()}
    owner["itself"] = owner
    kept = Connection(Origin("https", "pds.test", 443), "1.1.1.1", ours, time.monotonic())
    owner["connections"].give(kept)

    del owner, kept, ours
    gc.collect()  # warns of a socket that is finalized before its owner, which is an error

    with theirs:
        assert theirs.recv(1) == b""
