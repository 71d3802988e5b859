"""A store is this database's by its mark: who gets one, who is believed, and who never is."""

import shutil
from functools import partial

import pytest
from support.accounts import ALICE
from support.backends import MemoryBackend
from support.cids import cid_of
from support.service_core import ServiceCore

from aurora_blobs.blobs.store_marks import (
    adopt_stores,
    check_unclaimed,
    guard_stores,
    hand_over_stores,
)
from aurora_blobs.catalog import stores
from aurora_blobs.errors import BackendUnavailable, StoreNotOurs
from aurora_blobs.storage.disk import DiskBackend
from aurora_blobs.storage.pair import PairBackend

BLOBS = [b"%d" % number for number in range(60)]


@pytest.fixture
def filled(core):
    """A core of before there were marks, with some blobs."""
    for data in BLOBS:
        core.upload(data)
    return core


@pytest.fixture
def folder(core):
    return core.backend.root


def opened(core, *others):
    """The core's store as a start finds it, the first of a pair if there are *others*."""
    first = DiskBackend(core.backend.root, durable=False)
    backend = PairBackend(first, *others) if others else first
    guard_stores(core.database, backend, core.clock)
    return backend


def unmounted(folder):
    folder.rename(f"{folder}.away")
    folder.mkdir()


def mounted_again(folder):
    shutil.rmtree(folder)
    shutil.move(f"{folder}.away", folder)


def row(core, kind="disk"):
    with core.database.read() as tx:
        return stores.find(tx, kind)


def test_a_new_store_is_made_and_marked(tmp_path):
    core = ServiceCore(tmp_path / "new", backend=MemoryBackend())
    backend = DiskBackend(tmp_path / "new" / "blobs", durable=False)

    guard_stores(core.database, backend, core.clock)

    backend.confirm()
    assert backend.read_mark() == row(core).mark
    assert len(list(backend.root.glob("??"))) == 256
    core.database.close()


def test_a_mark_is_the_same_at_each_start(filled):
    first = opened(filled).read_mark()

    opened(filled).confirm()

    assert first == opened(filled).read_mark() == row(filled).mark


def test_a_store_of_before_the_mark_is_marked_if_its_blobs_are_there(filled):
    opened(filled).confirm()

    assert row(filled).marked_at is not None


def test_some_lost_blobs_do_not_make_it_another_store(filled):
    for data in BLOBS[:25]:
        filled.backend.delete(cid_of(data))

    opened(filled).confirm()


@pytest.mark.parametrize("left", [0, 10], ids=["none of them", "few of them"])
def test_a_store_of_before_the_mark_is_not_marked_if_its_blobs_are_elsewhere(filled, left):
    for data in BLOBS[left:]:
        filled.backend.delete(cid_of(data))

    backend = opened(filled)

    with pytest.raises(StoreNotOurs, match=f"has {left} of .* blobs"):
        backend.confirm()
    assert backend.read_mark() is None


def test_a_store_that_is_away_is_believed_again_when_it_is_back(filled, folder):
    backend = opened(filled)
    backend.confirm()

    unmounted(folder)
    with pytest.raises(StoreNotOurs, match=r"has no aurora-store.json.* is it mounted"):
        backend.confirm()
    assert list(folder.iterdir()) == []
    mounted_again(folder)

    backend.confirm()
    assert backend.size(cid_of(BLOBS[0])) == 1


def test_a_start_without_the_store_makes_nothing(filled, folder):
    opened(filled)
    unmounted(folder)

    backend = opened(filled)

    assert list(folder.iterdir()) == []
    with pytest.raises(StoreNotOurs):
        backend.size(cid_of(BLOBS[0]))


def test_a_store_that_was_away_at_the_start_is_believed_when_it_comes(filled, folder):
    opened(filled)
    unmounted(folder)
    backend = opened(filled)

    mounted_again(folder)

    backend.confirm()
    assert backend.size(cid_of(BLOBS[0])) == 1


def test_a_store_of_before_the_mark_that_was_away_at_the_start_is_marked_when_it_comes(
    filled, folder
):
    unmounted(folder)
    backend = opened(filled)

    mounted_again(folder)

    backend.confirm()
    assert backend.read_mark() == row(filled).mark


def test_a_store_without_any_blob_may_come_again_empty(core, folder):
    opened(core)
    shutil.rmtree(folder)

    opened(core).confirm()

    assert len(list(folder.glob("??"))) == 256


def test_a_store_without_any_blob_that_goes_while_the_service_runs_is_not_made_anew(core, folder):
    backend = opened(core)
    unmounted(folder)

    with pytest.raises(StoreNotOurs):
        backend.confirm()

    assert list(folder.iterdir()) == []


@pytest.fixture
def stranger(tmp_path):
    """The store of another database."""
    other = ServiceCore(tmp_path / "other")
    other.add_account(ALICE)
    other.upload(b"theirs")
    opened(other)
    yield other
    other.database.close()


@pytest.mark.parametrize("held", [0, 60], ids=["with no blobs of its own", "with blobs of its own"])
def test_another_database_s_store_is_not_taken(core, stranger, held):
    for data in BLOBS[:held]:
        core.upload(data)
    before = stranger.backend.read_mark()

    backend = DiskBackend(stranger.backend.root, durable=False)
    guard_stores(core.database, backend, core.clock)

    with pytest.raises(StoreNotOurs, match="is the store of another database"):
        backend.confirm()
    assert stranger.backend.read_mark() == before


@pytest.mark.parametrize("pair", [False, True], ids=["alone", "as a fallback"])
def test_a_store_with_a_mark_wants_its_database(stranger, tmp_path, pair):
    marked = DiskBackend(stranger.backend.root, durable=False)
    new = DiskBackend(tmp_path / "new", durable=False)

    with pytest.raises(StoreNotOurs, match=r"no database at HERE, .* `backup restore FOLDER`"):
        check_unclaimed(PairBackend(new, marked) if pair else marked, "HERE", lambda: False)

    assert not new.root.exists()


