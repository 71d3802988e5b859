"""gunicorn's threaded worker, changed so that a slow client holds no thread before it must.

It leans on these parts of gunicorn 27.0.1, few of them documented. Where a new gunicorn changes one
of them, tests/server/test_gunicorn_parts.py fails and names it.

- ThreadWorker, overridden: init_process, accept, set_accept_enabled, wait_for_and_dispatch_events,
  enqueue_req, handle, handle_request, handle_error, finish_request, _cap_keepalive, handle_quit.
  Used: age, alive, booted, cfg, log, sockets, nr_conns, pending_conns, poller. Its loop enables
  accepting anew, where that is disabled, before it waits for events.
- TConn: sock, client, parser, data_ready, timeout, close.
- The parser, made by http.get_parser: unreader, with take_buffered, unread and read.
- The request: headers, body, force_close. body.reader is a LengthReader, which has length, or a
  ChunkedReader, which has parse_chunk_size. body.failed is asked before the next request is read.
  Where _expected_100_continue is set, gunicorn asks for the body before the service has the head.
- The config: settings, is_ssl, workers, worker_int. An instance attribute goes before a setting.
- util: write_error, looked up where it is called; write_nonblock.
- UnsupportedTransferCoding is answered with 501, StopIteration with nothing.
"""

import errno
import json
import os
import re
import select
import socket
import sys
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from selectors import EVENT_READ
from types import FrameType
from typing import Any

from gunicorn import http, util
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import UnsupportedTransferCoding
from gunicorn.workers.gthread import TConn, ThreadWorker

from aurora_blobs import logs
from aurora_blobs.server import cross_origin
from aurora_blobs.server.bodies import (
    DRAIN_BYTES,
    DRAIN_IDLE_SECONDS,
    AwaitedBody,
    ChunkedBody,
    DirectBody,
)
from aurora_blobs.server.client_timeouts import TimeoutSocket
from aurora_blobs.server.shared_gauge import SharedGauge

HEAD_SECONDS = 10  # for the request line and all headers together
# More than gunicorn's parser accepts by default. A longer head is given to it to be refused.
_MAX_HEAD = 64 * 1024
_HEAD_CHUNK = 16 * 1024  # more than the usual head: a small body comes along in the same read
_MAX_MESSAGE = 200  # characters of what is said about a head that is refused; a guess
_LINGER_SECONDS = 2  # as gunicorn's own
_HEAD_END = b"\r\n\r\n"
# Where a head that gunicorn refuses says that a body follows, and how long it is.
_BODY = re.compile(rb"\n(?:content-length[ \t]*:[ \t]*([0-9]{1,18})\s|transfer-encoding)", re.I)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# A thread waits this long for the next request of its connection: through the poller and another
# thread that request costs a fifth more CPU. It stays with the connection no longer than
# _STAY_SECONDS, because other requests may be waiting for a thread.
_NEXT_SECONDS = 0.002
_STAY_SECONDS = 0.1
# A new connection is left this long to a worker that has fewer, and half as long each time that it
# takes none. An idle worker takes it at once; where 20 processes want two cores, 10 ms were too
# short for it to wake up.
_PATIENCE_SECONDS = 0.05
_LOOK_SECONDS = 0.002  # between two looks at whether it has: by then this one may have fewer
_ACCEPT_SECONDS = 0.05  # between a connection that could not be taken and the next try
_WARN_SECONDS = 60  # between two lines in the log about that
_RESTART_SECONDS = 1  # between a worker that could not start and the next one

