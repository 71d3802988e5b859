"""Time limits for clients: reads and writes end when the other side stalls or trickles."""

import io
import os
import select
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

IDLE_SECONDS = 20  # without a single byte, in either direction
MIN_BYTES_PER_SECOND = 500  # of a body, averaged over each IDLE_SECONDS spent waiting for it
DRAIN_BYTES = 16 * 1024 * 1024
DRAIN_SECONDS = 5
_DRAIN_CHUNK = 64 * 1024  # bytes per read


class TimeoutSocket(socket.socket):
    """A client's connection.

    A read raises TimeoutError when the client stalls or trickles, or at the deadline. A write
    raises it when the client takes nothing for `IDLE_SECONDS`.

    Reads and writes are tried first and waited for second. Python's own wait first; each additional
    system call lets the other threads of the process go ahead.
    """

    def __init__(self, accepted: socket.socket) -> None:
        """Take *accepted* over; it cannot be used afterwards."""
        family, kind, protocol = accepted.family, accepted.type, accepted.proto
        super().__init__(family, kind, protocol, accepted.detach())
        super().settimeout(IDLE_SECONDS)
        self.begin_request()

    def setblocking(self, flag: bool, /) -> None:
        """Do nothing: the descriptor never blocks. gunicorn calls this six times a request."""

    def settimeout(self, seconds: float | None, /) -> None:
        """Let a read wait for *seconds*, at most `IDLE_SECONDS`.

        No system call is made: gunicorn calls this three times a request.
        """
        self._read_timeout = float(IDLE_SECONDS) if seconds is None else min(seconds, IDLE_SECONDS)

    def gettimeout(self) -> float:
        return self._read_timeout

    def begin_request(self, close_after: Callable[[], None] = lambda: None) -> None:
        """Measure the speed of the next request's body from zero, without a deadline.

        *close_after* makes the answer the last one on this connection.
        """
        self.close_after = close_after
        self._waited = 0.0
        self._received = 0
        self._deadline: float | None = None
        self.settimeout(IDLE_SECONDS)

    def set_deadline(self, seconds: float) -> None:
        """Let no read of this request last beyond *seconds* from now."""
        self._deadline = time.monotonic() + seconds

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise TimeoutError("the time for the request body is up")
        while True:
            try:
                data = self.recv_now(size)
            except BlockingIOError:
                self._await_readable()
                continue
            self._received += len(data)
            return data

    def recv_now(self, size: int) -> bytes:
        """Up to *size* bytes that are here already. Raises BlockingIOError if there are none."""
        return os.read(self.fileno(), size)

    def sendall(self, data: "ReadableBuffer", flags: int = 0, /) -> None:
        # The standard library's time limit is for all of *data*, however steadily it is taken.
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.fileno(), view) :]
            except BlockingIOError:
                self._await_writable()

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send the file. The standard library's version polls before each piece."""
        left = os.fstat(file.fileno()).st_size - offset if count is None else count
        sent = 0
        while sent < left:
            try:
                piece = os.sendfile(self.fileno(), file.fileno(), offset + sent, left - sent)
            except BlockingIOError:
                self._await_writable()
                continue
            if piece == 0:
                break  # the file has become shorter
            sent += piece
        return sent

    def is_ready(self, event: int, seconds: float) -> bool:
        """Whether *event*, one of `select.poll`'s, is there or comes within *seconds*."""
        poll = select.poll()
        poll.register(self, event)
        return bool(poll.poll(1000 * seconds))

    def _await_readable(self) -> None:
        began = time.monotonic()
        seconds = self._read_timeout
        if self._deadline is not None:
            seconds = min(seconds, max(0.001, self._deadline - began))
        elif self._waited >= IDLE_SECONDS:
            if self._received < self._waited * MIN_BYTES_PER_SECOND:
                raise TimeoutError("the request body comes too slowly")
            self._waited, self._received = 0.0, 0
        if not self.is_ready(select.POLLIN, seconds):
            raise TimeoutError("the client sends nothing")
        self._waited += time.monotonic() - began

    def _await_writable(self) -> None:
        if not self.is_ready(select.POLLOUT, IDLE_SECONDS):
            raise TimeoutError("the client takes nothing")


class DirectBody(io.RawIOBase):
    """A request body of known length. Each read is one read of the connection and may be short.

    gunicorn's own body reads up to 1 MiB ahead and copies each byte five times before the caller
    has it: a fourth of the CPU of a 1 MiB upload.
    """

    def __init__(self, connection: socket.socket, start: bytes, length: int) -> None:
        """*start* holds those of the *length* bytes that have been read already."""
        self._connection = connection
        self._start = start
        self._left = length
        # gunicorn reads this: after a failure the start of the next request is unknown.
        self.failed = False

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to *size* bytes, all of them for -1; none at the end or when the client has gone."""
        if size is None or size < 0:
            return self.readall()
        size = min(size, self._left)
        if size == 0:
            return b""
        if self._start:
            data, self._start = self._start[:size], self._start[size:]
        else:
            try:
                data = self._connection.recv(size)
            except OSError:
                self.failed = True
                raise
        self._left -= len(data)
        return data

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """The same, for `io.RawIOBase`, which makes lines of it."""
        with memoryview(buffer).cast("B") as view:
            data = self.read(len(view))
            view[: len(data)] = data
        return len(data)


def drain(environ: dict[str, Any]) -> bool:
    """Discard the rest of the request body, up to `DRAIN_BYTES` and `DRAIN_SECONDS`.

    Returns whether that was all of it; otherwise the connection cannot be used again. For an answer
    that is given before the body was read: a proxy that is still sending would see the connection
    break and turn our answer into a 502.
    """
    connection = environ.get("gunicorn.socket")
    if isinstance(connection, TimeoutSocket):
        connection.set_deadline(DRAIN_SECONDS)
    left = DRAIN_BYTES
    try:
        while left > 0:
            data = environ["wsgi.input"].read(min(left, _DRAIN_CHUNK))
            if not data:
                return True
            left -= len(data)
    except Exception:  # each WSGI server raises its own kind when a client goes away
        pass
    if isinstance(connection, TimeoutSocket):
        connection.close_after()
    return False
