"""Time limits for clients: reads and writes end when the other side stalls or trickles."""

import os
import select
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

IDLE_SECONDS = 20  # without a single byte, in either direction
MIN_BYTES_PER_SECOND = 500  # of a body, averaged over each IDLE_SECONDS spent waiting for it


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
