"""HTTP on a bare socket: bytes go out as they are, and answers are read one by one."""

import re
import select
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-5][0-9]{2}) [\t\x20-\x7e\x80-\xff]*")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([\t\x20-\x7e\x80-\xff]*?)[\t ]*")
_MAX_HEAD = 128 * 1024  # bytes; more than any answer should have
_PIECE = 64 * 1024  # bytes per read and write


class NotHttp(Exception):
    """What came is no answer, or a part of one."""


class Silence(Exception):
    """Nothing came, and the connection was not closed."""


@dataclass(frozen=True)
class Reply:
    """One final answer. Names of headers are in lower case. *interim* are earlier statuses."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    head: bytes
    interim: tuple[int, ...] = ()

    def all(self, name: str) -> list[str]:
        """The values of the header *name*."""
        return [value for each, value in self.headers if each == name]

    def header(self, name: str) -> str:
        """The first value of the header *name*, empty if there is none."""
        return next(iter(self.all(name)), "")

    @property
    def closes(self) -> bool:
        """Whether it says that no other answer follows."""
        return "close" in self.header("connection").lower()


class Wire:
    """A connection. It reads while it sends, so that an early answer is seen."""

    def __init__(self, connection: socket.socket, *, seconds: float = 60) -> None:
        """*seconds* without any byte are too many."""
        connection.setblocking(False)
        self._connection = connection
        self._seconds = seconds
        self._outgoing = memoryview(b"")
        self._incoming = bytearray()
        self.is_over = False  # the other side has closed, or broken, the connection
        self.was_reset = False

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send *data* as far as it goes at once; the rest goes while answers are read."""
        self._outgoing = memoryview(bytes(self._outgoing) + data)
        self._write()

    def flush(self) -> None:
        """Send all of it, or as much as the other side takes before it closes."""
        while self._outgoing and not self.is_over:
            self._wait()

    def finish(self) -> None:
        """Send all of it, and say that nothing follows."""
        self.flush()
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:
            self.is_over = True

    def reply(self, method: str = "GET") -> Reply | None:
        """The next answer, to a request of *method*; None if the connection ended before it.

        Raises NotHttp, Silence.
        """
        interim: list[int] = []
        while True:
            head = self._head()
            if head is None:
                return None
            status, headers = _parsed(head)
            if 100 <= status < 200 and status != 101:
                interim.append(status)
                continue
            body = self._body(method, status, dict(headers), _length(headers))
            return Reply(status, headers, body, head, tuple(interim))

    def rest(self) -> bytes:
        """All that comes until the connection ends. Raises Silence."""
        while not self.is_over:
            self._wait()
        rest = bytes(self._incoming)
        self._incoming.clear()
        return rest

    def close(self) -> None:
        """Close it as clients do."""
        self._connection.close()

    def reset(self) -> None:
        """Break it: the other side reads an error."""
        linger = struct.pack("ii", 1, 0)
        with suppress(OSError):
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._connection.close()

    def _head(self) -> bytes | None:
        while (end := self._incoming.find(b"\r\n\r\n")) < 0:
            if len(self._incoming) > _MAX_HEAD:
                raise NotHttp(f"a head of more than {_MAX_HEAD} bytes")
            if self.is_over:
                if self._incoming:
                    raise NotHttp(f"half a head: {bytes(self._incoming[:200])!r}")
                return None
            self._wait()
        return self._take(end + 4)[:-4]

    def _body(self, method: str, status: int, headers: dict[str, str], length: int | None) -> bytes:
        if method == "HEAD" or status in (204, 304):
            return b""
        if "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked" or length is not None:
                raise NotHttp(f"two ways to end a body: {headers}")
            return self._chunks()
        if length is None:
            if "close" not in headers.get("connection", ""):
                raise NotHttp("a body without an end")
            return self.rest()
        while len(self._incoming) < length:
            if self.is_over:
                raise NotHttp(f"{len(self._incoming)} of {length} bytes of a body")
            self._wait()
        return self._take(length)

    def _chunks(self) -> bytes:
        body = b""
        while True:
            line = self._line()
            if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", line):
                raise NotHttp(f"a chunk of the size {line[:40]!r}")
            size = int(line, 16)
            while len(self._incoming) < size + 2:
                if self.is_over:
                    raise NotHttp("half a chunk")
                self._wait()
            piece = self._take(size + 2)
            if piece[-2:] != b"\r\n":
                raise NotHttp("a chunk without an end")
            if size == 0:
                return body
            body += piece[:-2]

    def _line(self) -> bytes:
        while (end := self._incoming.find(b"\r\n")) < 0:
            if self.is_over or len(self._incoming) > _PIECE:
                raise NotHttp("half a line")
            self._wait()
        return self._take(end + 2)[:-2]

    def _take(self, size: int) -> bytes:
        taken = bytes(self._incoming[:size])
        del self._incoming[:size]
        return taken

    def _wait(self) -> None:
        """Until a byte came or went, or the connection ended. Raises Silence."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN | (select.POLLOUT if self._outgoing else 0))
        events = poll.poll(1000 * self._seconds)
        if not events:
            raise Silence(f"nothing came in {self._seconds} seconds")
        ready = events[0][1]
        if ready & (select.POLLIN | select.POLLHUP | select.POLLERR):
            self._read()
        if ready & select.POLLOUT and self._outgoing and not self.is_over:
            self._write()

    def _read(self) -> None:
        try:
            data = self._connection.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            self.was_reset, data = True, b""
        self._incoming += data
        self.is_over = self.is_over or not data

    def _write(self) -> None:
        try:
            while self._outgoing:
                self._outgoing = self._outgoing[self._connection.send(self._outgoing[:_PIECE]) :]
        except BlockingIOError:
            pass
        except OSError:
            # It is closed for what we send; what it has sent before can still be read.
            self._outgoing = memoryview(b"")


def _parsed(head: bytes) -> tuple[int, tuple[tuple[str, str], ...]]:
    first, *lines = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(first)
    if status is None:
        raise NotHttp(f"no status line: {first[:200]!r}")
    headers = []
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise NotHttp(f"no header: {line[:200]!r}")
        headers.append((match[1].decode().lower(), match[2].decode("latin-1")))
    return int(status[1]), tuple(headers)


def _length(headers: tuple[tuple[str, str], ...]) -> int | None:
    lengths = {value for name, value in headers if name == "content-length"}
    if not lengths:
        return None
    if len(lengths) > 1 or not re.fullmatch("[0-9]{1,15}", min(lengths)):
        raise NotHttp(f"a body of the length {lengths}")
    return int(min(lengths))
