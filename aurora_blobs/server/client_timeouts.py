"""Time limits for clients: reads and writes end when the other side stalls or trickles."""

import os
import select
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from aurora_blobs.errors import BlobServiceError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

IDLE_SECONDS = 20  # without a single byte, in either direction
# In either direction, averaged over each IDLE_SECONDS spent waiting for the client.
MIN_BYTES_PER_SECOND = 500
# A client that was too slow has its answer, and is waited for no longer than this before its
# connection is closed.
_LINGER_SECONDS = 0.05


class Guard(Protocol):
    """Decides how many slow clients there may be: `SlowClients`."""

    def patience(self, *, download: bool) -> float: ...

    def enter(self, environ: dict[str, Any], *, download: bool) -> Any: ...

    def leave(self, place: Any) -> None: ...


class _Pace:
    """How fast the client is in one direction, from when it was first waited for."""

    __slots__ = ("moved", "waited", "waited_in_all")

    def __init__(self) -> None:
        self.moved = 0  # bytes, while `waited` seconds were spent waiting
        self.waited = self.waited_in_all = 0.0

    def check(self, message: str) -> None:
        """Raise TimeoutError(*message*) if the client trickles."""
        if self.waited >= IDLE_SECONDS:
            if self.moved < self.waited * MIN_BYTES_PER_SECOND:
                raise TimeoutError(message)
            self.waited, self.moved = 0.0, 0


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
        self.head = b""  # read ahead of the request that is answered, its head and perhaps more
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
        self._reading: _Pace | None = None
        self._writing: _Pace | None = None
        self._deadline: float | None = None
        self._guard: Guard | None = None
        self._place: Any = None
        self._environ: Any = None
        self._longest: float = IDLE_SECONDS  # that a read waits, whatever `settimeout` says
        self.sent_of_files = 0  # bytes, for the access log
        self.settimeout(IDLE_SECONDS)

    def watch(self, guard: Guard, environ: dict[str, Any]) -> None:
        """Let the client of the request *environ* be slow only if *guard* has a place for it.

        A read raises what *guard* raises, a write TimeoutError.
        """
        self._guard, self._environ = guard, environ

    def end_request(self) -> None:
        """Give back the place that the client has taken, if it was slow."""
        if self._guard is not None and self._place is not None:
            self._guard.leave(self._place)
        self._guard = self._place = self._environ = None  # the environment refers to this socket
        self.sent_of_files = 0

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
            if self._reading is not None:
                self._reading.moved += len(data)
            return data

    def recv_now(self, size: int) -> bytes:
        """Up to *size* bytes that are here already. Raises BlockingIOError if there are none."""
        return os.read(self.fileno(), size)

    def sendall(self, data: "ReadableBuffer", flags: int = 0, /) -> None:
        # The standard library's time limit is for all of *data*, however steadily it is taken.
        view = memoryview(data)
        while view:
            try:
                count = os.write(self.fileno(), view)
            except BlockingIOError:
                self._await_writable()
                continue
            self._note_sent(count)
            view = view[count:]

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
            self._note_sent(piece)
            sent += piece
            self.sent_of_files += piece
        return sent

    def is_ready(self, event: int, seconds: float) -> bool:
        """Whether *event*, one of `select.poll`'s, is there or comes within *seconds*."""
        poll = select.poll()
        poll.register(self, event)
        return bool(poll.poll(max(0.0, 1000 * seconds)))

    def _await_readable(self) -> None:
        pace = self._reading = self._reading or _Pace()
        seconds = min(self._read_timeout, self._longest)
        if self._deadline is not None:
            seconds = min(seconds, max(0.001, self._deadline - time.monotonic()))
        else:
            pace.check("the request body comes too slowly")
        if not self._is_ready_in_time(select.POLLIN, seconds, pace):
            raise TimeoutError("the client sends nothing")

    def _await_writable(self) -> None:
        pace = self._writing = self._writing or _Pace()
        pace.check("the client takes the answer too slowly")
        try:
            is_ready = self._is_ready_in_time(select.POLLOUT, IDLE_SECONDS, pace)
        except BlobServiceError as error:  # half of the answer is sent: there is no other one
            raise TimeoutError(error.message) from error
        if not is_ready:
            raise TimeoutError("the client takes nothing")

    def _is_ready_in_time(self, event: int, seconds: float, pace: _Pace) -> bool:
        """As `is_ready`, but a client that the guard has no patience with needs a place."""
        began = time.monotonic()
        try:
            if self._guard is not None and self._place is None:
                download = event == select.POLLOUT
                patience = self._guard.patience(download=download) - pace.waited_in_all
                if seconds > patience:
                    if self.is_ready(event, patience):
                        return True
                    # If it is refused its place, it has its answer soon and is not waited for.
                    self._longest = _LINGER_SECONDS
                    self._place = self._guard.enter(self._environ, download=download)
                    self._longest = IDLE_SECONDS
            return self.is_ready(event, seconds - (time.monotonic() - began))
        finally:
            waited = time.monotonic() - began
            pace.waited += waited
            pace.waited_in_all += waited

    def _note_sent(self, count: int) -> None:
        if self._writing is not None:
            self._writing.moved += count
