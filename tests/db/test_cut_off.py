"""A node that is cut off from PostgreSQL: whoever asks is refused in time."""

import contextlib
import os
import socket
import time
from urllib.parse import quote

import pytest
from support.round_trips import RoundTrips
from support.tally import add, value
from support.threads import in_threads

from aurora_blobs.db import row_key
from aurora_blobs.db.postgresql import PostgresqlDatabase
from aurora_blobs.errors import ServiceBusy

pytestmark = pytest.mark.postgresql

USES = {
    "read": value,
    "write": add,
    "one shot": lambda database: database.one_shot().one("SELECT value FROM tally"),
    "one change": lambda database: database.one_change(keys=(row_key("tally", "n"),)).one(
        "UPDATE tally SET value = value + 1 RETURNING value"
    ),
}


@pytest.fixture
def opened():
    """``opened(url, busy_seconds)`` is a process, as it were, which has four connections."""
    with contextlib.ExitStack() as stack:
        yield lambda url, busy_seconds: stack.enter_context(
            contextlib.closing(
                PostgresqlDatabase(url, durable=False, busy_seconds=busy_seconds, connections=4)
            )
        )


@pytest.fixture
def between(tally, url, tmp_path):
    """What is between the service and the database of `tally`, and the URL by way of it."""
    trips = RoundTrips(tmp_path, os.environ["TEST_POSTGRESQL_FOLDER"])
    name = url.partition("?")[0]
    yield trips, f"{name}?host={quote(str(tmp_path), safe='')}&user=postgres"
    trips.close()


@pytest.fixture
def swallower():
    """The port of a listener that takes no more connections: it leaves their first packets out."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port


def refusals(use, database, count):
    """The seconds after which each of *count* users at once was refused."""
    seconds = []

    def ask():
        began = time.monotonic()
        with pytest.raises(ServiceBusy) as refusal:
            use(database)
        assert refusal.value.retry_after > 0
        seconds.append(time.monotonic() - began)

    assert in_threads(ask, count) == []
    return seconds


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("uses_before", [0, 1], ids=["at once", "with a connection of before"])
def test_who_asks_a_database_of_which_nothing_is_heard_is_refused_in_time(
    between, opened, use, uses_before
):
    trips, url = between
    database = opened(url, busy_seconds=2)
    for _ in range(uses_before):
        use(database)
    trips.attentive.clear()

    seconds = refusals(use, database, 12)
    trips.attentive.set()
    use(database)

    assert max(seconds) < 2 + 2 + 1  # a connection that is begun has two at least
    assert value(database) >= 0


def test_who_asks_a_server_that_takes_no_connection_is_refused_in_time(opened, swallower):
    database = opened(f"postgresql://me:geheim@127.0.0.1:{swallower}/db", busy_seconds=3)

    for use in USES.values():
        assert max(refusals(use, database, 12)) < 3 + 1
