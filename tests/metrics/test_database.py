"""Transactions are counted, and what the database fails to do; not what fails inside of them."""

from contextlib import contextmanager

import pytest

from aurora_blobs.db import WrappedDatabase
from aurora_blobs.db.seam import OneChange
from aurora_blobs.errors import DatabaseError, QuotaExceeded, ServiceBusy
from aurora_blobs.metrics.database import MeteredDatabase
from aurora_blobs.metrics.families import DATABASE, DATABASE_ERRORS, DATABASE_WAITS
from aurora_blobs.metrics.meter import Meter
from aurora_blobs.server.shared_counts import MOST_NOTED

ONE_ROW = "SELECT COUNT(*) FROM account"


@pytest.fixture
def meter():
    return Meter([], parts=1)


@pytest.fixture(params=[False, True], ids=["a file", "a network"])
def measured(request, database, meter):
    return MeteredDatabase(database, meter, has_network=request.param)


def counts(meter, family):
    """How often each of *family* was counted, by its last label."""
    return {
        found.labels[-1]: getattr(found, "counts", (found[2],))[-1]
        for found in meter.read()
        if found.family is family
    }


def test_reads_and_writes_are_counted_with_their_waits(measured, meter):
    with measured.read() as tx:
        assert tx.one(ONE_ROW) == (0,)
    for _ in range(2):
        with measured.write() as tx:
            tx.one(ONE_ROW)

    assert counts(meter, DATABASE) == {"read": 1, "write": 2}
    assert counts(meter, DATABASE_WAITS) == {"read": 1, "write": 2}
    assert counts(meter, DATABASE_ERRORS) == {}


def test_a_change_by_one_statement_is_a_write(measured, meter):
    change = measured.one_change(keys=())
    rows = change.all(
        "INSERT INTO total (name, bytes) VALUES (?, ?) RETURNING bytes", "a test's", 7
    )

    assert isinstance(change, OneChange)
    assert rows == [(7,)]
    assert counts(meter, DATABASE) == {"write": 1}


def test_a_read_of_one_statement_is_counted_where_it_goes_over_a_network(database, meter):
    for has_network in (False, True):
        measured = MeteredDatabase(database, meter, has_network=has_network)
        assert measured.one_shot().one(ONE_ROW) == (0,)
        assert list(measured.one_shot().each(ONE_ROW)) == [(0,)]

    assert counts(meter, DATABASE) == {"read": 2}


def test_what_fails_inside_a_transaction_is_no_failure_of_the_database(measured, meter):
    with pytest.raises(QuotaExceeded), measured.write() as tx:
        tx.run("DELETE FROM total")
        raise QuotaExceeded("no room")

    assert counts(meter, DATABASE_ERRORS) == {}
    assert counts(meter, DATABASE) == {"write": 1}
    with measured.read() as tx:
        assert tx.one("SELECT COUNT(*) FROM total") == (1,)


def test_a_statement_that_the_database_refuses_is_its_failure(measured, meter):
    for transaction in (measured.read, measured.write):
        with pytest.raises(DatabaseError), transaction() as tx:
            tx.one("SELECT nothing FROM nowhere")

    assert counts(meter, DATABASE_ERRORS) == {"DatabaseError": 2}


def test_transactions_that_no_request_makes_wait_to_be_counted_by_the_hundred(measured, meter):
    for _ in range(2 * MOST_NOTED):
        with measured.read():
            pass
        assert len(meter.noted) <= MOST_NOTED

    assert counts(meter, DATABASE) == {"read": 2 * MOST_NOTED}


class Busy(WrappedDatabase):
    """A database in which somebody else writes for long."""

    @contextmanager
    def write(self, *_, **__):
        raise ServiceBusy("somebody else writes")
        yield


def test_who_waits_in_vain_is_counted(database, meter):
    busy = Busy(database)

    with pytest.raises(ServiceBusy), MeteredDatabase(busy, meter, has_network=False).write():
        pass

    assert counts(meter, DATABASE_ERRORS) == {"ServiceBusy": 1}
    assert counts(meter, DATABASE_WAITS) == {}
