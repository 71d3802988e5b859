"""What uploads that died have left, while the store is away and when it is back."""

import threading

import pytest
from support.accounts import ALICE
from support.backends import MemoryBackend
from support.cids import cid_of

from aurora_blobs.errors import BackendUnavailable
from aurora_blobs.server.restarts import until_it_works

DATA = b"of an upload that died"


class AwayStore(MemoryBackend):
    """A network store that has no canary until `is_away` is False. `asked` is set when it was."""

    stat_is_cheap = False

    def __init__(self):
        super().__init__()
        self.is_away = True
        self.asked = threading.Event()
        self.deletions = []

    def probe(self):
        self.asked.set()
        if self.is_away:
            raise BackendUnavailable("the store is away")

    def delete(self, cid):
        self.deletions.append(cid)
        super().delete(cid)


@pytest.fixture
def core(open_core):
    """A core with the bytes and the spooled files of two uploads that died."""
    core = open_core(backend=AwayStore())
    for data in (DATA, DATA + b" too"):
        core.backend.held[cid_of(data)] = data
        (core.spool / f"{cid_of(data)}.0123").write_bytes(data)
    return core


def test_what_a_start_cannot_undo_is_undone_when_the_store_is_back(core):
    until_it_works(core.blobs.recover, "undoing", retry_seconds=0.01)
    assert core.backend.asked.wait(10)
    left = list(core.spool.iterdir())
    (retries,) = [thread for thread in threading.enumerate() if thread.name == "undoing"]

    core.backend.is_away = False
    retries.join(10)

    assert len(left) == 2
    assert list(core.spool.iterdir()) == []
    assert core.backend.held == {}


def test_a_store_that_is_away_is_logged_and_fails_no_start(core, caplog):
    core.blobs.recover_or_leave()

    assert caplog.messages == [
        "what a dead process has left cannot be undone now: the store is away"
    ]
    assert len(list(core.spool.iterdir())) == 2


def test_no_deletion_is_tried_under_the_write_lock_while_the_store_is_away(core):
    core.blobs.recover_or_leave()

    assert core.backend.deletions == []


def test_bytes_that_an_account_holds_outlive_the_spooled_file(core):
    core.backend.is_away = False
    entry = core.upload(DATA, did=ALICE)

    assert core.blobs.recover() == 2

    assert core.read(entry) == DATA
    assert core.stored() == {entry.cid}
    assert list(core.spool.iterdir()) == []
