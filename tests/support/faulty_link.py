"""A proxy between the S3 client and the store that fails on request."""

import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_XML = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected</Message></Error>"

_CODES = {
    "301": "PermanentRedirect",
    "400": "RequestTimeout",
    "403": "AccessDenied",
    "404": "NoSuchKey",
    "412": "PreconditionFailed",
    "416": "InvalidRange",
    "429": "TooManyRequests",
    "500": "InternalError",
    "501": "NotImplemented",
    "503": "SlowDown",
}


@dataclass
class Fault:
    """A fault for requests that match *method* and *head*, a regular expression.

    It happens *times* times, None for always. Its kind is one of:

    - stall: no answer ever comes
    - reset: the connection is reset before the store sees the request
    - reset-after: the connection is reset after the store has handled the request
    - cut-up: the store gets only the first piece of the body
    - truncate, stall-half: the client gets half of the answer's body, then the end or silence
    - damage-up, damage-down: a byte of the body is flipped
    - slow: *rate* bytes per second in both directions
    - a status: the proxy answers with it and *body*, by default an S3 error
    """

    kind: str
    method: str = ""
    head: str = ""
    body: bytes = b""
    times: int | None = None
    after: int = 0  # matching requests that pass before the first fault
    rate: int = 100_000
    seen: int = field(default=0)


class FaultyLink:
    """Listens on a free loopback port and forwards requests to *upstream*, with faults."""

    def __init__(self, upstream: tuple[str, int], tls: ssl.SSLContext | None = None) -> None:
        self._upstream = upstream
        self._tls = tls
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._released = threading.Event()
        self.heads: list[str] = []  # of all requests
        self.port = 0
        self.connect()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def inject(self, kind: str, **options) -> Fault:
        fault = Fault(kind, **options)
        with self._lock:
            self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """Remove all faults. Stalled requests are dropped, slow ones go on at full speed."""
        with self._lock:
            self._faults.clear()
            self._released.set()
            self._released = threading.Event()

    def connect(self) -> None:
        """Listen, on the same port as before `cut`."""
        self._listener = socket.create_server(
            ("127.0.0.1", self.port), backlog=128, reuse_port=True
        )
        self.port = self._listener.getsockname()[1]
        self._start(self._accept, self._listener)

    def cut(self) -> None:
        """Refuse new connections and drop open ones, as if the store were down."""
        assert self._listener is not None
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.heal()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _start(self, run: Callable[[socket.socket], None], argument: socket.socket) -> None:
        thread = threading.Thread(target=run, args=(argument,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self._open.add(client)
        try:
            if self._tls:
                client = self._tls.wrap_socket(client, server_side=True)
            self._forward(client)
        except OSError:
            pass  # a fault, or the other side closed
        finally:
            with self._lock:
                self._open.discard(client)
            client.close()

    def _forward(self, client: socket.socket) -> None:
        head, body = _read_head(client)
        if not head:
            return
        method = head.split(b" ", 1)[0]
        self.heads.append(head.decode("latin-1"))
        fault = self._fault_for(method.decode(), head.decode("latin-1"))
        kind = fault.kind if fault else ""
        if kind == "stall":
            self._released.wait(120)
            return
        if kind == "reset":
            _reset(client)
            return
        waits = b"\r\nexpect:" in head.lower()
        head = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head)
        head = head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        length = _content_length(head)
        if fault and kind.isdigit():
            if waits:
                client.sendall(_CONTINUE)
            _drain(client, length - len(body))
            xml = fault.body or _XML.format(code=_CODES[kind]).encode()
            client.sendall(
                b"HTTP/1.1 %s Injected\r\nContent-Length: %d\r\n\r\n" % (kind.encode(), len(xml))
                + xml
            )
            return
        pause = self._pacer(fault)
        with socket.create_connection(self._upstream, timeout=60) as store:
            store.sendall(head)
            # With Expect: 100-continue the store decides first; some refuse before the body.
            answer = _read_head(store) if waits else (_CONTINUE, b"")
            if answer[0].startswith(_CONTINUE[:12]):
                if waits:
                    client.sendall(_CONTINUE)
                if not _pass_up(client, store, body, length, kind, pause):
                    return
                answer = _read_head(store)
            self._answer(client, store, answer, kind, pause)

    def _answer(
        self,
        client: socket.socket,
        store: socket.socket,
        begun: tuple[bytes, bytes],
        kind: str,
        pause: Callable[[int], None],
    ) -> None:
        head, body = begun
        if kind == "reset-after":
            _reset(client)
            return
        client.sendall(head)
        length = _content_length(head)
        allowed = length // 2 if kind in ("truncate", "stall-half") else None
        sent = 0
        # Without a body the store closes the connection.
        while body or (body := store.recv(65536)):
            if kind == "damage-down" and sent == 0:
                body = _damaged(body)
            if allowed is not None:
                body = body[: allowed - sent]
            client.sendall(body)
            sent += len(body)
            pause(len(body))
            if allowed is not None and sent >= allowed:
                if kind == "stall-half":
                    self._released.wait(120)
                return
            body = b""

    def _pacer(self, fault: Fault | None) -> Callable[[int], object]:
        rate = fault.rate if fault and fault.kind == "slow" else 0
        released = self._released
        return lambda size: released.wait(size / rate) if rate else None

    def _fault_for(self, method: str, head: str) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.method in ("", method) and re.search(fault.head, head):
                    fault.seen += 1
                    first, last = fault.after, fault.after + (fault.times or 10**9)
                    if first < fault.seen <= last:
                        return fault
        return None


def _read_head(sock: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            return b"", b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", body


def _content_length(head: bytes) -> int:
    match = re.search(rb"(?i)\r\ncontent-length:\s*([0-9]+)", head)
    return int(match[1]) if match else 0


def _pass_up(
    client: socket.socket,
    store: socket.socket,
    body: bytes,
    length: int,
    kind: str,
    pause: Callable[[int], None],
) -> bool:
    """Forward the request's body, which begins with *body*; whether all of it was sent."""
    left = length
    while left > 0:
        data = body or client.recv(min(65536, left))
        if not data or (kind == "cut-up" and left < length):
            return False
        if kind == "damage-up" and left == length:
            data = _damaged(data)
        store.sendall(data)
        left -= len(data)
        pause(len(data))
        body = b""
    return True


def _drain(client: socket.socket, left: int) -> None:
    while left > 0:
        data = client.recv(min(65536, left))
        if not data:
            return
        left -= len(data)


def _damaged(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
