"""Name look-ups with a deadline, which those of the system have not."""

import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

Lookup = Callable[..., list[Any]]  # as socket.getaddrinfo


class Resolver:
    """Looks names up in threads of its own, by *lookup*.

    A look-up that nobody waits for any more goes on until the system gives it up, half a minute and
    more with several name servers. At most *at_once* are under way, those included.
    """

    def __init__(self, at_once: int = 8, lookup: Lookup = socket.getaddrinfo) -> None:
        self._free = threading.BoundedSemaphore(at_once)
        self._lookup = lookup

    def addresses(self, host: str, port: int, deadline: float) -> list[Any]:
        """The addresses of *host* for a TCP connection to *port*, as `socket.getaddrinfo` has them.

        *deadline* is by `time.monotonic`. Raises OSError, ValueError.
        """
        if _is_address(host):  # no name server is asked
            return self._lookup(host, port, type=socket.SOCK_STREAM)
        if not self._free.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise TimeoutError("too many names are being looked up")
        found: Future[list[Any]] = Future()
        # Not of a pool: the interpreter would wait for its threads before it ends.
        thread = threading.Thread(
            target=self._look_up, args=(host, port, found), name="name look-up", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread left
            self._free.release()
            raise OSError(str(error)) from error
        try:
            return found.result(max(deadline - time.monotonic(), 0))
        except TimeoutError:
            raise TimeoutError("the name was not looked up in time") from None

    def _look_up(self, host: str, port: int, found: "Future[list[Any]]") -> None:
        try:
            addresses = self._lookup(host, port, type=socket.SOCK_STREAM)
        except BaseException as error:
            self._free.release()
            found.set_exception(error)
        else:
            self._free.release()
            found.set_result(addresses)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
