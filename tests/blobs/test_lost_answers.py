"""A store removes bytes without answering: a concurrent upload sends them again."""

from itertools import repeat

import pytest
from support.accounts import ALICE, BOB
from support.backends import MemoryBackend
from support.cids import cid_of
from support.service_core import incoming, interrupted

from aurora_blobs.blobs.verify import quarantine
from aurora_blobs.catalog import accounts, blobs, inventory
from aurora_blobs.errors import AccountNotFound, BackendTimeout, ServiceBusy
from aurora_blobs.maintenance.fsck import Fsck
from aurora_blobs.storage.disk import DiskBackend

GRACE = 3600
CID = cid_of(b"one")


class SilentStore(MemoryBackend):
    """A network store that deletes, but never answers a deletion."""

    stat_is_cheap = False

    def delete(self, cid):
        super().delete(cid)
        raise BackendTimeout()

    def delete_many(self, cids):
        for cid in cids:
            super().delete(cid)
        raise BackendTimeout()


@pytest.fixture
def core(open_core):
    return open_core(backend=SilentStore())


def leave(core, did):
    """Delete the account and leave its blobs."""
    with core.database.write() as tx:
        accounts.delete(tx, did)


def temporary(core):
    entry = core.upload(b"one")
    core.clock.advance(GRACE + 1)
    return entry


def unowned(core):
    temporary(core)
    leave(core, ALICE)


def died(core):
    """Like `unowned`, with the file of a dead upload in the spool."""
    unowned(core)
    (core.spool / f"{CID}.0123").write_bytes(b"one")


def wrong(core):
    core.backend.held[temporary(core).name] = b"two"


def collect(core):
    assert [found.failure for found in core.collector(GRACE).run()] == [BackendTimeout().message]


def repair(core):
    with pytest.raises(BackendTimeout):
        list(Fsck(core.database, core.backend, core.spool, core.clock, repair=True).run())


def start(core):
    with pytest.raises(BackendTimeout):
        core.blobs.recover()


def refuse(core):
    core.add_account(ALICE)
    with (
        interrupted(core, [lambda: leave(core, ALICE)]) as blobs,
        pytest.raises(AccountNotFound),
    ):
        blobs.upload(incoming(b"one"))


def put_aside(core):
    with core.database.read() as tx:
        row = inventory.find_row(tx, CID)
    with pytest.raises(BackendTimeout):
        quarantine(core.database, core.backend, row, core.clock)


@pytest.mark.parametrize(
    "before, removal",
    [
        (temporary, collect),
        (unowned, collect),
        (died, start),
        (died, repair),
        (unowned, refuse),
        (temporary, lambda core: core.blobs.delete_account(ALICE)),
        (wrong, put_aside),
    ],
    ids=["expired", "nobody's", "start", "fsck", "refused upload", "account", "wrong bytes"],
)
def test_an_upload_sends_bytes_again_whose_removal_was_not_answered(core, before, removal):
    before(core)

    with interrupted(core, [lambda: removal(core)]) as blobs:
        entry = blobs.upload(incoming(b"one", did=BOB))

    assert core.read(entry) == b"one"


def collected(core):
    with core.database.write() as tx:
        blobs.forget(tx, CID)


@pytest.mark.parametrize(
    "meanwhile, error",
    [(lambda core: leave(core, ALICE), AccountNotFound), (collected, ServiceBusy)],
    ids=["refused", "collected each time"],
)
def test_the_reason_of_a_failed_upload_is_logged_though_it_cannot_be_undone(
    core, caplog, meanwhile, error
):
    often = repeat(lambda: meanwhile(core))

    with interrupted(core, often) as blobs, pytest.raises(error):
        blobs.upload(incoming(b"one"))

    assert (
        f"an upload of {CID} failed, and cannot be undone now: Operation timed out" in caplog.text
    )


class Blocked(DiskBackend):
    """A disk that calls *meanwhile* after storing a blob."""

    meanwhile = staticmethod(lambda: None)

    def put(self, blob):
        super().put(blob)
        self.meanwhile()


def test_bytes_of_a_refused_upload_that_a_disk_keeps_are_collected_later(
    open_core, tmp_path, caplog
):
    def block():
        leave(core, ALICE)
        path.unlink()
        path.mkdir()

    core = open_core(backend=Blocked(tmp_path / "blobs", durable=True))
    path = tmp_path / "blobs" / core.backend.path(CID)
    core.backend.meanwhile = block

    with pytest.raises(AccountNotFound):
        core.upload(b"one")

    assert [record.getMessage() for record in caplog.records] == [
        f"an upload of {CID} failed, and cannot be undone now: a blob cannot be removed: Is "
        "a directory"
    ]
    path.rmdir()
    path.write_bytes(b"one")
    assert [(found.kind, found.failure) for found in core.collector(GRACE).run()] == [
        ("removal", None),
        ("spool", None),
    ]
    assert core.stored() == set()
    assert list(core.spool.iterdir()) == []
