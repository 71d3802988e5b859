"""The parts of gunicorn that the worker leans on, each by name: a new gunicorn fails here first."""

import ast
import inspect
import io
import logging
import os
import pkgutil
import selectors
import socket
import time
from collections import deque
from operator import attrgetter
from types import SimpleNamespace

import pytest
from gunicorn import util
from gunicorn.config import Config
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import UnsupportedTransferCoding
from gunicorn.workers.gthread import TConn, ThreadWorker

from aurora_blobs.server import worker

FUNCTIONS = {
    "gunicorn.workers.gthread:ThreadWorker.init_process": "(self)",
    "gunicorn.workers.gthread:ThreadWorker.accept": "(self, listener)",
    "gunicorn.workers.gthread:ThreadWorker.set_accept_enabled": "(self, enabled)",
    "gunicorn.workers.gthread:ThreadWorker.wait_for_and_dispatch_events": "(self, timeout)",
    "gunicorn.workers.gthread:ThreadWorker.enqueue_req": "(self, conn)",
    "gunicorn.workers.gthread:ThreadWorker.handle": "(self, conn)",
    "gunicorn.workers.gthread:ThreadWorker.handle_request": "(self, req, conn)",
    "gunicorn.workers.gthread:ThreadWorker.handle_error": "(self, req, client, addr, exc)",
    "gunicorn.workers.gthread:ThreadWorker.finish_request": "(self, conn, fs)",
    "gunicorn.workers.gthread:ThreadWorker._cap_keepalive": "(self, deadline)",
    "gunicorn.workers.gthread:ThreadWorker.handle_quit": "(self, sig, frame)",
    "gunicorn.workers.gthread:TConn.close": "(self, graceful=False)",
    "gunicorn.http:get_parser": "(cfg, source, source_addr, http2_connection=False)",
    "gunicorn.http.unreader:Unreader.take_buffered": "(self)",
    "gunicorn.http.unreader:Unreader.unread": "(self, data)",
    "gunicorn.http.unreader:Unreader.read": "(self, size=None, read_ahead=None)",
    "gunicorn.http.message:Message.force_close": "(self)",
    "gunicorn.http.body:ChunkedReader": "(req, unreader)",
    "gunicorn.http.body:ChunkedReader.parse_chunk_size": "(self, unreader, data=None)",
    "gunicorn.http.body:LengthReader": "(unreader, length)",
    "gunicorn.http.errors:UnsupportedTransferCoding": "(hdr)",
    "gunicorn.util:write_error": "(sock, status_int, reason, mesg)",
    "gunicorn.util:write_nonblock": "(sock, data, chunked=False)",
    "gunicorn.config:WorkerInt.worker_int": "(worker)",
}
ATTRIBUTES = [
    "self.age",
    "self.alive",
    "self.booted",
    "self.cfg",
    "self.log",
    "self.sockets",
    "self.nr_conns",
    "self.pending_conns",
    "self.poller",
    "conn.sock",
    "conn.client",
    "conn.parser",
    "conn.data_ready",
    "conn.timeout",
    "conn.close",
    "unreader.take_buffered",
    "unreader.unread",
    "unreader.read",
    "req.headers",
    "req.body",
    "req.body.reader",
    "reader.length",
    "req.body.failed",
    "req.force_close",
    "req._expected_100_continue",
    "self.cfg.settings",
    "self.cfg.is_ssl",
    "self.cfg.worker_int",
    "self.cfg.workers",
]


class Silent(ThreadWorker):
    """gunicorn's worker, not started. It notes what gets a thread, and gives it none."""

    def __init__(self, cfg):
        super().__init__(1, os.getppid(), [], None, 30, cfg, logging.getLogger("gunicorn.test"))
        self.poller = selectors.DefaultSelector()
        self.given = []

    def enqueue_req(self, conn):
        self.given.append(conn)

    def handle_request(self, req, conn):
        raise StopIteration


@pytest.fixture
def parts():
    """One of each, by the names that worker.py has for them, after one request."""
    ours, client = socket.socketpair()
    client.sendall(b"POST / HTTP/1.1\r\nA: b\r\nContent-Length: 4\r\n\r\nbody")
    client.setblocking(False)
    gunicorn_worker = Silent(Config())
    conn = TConn(gunicorn_worker.cfg, ours, ("127.0.0.1", 1), ("127.0.0.1", 2))
    conn.init()
    req = next(conn.parser)
    yield SimpleNamespace(
        self=gunicorn_worker,
        conn=conn,
        req=req,
        reader=req.body.reader,
        unreader=conn.parser.unreader,
        client=client,
    )
    gunicorn_worker.poller.close()
    gunicorn_worker.tmp.close()
    conn.close()
    client.close()


def parameters(name):
    """Those of the function *name*, None if there is no such function."""
    try:
        return str(inspect.signature(pkgutil.resolve_name(name)))
    except (AttributeError, ImportError):
        return None


def exists(parts, name):
    try:
        attrgetter(name)(parts)
    except AttributeError:
        return False
    return True


def used(variable):
    """The attributes of *variable* in worker.py."""
    return {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(worker)))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == variable
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_the_arguments_that_it_took(name):
    assert parameters(name) == FUNCTIONS[name], (
        f"gunicorn's {name} is gone or takes other arguments"
    )


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_is_there(parts, name):
    assert exists(parts, name), f"gunicorn's {name} is gone"


