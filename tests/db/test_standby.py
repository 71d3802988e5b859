"""A PostgreSQL whose synchronous standby server is away: it keeps each commit waiting for ever."""

import contextlib
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from support.accounts import Account, blob_path, sign_up
from support.cids import cid_in
from support.databases import execute
from support.live_service import becomes
from support.media_samples import jpeg
from support.threads import in_threads

from aurora_blobs.db import row_key
from aurora_blobs.db.postgresql import PostgresqlDatabase
from aurora_blobs.errors import ServiceBusy

pytestmark = pytest.mark.postgresql

HANGING = """
    SELECT pid FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event = 'SyncRep'
"""


@contextlib.contextmanager
def standby_away(url):
    """Around a block: commits wait for a standby that does not come."""
    _set_standbys(url, "SET synchronous_standby_names = 'ghost'")
    try:
        yield
    finally:
        _set_standbys(url, "RESET synchronous_standby_names")


def _set_standbys(url, change):
    execute(url, f"ALTER SYSTEM {change}")
    execute(url, "SELECT pg_reload_conf()")


@pytest.fixture
def nodes(tally, url):
    """``nodes(busy_seconds)`` is a process, as it were, which has 8 connections, 6 for writing."""
    with contextlib.ExitStack() as stack:
        yield lambda busy_seconds=1: stack.enter_context(
            contextlib.closing(
                PostgresqlDatabase(url, durable=True, busy_seconds=busy_seconds, connections=8)
            )
        )


def put(database, name):
    with database.write(keys=(row_key("tally", name),)) as tx:
        tx.run(
            """
            INSERT INTO tally (name, value) VALUES (?, 1)
                ON CONFLICT (name) DO UPDATE SET value = tally.value + 1
            """,
            name,
        )


def put_at_once(database, name):
    database.one_change(keys=(row_key("tally", name),)).all(
        """
        INSERT INTO tally (name, value) VALUES (?, 1)
            ON CONFLICT (name) DO UPDATE SET value = tally.value + 1
        RETURNING value
        """,
        name,
    )


both_ways = pytest.mark.parametrize("write", [put, put_at_once])


def until_refused(write, database, name, counts):
    """Write until it is refused; *counts* what was answered. The seconds that the refusal took."""
    while True:
        began = time.monotonic()
        try:
            write(database, name)
        except ServiceBusy:
            return time.monotonic() - began
        counts[name] += 1


def values(database):
    return dict(database.one_shot().all("SELECT name, value FROM tally"))


@dataclass
class Upload:
    """What came of an upload of *data* by *person*, and in what time."""

    person: Account
    data: bytes
    answer: Any = None
    seconds: float = 0

    def make(self):
        began = time.monotonic()
        self.answer = self.person.upload(self.data)
        self.seconds = time.monotonic() - began
        return self


def upload_until_refused(person):
    """The upload that was refused."""
    contents = (jpeg(f"{person.did} {number}") for number in count())
    while (upload := Upload(person, next(contents)).make()).answer.status_code == 200:
        pass
    return upload


@both_ways
def test_each_writer_is_refused_in_time_and_all_go_on_when_the_standby_is_back(nodes, url, write):
    database = nodes()
    names = [f"writer {number}" for number in range(12)]
    remaining, counts, seconds = iter(names), Counter(), []

    with standby_away(url):
        refused = in_threads(
            lambda: seconds.append(until_refused(write, database, next(remaining), counts)), 12
        )
        began = time.monotonic()
        seen = values(database)
        with pytest.raises(ServiceBusy):
            write(database, "n")
        seconds_at_once = time.monotonic() - began
        [(connections,)] = execute(
            url,
            "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'aurora_blobs'"
            " AND datname = current_database()",
        )
        hanging = execute(url, HANGING)
    assert becomes(lambda: execute(url, HANGING) == [])
    for name in names:
        write(database, name)

    assert refused == []
    assert max(seconds) < 5  # the commit has two at least
    assert seconds_at_once < 1
    assert len(hanging) == 6
    assert connections <= 8 + 1  # that of `tally`
    found = values(database)
    assert seen["n"] == found["n"] == 0
    # A commit that hung has been made since; what was refused while it hung has not.
    more = Counter(found[name] - counts[name] - 1 for name in names)
    assert more == {0: 6, 1: 6}


@both_ways
def test_a_commit_that_stops_waiting_for_the_standby_is_not_acknowledged(nodes, url, write):
    """An operator who ends the wait gets a success from the server, with a warning."""
    database = nodes(busy_seconds=10)
    counts = Counter()

    with standby_away(url):
        seconds = []
        writer = threading.Thread(
            target=lambda: seconds.append(until_refused(write, database, "writer", counts))
        )
        writer.start()
        assert becomes(lambda: execute(url, HANGING))
        execute(url, f"SELECT pg_cancel_backend(pid) FROM ({HANGING}) AS hanging")
        writer.join()

    assert seconds[0] < 9
    assert values(database)["writer"] == counts["writer"] + 1  # on this server alone


def test_a_session_that_is_ended_while_it_waits_for_the_standby_is_no_success(nodes, url):
    database = nodes(busy_seconds=10)
    counts = Counter()

    with standby_away(url):
        seconds = []
        writer = threading.Thread(
            target=lambda: seconds.append(until_refused(put, database, "writer", counts))
        )
        writer.start()
        assert becomes(lambda: execute(url, HANGING))
        execute(url, f"SELECT pg_terminate_backend(pid) FROM ({HANGING}) AS hanging")
        writer.join()

    assert seconds[0] < 9
    assert values(database)["writer"] == counts["writer"] + 1


def test_a_service_refuses_uploads_serves_on_and_says_that_it_is_ill(app, services):
    client = app.test_client()
    people = [sign_up(client, f"person{number}.test") for number in range(3)]
    cid = cid_in(people[0].publish(jpeg("before")).blob)
    remaining, refused = iter(people), []

    def status(path):
        answer = client.get(path)
        answer.close()
        return answer.status_code

    def use():
        refused.append(upload_until_refused(next(remaining).at(app.test_client())))

    with standby_away(services.config.database_url):
        uploads = [threading.Thread(target=use) for _ in people]
        for upload in uploads:
            upload.start()
        assert becomes(lambda: status("/xrpc/_health") == 503, 30)
        assert status(blob_path(people[0].did, cid)) == 200
        for upload in uploads:
            upload.join()
        assert status("/xrpc/_health") == 503
    assert becomes(lambda: status("/xrpc/_health") == 200)
    services.blobs.recover()
    again = [upload.person.blob(upload.data) for upload in refused]
    with services.database.read() as tx:
        entries = [
            tx.one(
                "SELECT COUNT(*) FROM blob_metadata WHERE creator_did = ? AND cid = ?",
                *(upload.person.did, cid_in(blob)),
            )
            for upload, blob in zip(refused, again, strict=True)
        ]

    assert [upload.answer.status_code for upload in refused] == [503] * 3
    assert all("Retry-After" in upload.answer.headers for upload in refused)
    assert max(upload.seconds for upload in refused) < 12
    assert entries == [(1,)] * 3
