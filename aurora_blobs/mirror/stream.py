"""The connection to com.atproto.sync.subscribeRepos: a WebSocket, bounded and without surprises."""

import threading
from collections.abc import Iterator
from typing import Any

from aurora_blobs.errors import MethodNotImplemented

# Bytes of a message. A frame may have 5 MB; one that has more is skipped, not waited for again and
# again. Beyond this the connection ends.
_MAX_MESSAGE = 8 * 2**20
_MAX_WAITING = 2  # messages that were received and not read
_OPEN_SECONDS = 10.0
_TICK_SECONDS = 0.5


class StreamBroken(Exception):
    """The connection could not be made, or has ended."""


def frames(url: str, cursor: int | None, stop: threading.Event) -> Iterator[bytes | None]:
    """What the PDS at *url* sends after the event *cursor*; None: what happens from now on.

    Yields None once the connection is open, and whenever nothing has come for a while. Ends with
    *stop*. Raises StreamBroken, MethodNotImplemented.
    """
    connect, refusal, State = _library()
    target = f"ws{url.removeprefix('http')}/xrpc/com.atproto.sync.subscribeRepos"
    try:
        with connect(
            target if cursor is None else f"{target}?cursor={cursor}",
            max_size=_MAX_MESSAGE,
            max_queue=_MAX_WAITING,
            # What is compressed may be large in memory; most of a frame is hashes and signatures.
            compression=None,
            proxy=None,
            open_timeout=_OPEN_SECONDS,
            close_timeout=_TICK_SECONDS,
        ) as connection:
            yield None
            while not stop.is_set():
                try:
                    data = connection.recv(timeout=_TICK_SECONDS)
                except TimeoutError:
                    # After a refusal of ours (a message is too long) it would wait for a ping.
                    if connection.state is not State.OPEN:
                        raise StreamBroken("it has ended") from None
                    yield None
                    continue
                if isinstance(data, str):
                    raise StreamBroken("it sends text")
                yield data
    except (OSError, refusal) as error:
        raise StreamBroken(str(error) or type(error).__name__) from error


def check_library() -> None:
    """Raise MethodNotImplemented if the extra is not installed."""
    _library()


def _library() -> tuple[Any, type[Exception], Any]:
    try:
        from websockets.exceptions import WebSocketException
        from websockets.protocol import State
        from websockets.sync.client import connect
    except ImportError:
        raise MethodNotImplemented(
            "Following a PDS needs websockets: install the extra mirror of aurora_blobs"
        ) from None
    return connect, WebSocketException, State
