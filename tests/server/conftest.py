import socket
from collections.abc import Iterator

import pytest

from aurora_blobs.server.client_timeouts import TimeoutSocket


@pytest.fixture
def pair() -> Iterator[tuple[TimeoutSocket, socket.socket]]:
    """A connection as the service has it, and its client's side."""
    server, client = socket.socketpair()
    connection = TimeoutSocket(server)
    with connection, client:
        yield connection, client