# The connections of each worker. Those beyond the 64th take what they get.
_connections = SharedGauge(parts=64)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A request waits in the poller, which costs nothing, and gets a thread with a complete head.

    gunicorn's own worker gives a thread to a silent connection for 5 seconds, and to half a head
    for ever. A body is read in its thread, so a stalled one keeps the thread until its
    `TimeoutSocket` gives up.
    """

    def init_process(self) -> None:
        self._is_tls = self.cfg.is_ssl  # gunicorn computes it at each access
        self._warns_at = self._accepts_at = 0.0
        self._awaited: tuple[int, int] | None = None
        self._patience = self._gives_up_at = 0.0
        # Settings as plain attributes: gunicorn looks them up in Python, twenty times a request.
        self.cfg.__dict__.update(
            {name: setting.get() for name, setting in self.cfg.settings.items()}
        )
        # What gunicorn refuses has the same envelope as what the service refuses.
        util.write_error = _write_error
        try:
            super().init_process()
        except Exception:
            if self.booted or self.age <= self.cfg.workers:
                raise
            # This one replaces another. gunicorn ends the whole service if a worker fails at its
            # start, and all uploads with it; by this status it starts another one.
            self.log.exception("the worker could not start; another one follows")
            time.sleep(_RESTART_SECONDS)
            sys.exit(1)

    def accept(self, listener: Any) -> None:
        """Take a connection, or leave it in the backlog for a worker that has fewer.

        It stays there, too, where no file or memory is left for it.
        """
        if self._leaves_it_to_another():
            return
        try:
            super().accept(listener)
            _connections.set(self.nr_conns)
        except OSError as error:
            # gunicorn's worker would end, and with it all that it has under way.
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            now = time.monotonic()
            if now >= self._warns_at:
                self.log.warning("connections have to wait: %s", error.strerror)
                self._warns_at = now + _WARN_SECONDS
            time.sleep(_ACCEPT_SECONDS)

    def _leaves_it_to_another(self) -> bool:
        """Whether a worker has fewer connections and may still take this one.

        A connection wakes all workers, and the one that is awake already would win most. A worker
        that hangs or is full costs each of the others `_PATIENCE_SECONDS` twice in all.
        """
        least = _connections.least_other()
        if least is None or self.nr_conns <= least[0]:
            return False
        now = time.monotonic()
        if least != self._awaited:
            self._awaited, self._patience = least, _PATIENCE_SECONDS
            self._gives_up_at = now + self._patience
        if now >= self._gives_up_at:
            self._patience /= 2
            self._gives_up_at = now + self._patience
            return False
        self._accepts_at = now + _LOOK_SECONDS
        self.set_accept_enabled(False)
        return True

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled and time.monotonic() >= self._accepts_at)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        _connections.set(self.nr_conns if self.alive else None)
        left = self._accepts_at - time.monotonic()
        super().wait_for_and_dispatch_events(min(timeout, left) if left > 0 else timeout)

    def enqueue_req(self, conn: TConn) -> None:
        """Give *conn*, new or kept alive, to a thread if a head is here, else to the poller."""
        if self._is_tls:
            super().enqueue_req(conn)
            return
        if conn.parser is None:
            conn.sock = TimeoutSocket(conn.sock)
            conn.parser = http.get_parser(self.cfg, conn.sock, conn.client)
            conn.data_ready = True
        conn.sock.head = conn.parser.unreader.take_buffered()
        if _HEAD_END in conn.sock.head or self._is_head_read(conn):
            self._begin(conn)
        else:
            conn.timeout = time.monotonic() + HEAD_SECONDS
            self.pending_conns.append(conn)
            self.poller.register(conn.sock, EVENT_READ, partial(self._read_more, conn))

    def _read_more(self, conn: TConn, client: object) -> None:
        if self._is_head_read(conn):
            self.poller.unregister(client)
            self.pending_conns.remove(conn)
            self._begin(conn)

    def _is_head_read(self, conn: TConn) -> bool:
        """Read what is here into ``conn.sock.head``; whether that is a whole head.

        True also when the client has gone: then ``conn.sock.head`` is empty.
        """
        try:
            data = conn.sock.recv_now(_HEAD_CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        conn.sock.head = conn.sock.head + data if data else b""
        # Its end may lie across two reads.
        head = conn.sock.head
        start = max(0, len(head) - len(data) - len(_HEAD_END))
        return not data or head.find(_HEAD_END, start) >= 0 or len(head) > _MAX_HEAD

    def _begin(self, conn: TConn) -> None:
        if conn.sock.head:
            conn.parser.unreader.unread(conn.sock.head)
            super().enqueue_req(conn)
        else:
            self.nr_conns -= 1
            conn.close()

    def handle_request(self, req: Any, conn: TConn) -> bool:
        """Answer one request, in a thread. Its body is read here."""
        reader = req.body.reader
        if isinstance(reader, ChunkedReader):
            _check_transfer_codings(req)
            req.body = _chunked_body(conn, reader)
        if isinstance(conn.sock, TimeoutSocket):
            conn.sock.begin_request(close_after=req.force_close)
            if isinstance(reader, LengthReader):
                req.body = _direct_body(conn, reader.length)
        if req._expected_100_continue:
            # Asked for by the first read: what is refused by its head is not sent at all.
            req._expected_100_continue = False
            if getattr(reader, "length", 1) > 0:
                req.body = AwaitedBody(req.body, partial(conn.sock.sendall, _CONTINUE))
        try:
            return bool(super().handle_request(req, conn))
        except TimeoutError as error:
            raise StopIteration(f"the client stalled: {error}") from None
        finally:
            if isinstance(conn.sock, TimeoutSocket):
                conn.sock.end_request()

    def handle(self, conn: TConn) -> Any:
        """Answer a request, and those that follow at once, in a thread; close what is not kept."""
        kept = self._handle_one(conn)
        leave_at = time.monotonic() + _STAY_SECONDS
        while kept and time.monotonic() < leave_at and self._is_next_here(conn):
            kept = self._handle_one(conn)
        if not kept:
            # Not in `finish_request`: closing waits for the client, and that runs in the main
            # thread.
            _close(conn)
        return kept

    def _handle_one(self, conn: TConn) -> Any:
        try:
            return super().handle(conn)
        finally:
            logs.end_request()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that the service has not got, or has failed with."""
        if logs.request_id() is None:
            logs.begin_request()
        super().handle_error(req, client, addr, exc)

    def _is_next_here(self, conn: TConn) -> bool:
        """Whether another complete head is here, or comes within `_NEXT_SECONDS`."""
        if not self.alive or not isinstance(conn.sock, TimeoutSocket):
            return False
        unreader = conn.parser.unreader
        conn.sock.head = unreader.take_buffered()
        is_whole = _HEAD_END in conn.sock.head
        if not is_whole and conn.sock.is_ready(select.POLLIN, _NEXT_SECONDS):
            is_whole = self._is_head_read(conn) and bool(conn.sock.head)
        unreader.unread(conn.sock.head)
        return is_whole

    def finish_request(self, conn: TConn, future: "Future[Any]") -> None:
        """Runs in the main thread after `handle`."""
        if not future.cancelled() and future.exception() is None and not future.result():
            self.nr_conns -= 1
        else:
            super().finish_request(conn, future)

    def _cap_keepalive(self, deadline: float) -> None:
        """Runs when the worker stops: a client that sends nothing by *deadline* is cut off."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)
        # An open listener would accept connections that are never answered, until the last upload
        # ends.
        for listener in self.sockets:
            listener.close()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Exit at once on SIGQUIT and Ctrl-C. An ordinary exit would wait for every thread."""
        self.cfg.worker_int(self)
        os._exit(0)


