"""How long a client may take: a socket whose reads and writes end when the other side has stopped working."""

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
MIN_BYTES_PER_SECOND = 500  # of a body, on average of each IDLE_SECONDS that we wait for it
DRAIN_BYTES = 16 * 1024 * 1024
DRAIN_SECONDS = 5
_DRAIN_CHUNK = 64 * 1024


class TimeoutSocket(socket.socket):
    """A client's connection. A read raises TimeoutError when the client stalls, trickles, or its time is up.

    A write raises it when the client takes nothing for `IDLE_SECONDS`. Reads and writes are tried before they are
    waited for: Python waits first, and each system call more is one more turn that the other threads may take.
    """

    def __init__(self, accepted: socket.socket) -> None:
        """Takes *accepted* over; it is of no use afterwards."""
        family, kind, protocol = accepted.family, accepted.type, accepted.proto
        super().__init__(family, kind, protocol, accepted.detach())
        super().settimeout(IDLE_SECONDS)
        self.begin()

    def setblocking(self, flag: bool, /) -> None:
        """Does nothing: it never blocks, and never for longer than it should. gunicorn asks for each six times."""

    def settimeout(self, seconds: float | None, /) -> None:
        """How long a read may wait, at most `IDLE_SECONDS`. Only noted: gunicorn sets it three times a request."""
        self._patience = float(IDLE_SECONDS) if seconds is None else min(seconds, IDLE_SECONDS)

    def gettimeout(self) -> float:
        return self._patience

    def begin(self, close_after: Callable[[], None] = lambda: None) -> None:
        """A request begins: a new measure of how fast its body comes.

        *close_after* makes its answer say that it is the last on this connection.
        """
        self.close_after = close_after
        self._waited = 0.0
        self._received = 0
        self._deadline: float | None = None
        self.settimeout(IDLE_SECONDS)

    def end_in(self, seconds: float) -> None:
        """Reads end so many seconds from now, whatever the client does."""
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
        """What has come already. Raises BlockingIOError where there is nothing."""
        return os.read(self.fileno(), size)

    def sendall(self, data: "ReadableBuffer", flags: int = 0, /) -> None:
        # Not the standard library's: its time limit is for all of *data* together, however steadily it is taken.
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.fileno(), view) :]
            except BlockingIOError:
                self._await_writable()

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """As the standard library's, which asks before each piece whether it may be sent."""
        left = os.fstat(file.fileno()).st_size - offset if count is None else count
        sent = 0
        while sent < left:
            try:
                piece = os.sendfile(self.fileno(), file.fileno(), offset + sent, left - sent)
            except BlockingIOError:
                self._await_writable()
                continue
            if piece == 0:
                break  # the file is shorter than it was
            sent += piece
        return sent

    def is_ready(self, event: int, seconds: float) -> bool:
        """Whether *event*, of `select.poll`, is there, or comes within *seconds*."""
        poll = select.poll()
        poll.register(self, event)
        return bool(poll.poll(1000 * seconds))

    def _await_readable(self) -> None:
        began = time.monotonic()
        seconds = self._patience
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
    """A request body of known length, each read one of its connection: it may give less than was asked for.

    gunicorn's own reads ahead up to 1 MiB, and copies each byte five times until a reader has it in pieces:
    a fourth of the CPU of a 1 MiB upload.
    """

    def __init__(self, connection: socket.socket, start: bytes, length: int) -> None:
        """*start* is what has been read already of the *length* bytes."""
        self._connection = connection
        self._start = start
        self._left = length
        self.failed = False  # where the next request begins is not known then; gunicorn asks

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to *size* bytes, or with -1 all; none at the end, and none when the client has gone."""
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
        """As `read`, for the lines and the rest that `io.RawIOBase` makes of it."""
        with memoryview(buffer).cast("B") as view:
            data = self.read(len(view))
            view[: len(data)] = data
        return len(data)


def drain(environ: dict[str, Any]) -> bool:
    """Read and forget what the client still sends, at most `DRAIN_BYTES` and `DRAIN_SECONDS`; whether it was all.

    For an answer that is given before the body was read: a proxy that is still sending would see the connection
    break, and make a 502 of our answer. When it was not all, the connection cannot be used again.
    """
    connection = environ.get("gunicorn.socket")
    if isinstance(connection, TimeoutSocket):
        connection.end_in(DRAIN_SECONDS)
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
