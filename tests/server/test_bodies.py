"""Chunked bodies are read as they arrive; what is left of a body is discarded."""

import io
import random

import pytest
from gunicorn.config import Config
from gunicorn.http import get_parser
from gunicorn.http.body import ChunkedReader
from gunicorn.http.unreader import IterUnreader

from aurora_blobs.server.bodies import (
    AwaitedBody,
    ChunkedBody,
    DirectBody,
    announces_body,
    drain,
    received_bytes,
)

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
SEED = random.randrange(2**32)


class Wire(IterUnreader):
    """Bytes that come in pieces.

    `waited` says how often a read had to wait for the next one, `parsed` how many bytes were given
    to the parser of sizes.
    """

    def __init__(self, pieces):
        super().__init__(pieces)
        self.waited = self.parsed = 0

    def chunk(self, size_hint=None):
        self.waited += 1
        return super().chunk(size_hint)


def body_of(*pieces):
    """The body whose wire form comes in *pieces*, and the wire."""
    wire = Wire(list(pieces))
    request = next(get_parser(Config(), iter([HEAD]), ("127.0.0.1", 1)))
    reader = ChunkedReader(request, wire)

    def parse_size(start):
        wire.parsed += len(start)
        return reader.parse_chunk_size(wire, start)

    return ChunkedBody(lambda size: wire.read(None, size), parse_size), wire


def chunked(*chunks):
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


def test_a_read_waits_for_its_first_byte_alone():
    body, wire = body_of(b"5\r\nhello\r\n", b"5\r\nworld\r\n", b"0\r\n\r\n")

    assert body.read(1_000_000) == b"hello"
    assert wire.waited == 1
    assert body.read(1_000_000) == b"world"
    assert body.read(1_000_000) == b""


def test_a_body_that_is_awaited_is_asked_for_once_and_before_it_is_read():
    asked = []
    inner, wire = body_of(chunked(b"hello", b"world"), b"0\r\n\r\n")
    body = AwaitedBody(inner, lambda: asked.append(wire.waited))

    unknown = body.failed
    read = [body.read(5), body.read(5), body.read(5)]

    assert (unknown, body.failed) == (True, False)
    assert read == [b"hello", b"world", b""]
    assert asked == [0]


def test_an_awaited_body_that_fails_has_failed():
    inner, _ = body_of(b"5\r\nhel")
    body = AwaitedBody(inner, lambda: None)
    body.read(5)

    with pytest.raises(EOFError):
        body.read(5)

    assert body.failed


def test_all_chunks_that_are_here_are_one_read():
    body, wire = body_of(chunked(*[b"ab"] * 1000) + b"3\r\nx", b"yz\r\n0\r\n\r\n")

    assert body.read(1_000_000) == b"ab" * 1000 + b"x"
    assert wire.waited == 1


@pytest.mark.parametrize("last", [b"0\r\n", b"000\r\n", b"0;a=b\r\n", b"0\r\nA: b\r\n"])
def test_available_bytes_are_given_out_before_the_trailers_end(last):
    body, wire = body_of(chunked(b"all of it") + last, b"\r\n")

    assert body.read(100) == b"all of it"
    assert wire.waited == 1
    assert body.read(100) == b""


def test_a_size_with_zeros_before_it_is_no_end():
    body, _ = body_of(b"0002\r\nab\r\n01;x\r\nc\r\n0\r\n\r\nGET /next")

    assert body.read(100) == b"abc"
    assert body.read(100) == b""


def test_bytes_after_the_body_are_left_for_the_next_request():
    body, wire = body_of(chunked(b"body") + b"0\r\nA: b\r\n\r\nGET /next")

    assert (body.read(100), body.read(100)) == (b"body", b"")
    assert wire.take_buffered() == b"GET /next"