def _close(conn: TConn) -> None:
    """Close *conn* when the client has what was sent: throw away for a while what still comes.

    gunicorn throws away 64 KiB. Of a larger body behind a head that it refuses, the kernel would
    break the connection, and a proxy make a 502 of the answer.
    """
    if not isinstance(conn.sock, TimeoutSocket):
        conn.close(graceful=True)
        return
    with conn.sock, suppress(OSError):
        conn.sock.shutdown(socket.SHUT_WR)
        _throw_away(conn.sock, DRAIN_BYTES)


def _throw_away(sock: TimeoutSocket, size: int) -> None:
    """Read up to *size* bytes for `_LINGER_SECONDS`. Raises OSError."""
    sock.set_deadline(_LINGER_SECONDS)
    while size > 0 and (data := sock.recv(min(size, _HEAD_CHUNK))):
        size -= len(data)


def _throw_body_away(sock: TimeoutSocket) -> None:
    """Read the body behind a head that is refused, or give it up.

    A proxy that passes it on as it comes has told its client that the connection stays. While it
    has not sent all, it closes that without a word.
    """
    head, _, start = sock.head.partition(_HEAD_END)
    found = _BODY.search(head + b"\n")
    if found is not None:
        size = min(int(found[1] or DRAIN_BYTES), DRAIN_BYTES)
        sock.settimeout(DRAIN_IDLE_SECONDS)
        with suppress(OSError):
            _throw_away(sock, size - len(start))


def _write_error(client: Any, status: int, reason: str, message: str) -> None:
    """Answer a request that never reached the service: its head is broken or too long."""
    if isinstance(client, TimeoutSocket):
        _throw_body_away(client)
    phrase = HTTPStatus(status).phrase  # gunicorn's *reason* for a 501 is "Bad Request"
    name = "InternalServerError" if status == 500 else "InvalidRequest"
    if len(message) > _MAX_MESSAGE:  # gunicorn quotes the whole line
        message = message[: _MAX_MESSAGE - 1] + "…"
    body = json.dumps({"error": name, "message": message or phrase}).encode()
    shared = "".join(f"{name}: {value}\r\n" for name, value in cross_origin.HEADERS)
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nConnection: close\r\n{shared}"
        f"X-Request-Id: {logs.request_id()}\r\n"
        f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(client, head.encode("latin1") + body)


def _check_transfer_codings(req: Any) -> None:
    # gunicorn accepts gzip and deflate and undoes only the chunks. We would store a blob that
    # nobody sent.
    for name, value in req.headers:
        if name == "TRANSFER-ENCODING" and value.strip().lower() != "chunked":
            raise UnsupportedTransferCoding(value)


def _chunked_body(conn: TConn, reader: ChunkedReader) -> ChunkedBody:
    unreader = conn.parser.unreader

    def parse_size(start: bytes) -> tuple[int, bytes | None]:
        return reader.parse_chunk_size(unreader, start)  # type: ignore[no-any-return]

    return ChunkedBody(lambda size: unreader.read(None, size), parse_size)


def _direct_body(conn: TConn, length: int) -> DirectBody:
    unreader = conn.parser.unreader
    held = unreader.take_buffered()
    unreader.unread(held[length:])  # a pipelined request begins there
    return DirectBody(conn.sock, held[:length], length)
