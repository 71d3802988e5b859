"""Uploads and refusals are counted by day."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.accounts import UPLOAD
from support.clock import Clock
from support.media_samples import jpeg
from support.services import services_of

from aurora_blobs.catalog.daily_totals import DAY, DailyTotal
from aurora_blobs.daily_totals import DailyTotals
from aurora_blobs.errors import InsufficientStorage
from aurora_blobs.leases import Guarded

TODAY = Clock()() // DAY * DAY


@pytest.fixture
def written(services):
    """``written()``: what is in the database once it was written."""

    def written():
        services.daily_totals.write()
        return services.daily_totals.last(10)

    return written


def test_uploads_that_are_answered_count_with_their_bytes(alice, written):
    for name in ("cat", "dog", "cat"):
        alice.blob(jpeg(name))

    size = 2 * len(jpeg("cat")) + len(jpeg("dog"))
    assert written() == [DailyTotal(TODAY, 3, size, 0)]


def test_uploads_that_are_refused_count_as_such(client, alice, written):
    assert alice.upload(b"no picture").status_code == 400
    assert alice.upload(bytes(6_000_000)).status_code == 413
    assert client.post(UPLOAD, data=jpeg("cat")).status_code == 401  # nobody's

    assert written() == [DailyTotal(TODAY, 0, 0, 2)]


def test_each_day_has_its_row_the_newest_first(database, clock):
    totals = DailyTotals(database, clock)
    for size, days in ((7, 1), (None, 5), (8, 0)):
        totals.count(size)
        clock.advance(days * 86_400)
    totals.write()

    assert totals.last(2) == totals.last(10)[:2]
    assert totals.last(10) == [
        DailyTotal(TODAY + 6 * DAY, 1, 8, 0),
        DailyTotal(TODAY + DAY, 0, 0, 1),
        DailyTotal(TODAY, 1, 7, 0),
    ]


def test_processes_and_threads_add_up(database, clock):
    parts = [DailyTotals(database, clock) for _ in range(2)]

    def count(number):
        for size in (1, None):
            parts[number % 2].count(size)
        parts[number % 2].write()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(40)))

    assert parts[0].last(10) == [DailyTotal(TODAY, 40, 40, 40)]


def test_what_cannot_be_written_is_written_later(database, clock):
    def refuse():
        raise InsufficientStorage("the disk is full")

    answers = iter([refuse, lambda: None])
    totals = DailyTotals(Guarded(database, lambda tx: next(answers)()), clock)
    totals.count(7)
    totals.write()
    before = totals.last(10)
    totals.count(8)
    totals.write()

    assert before == []
    assert totals.last(10) == [DailyTotal(TODAY, 2, 15, 0)]


def test_a_thread_writes_it_by_and_by(database, clock, monkeypatch):
    monkeypatch.setattr("aurora_blobs.daily_totals.SECONDS", 0.01)
    totals, stop = DailyTotals(database, clock), threading.Event()
    thread = threading.Thread(target=totals.run, args=(stop,))
    thread.start()

    totals.count(7)
    while not totals.last(1):
        stop.wait(0.01)
    stop.set()
    thread.join()

    assert totals.last(1) == [DailyTotal(TODAY, 1, 7, 0)]


def test_the_command_shows_them(app, alice):
    alice.blob(jpeg("cat"))
    services_of(app).daily_totals.write()

    stats = json.loads(app.test_cli_runner().invoke(args=["blobs", "stats", "--json"]).output)

    assert stats["days"] == [
        {"day": "2025-06-15", "uploads": 1, "bytes": len(jpeg("cat")), "refusals": 0}
    ]