def test_a_store_without_a_mark_wants_no_database(tmp_path):
    check_unclaimed(DiskBackend(tmp_path / "new", durable=False), "HERE", lambda: False)

    assert not (tmp_path / "new").exists()


def test_a_database_that_another_process_makes_meanwhile_is_not_missed(stranger):
    answers = iter([False, True])

    check_unclaimed(DiskBackend(stranger.backend.root, durable=False), "HERE", answers.__next__)

    assert next(answers, None) is None


def test_a_store_that_does_not_answer_is_no_reason_against_a_database(tmp_path):
    class Away(DiskBackend):
        def read_mark_bytes(self):
            raise BackendUnavailable("the store is away")

    check_unclaimed(Away(tmp_path, durable=False), "HERE", lambda: False)


adopt = partial(adopt_stores, may_lack=lambda lack: True)


def test_an_adopted_store_is_no_longer_the_other_database_s(core, stranger):
    theirs = opened(stranger)
    mine = DiskBackend(stranger.backend.root, durable=False)
    guard_stores(core.database, mine, core.clock)

    assert adopt(core.database, mine, core.clock) == [mine.place]

    mine.confirm()
    with pytest.raises(StoreNotOurs):
        theirs.confirm()


def test_a_store_that_is_believed_is_not_adopted(filled):
    backend = opened(filled)
    before = backend.read_mark()

    assert adopt(filled.database, backend, filled.clock) == []

    assert backend.read_mark() == before


def test_a_store_that_is_gone_can_be_given_up(filled, folder):
    opened(filled)
    shutil.rmtree(folder)
    backend = opened(filled)

    adopt(filled.database, backend, filled.clock)

    assert backend.size(cid_of(BLOBS[0])) is None


def test_a_running_service_learns_that_its_store_was_adopted(filled):
    running = opened(filled)
    running.confirm()
    filled.backend.write_mark("somebody's")
    with pytest.raises(StoreNotOurs):
        running.confirm()

    adopt(filled.database, opened(filled), filled.clock)

    running.confirm()
    assert running.size(cid_of(b"absent")) is None


def test_a_crash_between_the_row_and_the_mark_is_made_up_for(filled):
    with filled.database.write() as tx:
        stores.expect(tx, "disk", "half done")

    opened(filled).confirm()

    assert opened(filled).read_mark() == row(filled).mark == "half done"


def test_a_crash_between_the_mark_and_its_note_is_made_up_for(filled):
    with filled.database.write() as tx:
        stores.expect(tx, "disk", "half done")
    filled.backend.write_mark("half done")

    opened(filled).confirm()

    assert row(filled).marked_at is not None


def copied_to(store, blobs):
    for data in blobs:
        store.held[cid_of(data)] = data


@pytest.mark.parametrize("there", [0, 10, 60], ids=["begun", "under way", "done"])
def test_a_second_store_is_marked_while_blobs_move_to_it(filled, there):
    second = MemoryBackend()
    copied_to(second, BLOBS[:there])

    pair = opened(filled, second)

    pair.confirm()
    assert second.read_mark() == row(filled, "memory").mark


def test_a_second_store_that_has_what_the_first_lacks_is_marked_too(filled):
    second = MemoryBackend()
    copied_to(second, BLOBS[:10])
    for data in BLOBS[:10]:
        filled.backend.delete(cid_of(data))

    opened(filled, second).confirm()


def test_another_second_store_is_not_taken_for_the_first_one(filled):
    opened(filled, MemoryBackend())

    pair = opened(filled, MemoryBackend())

    with pytest.raises(StoreNotOurs):
        pair.confirm()
    with pytest.raises(StoreNotOurs):
        pair.size(cid_of(b"absent"))
    assert pair.size(cid_of(BLOBS[0])) == 1


def test_a_store_that_the_settings_gave_up_may_come_again_empty(filled):
    opened(filled, MemoryBackend())
    opened(filled)

    opened(filled, MemoryBackend()).confirm()


def test_a_store_that_the_settings_gave_up_is_still_known(filled):
    second = MemoryBackend()
    opened(filled, second)
    opened(filled)

    opened(filled, second).confirm()

    assert second.read_mark() == row(filled, "memory").mark


def test_no_store_is_given_up_for_one_that_is_away(filled, folder):
    opened(filled, MemoryBackend())
    unmounted(folder)

    opened(filled)

    assert row(filled, "memory").marked_at is not None


@pytest.fixture
def restored(tmp_path, filled):
    """The database of a backup."""
    restored = ServiceCore(tmp_path / "restored", backend=MemoryBackend())
    yield restored
    restored.database.close()


def test_a_database_that_takes_another_s_place_knows_its_store(filled, restored):
    backend = opened(filled)
    mark = backend.read_mark()

    hand_over_stores(filled.database, restored.database, backend, filled.clock)

    backend.confirm()
    assert row(restored).mark == row(filled).mark == backend.read_mark() == mark


def test_a_database_that_takes_another_s_place_may_bring_the_store_back(filled, stranger):
    backend = DiskBackend(stranger.backend.root, durable=False)
    guard_stores(filled.database, backend, filled.clock)

    hand_over_stores(filled.database, stranger.database, backend, filled.clock)

    backend.confirm()


def test_a_store_of_neither_database_is_not_handed_over(filled, restored, stranger):
    backend = DiskBackend(stranger.backend.root, durable=False)
    guard_stores(filled.database, backend, filled.clock)

    with pytest.raises(StoreNotOurs):
        hand_over_stores(filled.database, restored.database, backend, filled.clock)
