"""gunicorn's threaded worker, with slow clients kept out of its threads for as long as that can be."""

import json
import os
import select
import time
from concurrent.futures import Future
from functools import partial
from http import HTTPStatus
from selectors import EVENT_READ
from types import FrameType
from typing import Any

from gunicorn import http, util
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import UnsupportedTransferCoding
from gunicorn.workers.gthread import TConn, ThreadWorker

from aurora_blobs.server.client_timeouts import DirectBody, TimeoutSocket

HEAD_SECONDS = 10  # for a request line and its headers, all together
# More than gunicorn's parser accepts with its default limits; a head that is longer goes there to be refused.
_MAX_HEAD = 64 * 1024
_HEAD_CHUNK = 16 * 1024  # more than any usual head: a small body comes along in the same read
_HEAD_END = b"\r\n\r\n"
# A request that comes this soon after the answer to the one before is taken by the same thread: by way of the poller
# and another thread it costs a fifth more CPU. Not for long, because others may be waiting for a thread.
_NEXT_SECONDS = 0.002
_STAY_SECONDS = 0.1


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A request gets a thread when its head is complete; until then it waits in the poller, where waiting is free.

    gunicorn's own worker gives a thread to a silent connection for 5 seconds, and to half a head for ever. A body
    is read in its thread, so a stalled one keeps that thread until its `TimeoutSocket` gives up.
    """

    def init_process(self) -> None:
        self._is_tls = self.cfg.is_ssl  # worked out anew each time it is asked for
        # The settings as plain attributes: gunicorn has each looked up in Python, twenty times a request.
        self.cfg.__dict__.update(
            {name: setting.get() for name, setting in self.cfg.settings.items()}
        )
        util.write_error = (
            _write_error  # what the server itself refuses is refused in the same words
        )
        super().init_process()

    def enqueue_req(self, conn: TConn) -> None:
        """*conn* was accepted, or may have another request: to a thread with it, or to the poller first."""
        if self._is_tls:
            super().enqueue_req(conn)
            return
        if conn.parser is None:
            conn.sock = TimeoutSocket(conn.sock)
            conn.parser = http.get_parser(self.cfg, conn.sock, conn.client)
            conn.data_ready = True
        conn.head = conn.parser.unreader.take_buffered()
        if _HEAD_END in conn.head or self._is_head_read(conn):
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
        """Read what has come; True when it is a whole head, or the client has gone and ``conn.head`` is empty."""
        try:
            data = conn.sock.recv_now(_HEAD_CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        conn.head = conn.head + data if data else b""
        # The end may lie across two reads.
        start = max(0, len(conn.head) - len(data) - len(_HEAD_END))
        return not data or conn.head.find(_HEAD_END, start) >= 0 or len(conn.head) > _MAX_HEAD

    def _begin(self, conn: TConn) -> None:
        if conn.head:
            conn.parser.unreader.unread(conn.head)
            super().enqueue_req(conn)
        else:
            self.nr_conns -= 1
            conn.close()

    def handle_request(self, req: Any, conn: TConn) -> bool:
        """In a thread: read the body, answer."""
        if isinstance(req.body.reader, ChunkedReader):
            _check_transfer_codings(req)
        if isinstance(conn.sock, TimeoutSocket):
            conn.sock.begin(close_after=req.force_close)
            if isinstance(req.body.reader, LengthReader):
                req.body = _direct_body(conn, req.body.reader.length)
        try:
            return bool(super().handle_request(req, conn))
        except TimeoutError as error:
            raise StopIteration(f"the client stalled: {error}") from None

    def handle(self, conn: TConn) -> Any:
        """In a thread: one request and those that follow at its heels, and the connection's end unless it is kept."""
        kept = super().handle(conn)
        leave_at = time.monotonic() + _STAY_SECONDS
        while kept and time.monotonic() < leave_at and self._is_next_here(conn):
            kept = super().handle(conn)
        if not kept:
            # Here and not in `finish_request`: it waits up to 2 seconds for the client, which no other may feel.
            conn.close(graceful=True)
        return kept

    def _is_next_here(self, conn: TConn) -> bool:
        """Whether the head of another request has come, or comes at once; what is not whole is the poller's."""
        if not self.alive or not isinstance(conn.sock, TimeoutSocket):
            return False
        unreader = conn.parser.unreader
        conn.head = unreader.take_buffered()
        is_whole = _HEAD_END in conn.head
        if not is_whole and conn.sock.is_ready(select.POLLIN, _NEXT_SECONDS):
            is_whole = self._is_head_read(conn) and bool(conn.head)
        unreader.unread(conn.head)
        return is_whole

    def finish_request(self, conn: TConn, future: "Future[Any]") -> None:
        """After `handle`, in the main thread."""
        if not future.cancelled() and future.exception() is None and not future.result():
            self.nr_conns -= 1
        else:
            super().finish_request(conn, future)

    def _cap_keepalive(self, deadline: float) -> None:
        """The worker stops: who has not sent a request by *deadline* has none that is in flight."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)
        # Left open, they would take connections that nobody answers, for as long as an upload lasts.
        for listener in self.sockets:
            listener.close()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """SIGQUIT and Ctrl-C: at once. An ordinary exit would wait for every thread."""
        self.cfg.worker_int(self)
        os._exit(0)


def _write_error(client: Any, status: int, reason: str, message: str) -> None:
    """Answers a request that never got as far as the service: a broken head, a line that is too long."""
    phrase = HTTPStatus(status).phrase  # *reason* is that of another status for a 501
    name = "InternalServerError" if status == 500 else "InvalidRequest"
    body = json.dumps({"error": name, "message": message or phrase}).encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nConnection: close\r\nAccess-Control-Allow-Origin: *\r\n"
        f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(client, head.encode("latin1") + body)


def _check_transfer_codings(req: Any) -> None:
    # gunicorn lets gzip and deflate pass and undoes the chunks alone: the blob would be what nobody sent.
    for name, value in req.headers:
        if name == "TRANSFER-ENCODING" and value.strip().lower() != "chunked":
            raise UnsupportedTransferCoding(value)


def _direct_body(conn: TConn, length: int) -> DirectBody:
    unreader = conn.parser.unreader
    held = unreader.take_buffered()
    unreader.unread(
        held[length:]
    )  # the start of another request: the client did not wait for our answer
    return DirectBody(conn.sock, held[:length], length)
