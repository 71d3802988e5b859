"""A store removes bytes and its answer never comes: no upload that is under way takes them for here."""

from itertools import repeat

import pytest
from support.accounts import ALICE, BOB
from support.backends import MemoryBackend
from support.cids import cid_of
from support.clock import Clock
from support.depot import Depot, incoming, interrupted

from aurora_blobs.blobs.verify import quarantine
from aurora_blobs.catalog import accounts, blobs, inventory
from aurora_blobs.errors import AccountNotFound, BackendTimeout, ServiceBusy
from aurora_blobs.maintenance.collect import Collector
from aurora_blobs.maintenance.fsck import Fsck
from aurora_blobs.storage.disk import DiskBackend

GRACE = 3600
CID = cid_of(b"one")


class Mute(MemoryBackend):
    """A store across a network that does as it is told, and does not say so where bytes are removed."""

    stat_is_cheap = False

    def delete(self, cid):
        super().delete(cid)
        raise BackendTimeout()

    def delete_many(self, cids):
        for cid in cids:
            super().delete(cid)
        raise BackendTimeout()


@pytest.fixture
def depot(tmp_path):
    depot = Depot(tmp_path, clock=Clock(), backend=Mute())
    depot.add_account(ALICE)
    depot.add_account(BOB)
    yield depot
    depot.database.close()


def leave(depot, did):
    """The account goes, what it holds stays."""
    with depot.database.write() as tx:
        accounts.delete(tx, did)


def temporary(depot):
    depot.upload(b"one")
    depot.clock.advance(GRACE + 1)


def unowned(depot):
    temporary(depot)
    leave(depot, ALICE)


def died(depot):
    """Like `unowned`, and the upload left its file."""
    unowned(depot)
    (depot.spool / f"{CID}.0123").write_bytes(b"one")


def wrong(depot):
    temporary(depot)
    depot.backend.held[CID] = b"two"


def collect(depot):
    collector = Collector(
        depot.backend, depot.database, spool=depot.spool, grace_seconds=GRACE, clock=depot.clock
    )
    assert [found.failure for found in collector.run()] == [BackendTimeout().message]


def repair(depot):
    with pytest.raises(BackendTimeout):
        list(Fsck(depot.database, depot.backend, depot.spool, depot.clock, repair=True).run())


def refuse(depot):
    depot.add_account(ALICE)
    with (
        interrupted(depot, [lambda: leave(depot, ALICE)]) as blobs,
        pytest.raises(AccountNotFound),
    ):
        blobs.upload(incoming(b"one"))


def put_aside(depot):
    with depot.database.read() as tx:
        row = inventory.find_row(tx, CID)
    with pytest.raises(BackendTimeout):
        quarantine(depot.database, depot.backend, row, depot.clock)


@pytest.mark.parametrize(
    "before, removal",
    [
        (temporary, collect),
        (unowned, collect),
        (died, lambda depot: depot.blobs.recover()),
        (died, repair),
        (unowned, refuse),
        (temporary, lambda depot: depot.blobs.delete_account(ALICE)),
        (wrong, put_aside),
    ],
    ids=["expired", "nobody's", "start", "fsck", "refused upload", "account", "wrong bytes"],
)
def test_an_upload_sends_again_what_went_without_an_answer(depot, before, removal):
    before(depot)

    with interrupted(depot, [lambda: removal(depot)]) as blobs:
        entry = blobs.upload(incoming(b"one", did=BOB))

    assert depot.read(entry) == b"one"


def collected(depot):
    with depot.database.write() as tx:
        blobs.forget(tx, CID)


@pytest.mark.parametrize(
    "meanwhile, error",
    [(lambda depot: leave(depot, ALICE), AccountNotFound), (collected, ServiceBusy)],
    ids=["refused", "collected each time"],
)
def test_why_an_upload_failed_is_said_though_it_cannot_be_undone(depot, caplog, meanwhile, error):
    often = repeat(lambda: meanwhile(depot))

    with interrupted(depot, often) as blobs, pytest.raises(error):
        blobs.upload(incoming(b"one"))

    assert (
        f"an upload of {CID} failed, and cannot be undone now: Operation timed out" in caplog.text
    )


class Blocked(DiskBackend):
    """*meanwhile* happens once a blob is stored."""

    meanwhile = staticmethod(lambda: None)

    def put(self, blob):
        super().put(blob)
        self.meanwhile()


def test_what_a_disk_does_not_remove_of_a_refused_upload_is_collected_later(tmp_path, caplog):
    def block():
        leave(depot, ALICE)
        path.unlink()
        path.mkdir()

    depot = Depot(tmp_path, backend=Blocked(tmp_path / "blobs", durable=True))
    depot.add_account(ALICE)
    path = tmp_path / "blobs" / depot.backend.path(CID)
    depot.backend.meanwhile = block

    with pytest.raises(AccountNotFound):
        depot.upload(b"one")

    assert [record.getMessage() for record in caplog.records] == [
        f"an upload of {CID} failed, and cannot be undone now: a blob cannot be removed: Is a directory"
    ]
    path.rmdir()
    path.write_bytes(b"one")
    collector = Collector(
        depot.backend, depot.database, spool=depot.spool, grace_seconds=GRACE, clock=depot.clock
    )
    assert [(found.kind, found.failure) for found in collector.run()] == [("spool", None)]
    assert depot.stored() == set()
    assert list(depot.spool.iterdir()) == []
    depot.database.close()
