"""What has to hold where a remover is paused before its bytes go, and its lock is lost meanwhile.

A class of tests inherits `LostLock` and has a fixture `core`, with the accounts ALICE and BOB.
"""

import threading
from contextlib import contextmanager
from copy import copy

import pytest
from support.accounts import ALICE, BOB

from aurora_blobs.blobs.deletion import delete_account, delete_unowned
from aurora_blobs.blobs.verify import quarantine
from aurora_blobs.catalog import blobs, inventory
from aurora_blobs.maintenance.fsck import Fsck, delete_strays

GRACE = 3600


def expired(core, backend, entry):
    core.clock.advance(GRACE + 1)
    list(core.collector(GRACE, backend).run())


def deleted_with_its_account(core, backend, entry):
    delete_account(core.database, backend, ALICE, core.clock, lambda cids: None)


def set_aside(core, backend, entry):
    with core.database.read() as tx:
        row = inventory.find_row(tx, entry.cid)
    quarantine(core.database, backend, row, core.clock)


def _forget(core, entry):
    with core.database.write() as tx:
        blobs.remove_owner(tx, entry.did, entry.cid)
        blobs.forget(tx, entry.cid)


def left_by_a_dead_upload(core, backend, entry):
    _forget(core, entry)
    delete_unowned(core.database, backend, [], core.clock, leftovers=[entry.name])


def a_stray(core, backend, entry):
    _forget(core, entry)
    delete_strays(core.database, backend, [entry.name], core.clock)


def nothing(core):
    """The remover alone is there."""


def a_collector_ends_what_broke_off(core):
    assert "removal" in [found.kind for found in core.collector(GRACE).run()]


def _late(backend):
    """*backend*, whose removals wait for `go_on` after they have set `begun`."""

    class Late(type(backend)):
        begun = threading.Event()
        go_on = threading.Event()

        def delete_many(self, names):
            self.begun.set()
            assert self.go_on.wait(30)
            return super().delete_many(names)

    late = copy(backend)
    late.__class__ = Late
    return late


@contextmanager
def _paused(core, remove, entry):
    """While the block runs, *remove* is about to remove the bytes. It goes on after that."""
    late = _late(core.backend)
    remover = threading.Thread(target=remove, args=(core, late, entry))
    remover.start()
    assert late.begun.wait(30)
    try:
        yield
    finally:
        late.go_on.set()
        remover.join()


class LostLock:
    """A removal that comes late takes nothing that was stored since."""

    @pytest.mark.parametrize("meanwhile", [nothing, a_collector_ends_what_broke_off])
    @pytest.mark.parametrize(
        "remove", [expired, deleted_with_its_account, set_aside, left_by_a_dead_upload, a_stray]
    )
    def test_an_upload_that_was_answered_is_not_lost(self, core, damage, remove, meanwhile):
        entry = core.upload(b"one")
        damage[remove is set_aside](entry)

        with _paused(core, remove, entry):
            meanwhile(core)
            again = core.upload(b"one", did=BOB)

        assert core.read(again) == b"one"
        assert again.name != entry.name
        assert self.findings(core) == []
        assert {stored.name for stored in core.backend.scan()} == {again.name}

    def test_a_blob_that_came_and_went_meanwhile_may_come_again(self, core):
        entry = core.upload(b"one")

        with _paused(core, expired, entry):
            core.upload(b"one", did=BOB)
            delete_account(core.database, core.backend, BOB, core.clock, lambda cids: None)
            again = core.upload(b"one")

        assert core.read(again) == b"one"
        assert {stored.name for stored in core.backend.scan()} == {again.name}

    def findings(self, core):
        return list(Fsck(core.database, core.backend, core.spool, core.clock, repair=False).run())