def test_a_body_in_any_pieces_and_reads_is_what_was_sent():
    print("seed", SEED)
    rng = random.Random(SEED)
    for _ in range(300):
        sent = [rng.randbytes(rng.choice([1, 2, 15, 16, 300])) for _ in range(rng.randrange(9))]
        wire = chunked(*sent) + b"0" * rng.randint(1, 3) + b"\r\n\r\nGET /next"
        cuts = sorted(rng.sample(range(len(wire)), rng.randrange(min(len(wire), 30))))
        pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True) if wire[a:b]]
        body, unreader = body_of(*pieces)

        received = b""
        while data := body.read(rng.choice([1, 7, 1000])):
            received += data

        assert received == b"".join(sent)
        while more := unreader.chunk():
            unreader.buf.write(more)
        assert unreader.take_buffered() == b"GET /next"


@pytest.mark.parametrize(
    "wire",
    [
        b"5\r\nhel",
        b"5\r\nhello",
        b"5\r\nhelloXX5\r\nworld\r\n0\r\n\r\n",
        b"5\r\nhello\r\n",
        b"5\r\nhello\r\nworld\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n",
        b"5\r\nhello\r\n-1\r\n\r\n",
        b"5\r\nhello\r\n\r\n",
        b"5\r\nhello\r\n0x5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n5;\x00\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
    ],
)
def test_a_body_that_breaks_the_grammar_fails_and_stays_failed(wire):
    body, _ = body_of(wire)

    with pytest.raises(Exception):  # noqa: B017  # gunicorn's, or ours
        body.readall()

    assert body.failed
    with pytest.raises(EOFError):
        body.read(1)


def test_chunks_of_a_byte_are_bounded():
    body, _ = body_of(chunked(*[b"x"] * 20_000) + b"0\r\n\r\n")

    with pytest.raises(ValueError, match="10000 chunks of a few bytes are accepted"):
        body.readall()


def test_large_chunks_are_not_bounded():
    sent = [bytes(16)] * 50_000
    body, _ = body_of(chunked(*sent) + b"0\r\n\r\n")

    assert body.readall() == b"".join(sent)


@pytest.mark.parametrize("size", [b"1", b"0001"])
def test_parsing_is_linear_in_the_size_of_the_body(size):
    parsed = []
    for count in (1000, 2000, 4000):
        body, wire = body_of((size + b"\r\nx\r\n") * count + b"0\r\n\r\n")
        body.readall()
        parsed.append(wire.parsed)

    assert parsed[2] < 5 * parsed[0]


@pytest.mark.parametrize(
    "environ, announced",
    [
        ({}, False),
        ({"CONTENT_LENGTH": ""}, False),
        ({"CONTENT_LENGTH": "0"}, False),
        ({"CONTENT_LENGTH": "1"}, True),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, True),
    ],
)
def test_a_body_is_announced_by_its_length_or_its_coding(environ, announced):
    assert announces_body(environ) is announced


class Failing:
    def read(self, size):
        raise OSError("the client has gone")


def test_a_body_is_drained_to_its_end():
    body = io.BytesIO(bytes(1000))

    assert drain({"wsgi.input": body})
    assert body.tell() == 1000


def test_a_body_that_fails_is_not_drained():
    assert not drain({"wsgi.input": Failing()})


def test_a_body_that_has_failed_is_not_read_again():
    body, wire = body_of(b"oops\r\n", b"more", b"and more")
    with pytest.raises(Exception):  # noqa: B017
        body.read(1)
    before = wire.waited

    assert not drain({"wsgi.input": body})
    assert wire.waited == before


def received_of(body, length=""):
    return received_bytes({"wsgi.input": body, "CONTENT_LENGTH": length})


def test_what_was_read_of_a_body_is_known():
    direct = DirectBody(None, b"hello", 10)
    chunks, _ = body_of(chunked(b"hello", b"world"), b"0\r\n\r\n")
    awaited = AwaitedBody(chunks, lambda: None)
    before = [received_of(direct, "10"), received_of(chunks), received_of(awaited)]

    direct.read(3)
    awaited.read(7)

    assert before == [0, 0, 0]
    assert [received_of(direct, "10"), received_of(chunks), received_of(awaited)] == [3, 7, 7]


@pytest.mark.parametrize("length, received", [("10", 10), ("", 0), ("²", 0), ("-1", 0)])
def test_of_another_server_s_body_the_announced_length_is_known(length, received):
    assert received_of(io.BytesIO(b"hello"), length) == received
    assert received_of(AwaitedBody(io.BytesIO(b"hello"), lambda: None), length) == 0