@pytest.mark.parametrize("name", [*FUNCTIONS, *ATTRIBUTES])
def test_the_worker_says_at_its_top_what_it_leans_on(name):
    assert name.replace(":", ".").rpartition(".")[2] in worker.__doc__


@pytest.mark.parametrize(
    "variable, ours",
    [
        (
            "self",
            {
                *vars(worker.Worker),
                *("_is_tls", "_warns_at", "_accepts_at", "_awaited", "_patience", "_gives_up_at"),
            },
        ),
        ("self.cfg", {"__dict__"}),
        ("conn", set()),
        ("conn.parser", {"unreader"}),
        ("conn.parser.unreader", set()),
        ("unreader", set()),
        ("req", set()),
        ("req.body", set()),
        ("reader", {"parse_chunk_size"}),
    ],
)
def test_the_worker_uses_nothing_that_is_not_listed(variable, ours):
    alias = {"conn.parser.unreader": "unreader"}.get(variable, variable)
    listed = {name.rpartition(".")[2] for name in ATTRIBUTES if name.startswith(f"{alias}.")}

    assert used(variable) - listed - ours == set()


def test_a_length_reader_reads_a_body_of_known_length(parts):
    assert isinstance(parts.req.body.reader, LengthReader)
    assert parts.req.body.reader.length == 4


def test_a_chunked_reader_parses_sizes_and_reads_trailers_and_gives_back_what_follows(parts):
    reader = ChunkedReader(parts.req, parts.unreader)

    assert reader.parse_chunk_size(parts.unreader, b"1f;a=b\r\nrest") == (31, b"rest")
    assert reader.parse_chunk_size(parts.unreader, b"0\r\nA: b\r\n\r\nNEXT") == (0, None)
    assert parts.unreader.take_buffered() == b"NEXTbody"


def test_one_read_without_a_size_takes_what_is_held_before_it_asks_the_connection(parts):
    parts.client.sendall(b"more")

    assert parts.unreader.read(None, 2) == b"body"
    assert parts.unreader.read(None, 2) == b"more"


def test_header_names_are_upper_case(parts):
    assert ("A", "b") in parts.req.headers


def test_bytes_read_ahead_can_be_taken_and_put_back(parts):
    taken = parts.unreader.take_buffered()
    parts.unreader.unread(taken)

    assert taken == b"body"
    assert parts.req.body.read() == b"body"


def test_an_instance_attribute_goes_before_a_setting():
    cfg = Config()

    cfg.__dict__["keepalive"] = cfg.settings["keepalive"].get() + 1

    assert cfg.keepalive == cfg.settings["keepalive"].get() + 1


def test_a_request_whose_close_is_forced_is_the_last(parts):
    parts.req.force_close()

    with pytest.raises(StopIteration):
        next(parts.conn.parser)


def test_no_request_follows_a_body_that_has_failed(parts):
    parts.req.body = io.BytesIO()
    assert parts.conn.parser.finish_body()

    parts.req.body = SimpleNamespace(failed=True)

    assert not parts.conn.parser.finish_body()


def test_an_accepted_connection_is_enqueued(parts):
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        parts.self.accept(listener)

    (conn,) = parts.self.given
    conn.close()
    assert parts.self.nr_conns == 1


def test_accepting_is_enabled_anew_before_each_wait(parts):
    enabled = []

    class Brief(Silent):
        def set_accept_enabled(self, wanted):
            enabled.append(wanted)

        def wait_for_and_dispatch_events(self, timeout):
            self.alive = len(enabled) < 3

    brief = Brief(Config())
    brief.method_queue.init()
    brief.tpool = SimpleNamespace(shutdown=lambda wait: None)
    brief.run()

    brief.tmp.close()
    assert enabled == [True, True, True, False]


def test_a_kept_connection_that_can_be_read_is_enqueued(parts):
    parts.self.keepalived_conns.append(parts.conn)
    parts.self.poller.register(parts.conn.sock, selectors.EVENT_READ)

    parts.self.on_client_socket_readable(parts.conn, parts.conn.sock)

    assert parts.self.given == [parts.conn]


def test_a_pending_connection_is_closed_at_its_time(parts):
    parts.self.nr_conns = 1
    parts.conn.timeout = time.monotonic()
    parts.self.pending_conns.append(parts.conn)
    parts.self.poller.register(parts.conn.sock, selectors.EVENT_READ)

    parts.self.murder_pending()

    assert (parts.self.nr_conns, parts.self.pending_conns) == (0, deque())
    assert parts.client.recv(1) == b""


def test_a_request_that_raises_stop_iteration_is_not_answered(parts):
    parts.client.sendall(b"GET / HTTP/1.1\r\n\r\n")

    kept = parts.self.handle(parts.conn)

    assert not kept
    with pytest.raises(BlockingIOError):
        parts.client.recv(1)


def test_an_unsupported_coding_is_answered_with_501_through_util(parts, monkeypatch):
    written = []
    monkeypatch.setattr(util, "write_error", lambda *arguments: written.append(arguments))

    parts.self.handle_error(None, parts.conn.sock, None, UnsupportedTransferCoding("gzip"))

    ((client, status, _, _),) = written
    assert (client, status) == (parts.conn.sock, 501)
