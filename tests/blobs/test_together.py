"""Blobs that are stored together: what is refused is refused alone, and nothing is left of it."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
from support.accounts import ALICE, BOB
from support.backends import MemoryBackend
from support.cids import cid_of
from support.service_core import incoming

from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.errors import (
    BackendUnavailable,
    InsufficientStorage,
    InvalidRequest,
    QuotaExceeded,
    ServiceBusy,
    UploadIncomplete,
)
from aurora_blobs.intake.spool import IN_MEMORY
from aurora_blobs.storage.disk import DiskBackend

MANY = [b"%d" % number for number in range(5)]


def kept(core, given, meanwhile=lambda: None):
    """What comes of *given*, bytes and DID of each; *meanwhile* is called before they are kept."""
    with core.blobs.together() as together:
        for data, did in given:
            together.receive(incoming(data, did=did))
        meanwhile()
        return together.keep()


def of_alice(many):
    return [(data, ALICE) for data in many]


def holds(core, did=ALICE):
    with core.database.read() as tx:
        owned = tx.all("SELECT cid FROM blob_metadata WHERE creator_did = ?", did)
    return {cid for (cid,) in owned}


def is_whole(core, many):
    """Whether *many* are all that is here, each with its bytes, and counted."""
    cids = {cid_of(data) for data in many}
    usage = core.blobs.usage(ALICE)
    return (
        holds(core) == core.stored() == cids
        and all(core.read(core.entry(ALICE, cid_of(data))) == data for data in many)
        and (usage.blob_count, usage.blob_bytes) == (len(many), sum(map(len, many)))
        and list(core.spool.iterdir()) == []
    )


def test_all_are_here_after_one_transaction(open_core):
    commits = []

    @contextmanager
    def counted(tx):
        commits.append(tx)
        yield

    core = open_core(before_commit=counted)
    commits.clear()

    outcomes = kept(core, of_alice(MANY))

    assert [outcome.cid for outcome in outcomes] == [cid_of(data) for data in MANY]
    assert len(commits) == 1
    assert is_whole(core, MANY)


def test_a_large_one_and_the_same_bytes_of_two_accounts_are_here(core):
    large = bytes(IN_MEMORY + 1)

    outcomes = kept(core, [(large, ALICE), (b"of both", ALICE), (b"of both", BOB)])

    assert [(outcome.did, outcome.size) for outcome in outcomes] == [
        (ALICE, len(large)),
        (ALICE, 7),
        (BOB, 7),
    ]
    assert holds(core, BOB) == {cid_of(b"of both")}
    assert is_whole(core, [large, b"of both"])


def test_one_that_is_here_is_told_at_once_and_the_others_are_stored(core):
    before = core.upload(MANY[0])

    with core.blobs.together() as together:
        known = [together.receive(incoming(data)) for data in MANY]
        outcomes = together.keep()

    assert known == [before, None, None, None, None]
    assert len(outcomes) == len(MANY) - 1
    assert is_whole(core, MANY)


def test_what_is_not_kept_leaves_nothing(core):
    with core.blobs.together() as together:
        together.receive(incoming(b"small"))
        together.receive(incoming(bytes(IN_MEMORY + 1)))

    assert is_whole(core, [])


def test_what_does_not_come_whole_is_refused_and_the_others_are_stored(core):
    cut_off = replace(incoming(b"cut off"), declared_size=100)

    with core.blobs.together() as together:
        together.receive(incoming(MANY[0]))
        with pytest.raises(UploadIncomplete):
            together.receive(cut_off)
        together.receive(incoming(MANY[1]))
        outcomes = together.keep()

    assert [type(outcome) for outcome in outcomes] == [Entry, Entry]
    assert is_whole(core, MANY[:2])


def test_what_is_kept_in_two_parts_is_told_in_two_parts(core):
    with core.blobs.together() as together:
        together.receive(incoming(MANY[0]))
        first = together.keep()
        size = together.size
        together.receive(incoming(MANY[1]))
        second = together.keep()

    assert [[outcome.cid for outcome in part] for part in (first, second)] == [
        [cid_of(MANY[0])],
        [cid_of(MANY[1])],
    ]
    assert size == 0
    assert together.keep() == []


def test_one_that_is_taken_down_meanwhile_is_refused_alone(core):
    outcomes = kept(core, of_alice(MANY), lambda: core.take_down(cid_of(MANY[2]), ALICE))

    assert isinstance(outcomes.pop(2), InvalidRequest)
    assert {type(outcome) for outcome in outcomes} == {Entry}
    assert is_whole(core, MANY[:2] + MANY[3:])


def test_those_that_are_over_a_quota_together_are_refused_alone(open_core):
    core = open_core(quota_bytes=3)

    outcomes = kept(core, of_alice(MANY))

    assert [type(outcome) for outcome in outcomes] == [Entry] * 3 + [QuotaExceeded] * 2
    assert is_whole(core, MANY[:3])


class PartlyFull(DiskBackend):
    """A disk that has no room for some bytes."""

    def put_many(self, blobs):
        for blob in blobs:
            if blob.cid == cid_of(MANY[2]):
                raise InsufficientStorage("no space left")
            super().put_many([blob])


def test_one_for_which_the_disk_has_no_room_is_refused_alone(open_core, tmp_path):
    core = open_core(backend=PartlyFull(tmp_path / "blobs", durable=False))

    outcomes = kept(core, of_alice(MANY))

    assert isinstance(outcomes.pop(2), InsufficientStorage)
    assert {type(outcome) for outcome in outcomes} == {Entry}
    assert is_whole(core, MANY[:2] + MANY[3:])


class Broken(DiskBackend):
    """A disk that breaks before it has taken the last one."""

    def put_many(self, blobs):
        super().put_many(blobs[:-1])
        raise BackendUnavailable("the disk is gone")


def test_of_a_store_that_breaks_nothing_is_left(open_core, tmp_path):
    core = open_core(backend=Broken(tmp_path / "blobs", durable=False))

    outcomes = kept(core, of_alice(MANY))

    assert {type(outcome) for outcome in outcomes} == {BackendUnavailable}
    assert is_whole(core, [])


class CollectedStore(MemoryBackend):
    """A network store. A collector takes the row of one while the bytes are on their way."""

    stat_is_cheap = False
    database = None

    def put(self, blob):
        super().put(blob)
        if self.database is not None and blob.cid == cid_of(MANY[2]):
            with self.database.write() as tx:
                tx.run("DELETE FROM blob WHERE cid = ?", blob.cid)
            self.database = None


def test_one_that_is_collected_before_its_row_is_stored_again(open_core):
    core = open_core(backend=CollectedStore())
    core.backend.database = core.database

    outcomes = kept(core, of_alice(MANY))

    assert {type(outcome) for outcome in outcomes} == {Entry}
    assert set(core.backend.held) == {outcome.name for outcome in outcomes}
    assert holds(core) == {cid_of(data) for data in MANY}


def test_where_the_database_is_busy_all_of_it_is_undone_later(open_core):
    busy = []

    @contextmanager
    def committed(tx):
        if busy:
            raise ServiceBusy(busy.pop())
        yield

    core = open_core(before_commit=committed)
    outcomes = kept(core, of_alice(MANY), lambda: busy.append("a stranger has the lock"))
    assert {type(outcome) for outcome in outcomes} == {ServiceBusy}
    assert holds(core) == set()

    core.blobs.recover()

    assert is_whole(core, [])
