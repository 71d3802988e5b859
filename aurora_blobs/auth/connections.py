"""Connections to other servers that are kept for the next request there."""

import select
import socket
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

# Guesses. As many as are asked at once; and for as long as a name may have moved before it is
# looked up again. Servers close what is silent after 5 seconds (Node) to some minutes.
_MOST_KEPT = 32
_KEPT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Origin:
    """What a connection is for: the scheme, host and port of a URL."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """A *socket* to *origin* at *address*, connected at *made_at* by `time.monotonic`."""

    origin: Origin
    address: str
    socket: socket.socket
    made_at: float

    @property
    def is_silent(self) -> bool:
        """Whether the server has neither closed it nor said what it was not asked for."""
        # Not select(), which takes no file numbers from 1024 on.
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return not poll.poll(0)


class Connections:
    """Keeps up to *most* connections, each until *seconds* after it was made.

    One is used again for its own origin alone, at an address that the next request allows, too.
    They are closed with this object.
    """

    def __init__(self, most: int = _MOST_KEPT, seconds: float = _KEPT_SECONDS) -> None:
        self._most = most
        self._seconds = seconds
        self._kept: list[Connection] = []  # the last one used is the last
        self._lock = threading.Lock()
        # Not __del__: in a cycle of garbage, the sockets may be finalized before their owner.
        weakref.finalize(self, _close_all, self._kept)

    def take(self, origin: Origin, allowed: Callable[[str], bool] | None) -> Connection | None:
        """A connection to *origin*, which the caller gives back or closes; None if there is none.

        *allowed* says whether an address may be connected to, None allows any.
        """
        while True:
            with self._lock:
                self._forget_old()
                fits = (
                    kept
                    for kept in reversed(self._kept)
                    if kept.origin == origin and (allowed is None or allowed(kept.address))
                )
                connection = next(fits, None)
                if connection is None:
                    return None
                self._kept.remove(connection)
            if connection.is_silent:
                return connection
            connection.socket.close()

    def give(self, connection: Connection) -> None:
        """Keep *connection*, whose last answer was read to its end."""
        with self._lock:
            self._kept.append(connection)
            self._forget_old()
            if len(self._kept) > self._most:
                self._kept.pop(0).socket.close()

    def _forget_old(self) -> None:
        before = time.monotonic() - self._seconds
        for kept in [kept for kept in self._kept if kept.made_at < before]:
            self._kept.remove(kept)
            kept.socket.close()


def _close_all(connections: list[Connection]) -> None:
    for connection in connections:
        connection.socket.close()
