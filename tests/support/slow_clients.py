"""Hundreds of clients that stall or trickle, until the server drops them."""

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.accounts import UPLOAD, Account

_POST = f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\n".encode()


def kinds(account: Account) -> dict[str, bytes]:
    """What a client of each kind sends before it stalls."""
    head = (
        _POST
        + f"Authorization: {account.headers['Authorization']}\r\n".encode()
        + b"Content-Type: image/png\r\n"
    )
    return {
        "silent": b"",
        "half a head": head,
        "half a body": head + b"Content-Length: 1000000\r\n\r\n\x89PNG\r\n\x1a\n" + bytes(500_000),
        "half a chunk": head
        + b"Transfer-Encoding: chunked\r\n\r\n100000\r\n\x89PNG\r\n\x1a\n"
        + bytes(5000),
    }


class SlowClients:
    """*count* clients, each of which has sent one of *starts*. The block's end closes them."""

    def __init__(
        self, connect: Callable[[], socket.socket], starts: list[bytes], count: int
    ) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._open = []
        for number in range(count):
            client = connect()
            client.sendall(starts[number % len(starts)])
            client.setblocking(False)
            self._open.append(client)

    def __enter__(self) -> "SlowClients":
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._open:
            client.close()

    def seconds_until_dropped(self, limit: float, trickle: bytes = b"") -> float:
        """Send *trickle* on each twice a second until the server has closed all; the seconds."""
        began = time.monotonic()
        while self._open and time.monotonic() - began < limit:
            self._open = [client for client in self._open if not _is_dropped(client, trickle)]
            time.sleep(0.5)
        assert not self._open, f"{len(self._open)} still connected after {limit} s"
        return time.monotonic() - began


def _is_dropped(client: socket.socket, trickle: bytes) -> bool:
    try:
        client.sendall(trickle)
        while client.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    client.close()
    return True


@contextmanager
def trickling(client: socket.socket) -> Iterator[None]:
    """In the block, *client* sends a byte fifty times a second."""
    done = threading.Event()

    def trickle() -> None:
        while not done.wait(0.02):
            client.send(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
