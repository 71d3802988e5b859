"""A blob of very many owners is hidden for all of them, in steps that hold nobody up."""

import pytest
from support.accounts import ALICE
from support.commits import Commits
from support.service_core import ServiceCore

from aurora_blobs.accounts.hiding import finish_hiding
from aurora_blobs.catalog import hiding, takedowns
from aurora_blobs.maintenance.fsck import Fsck
from aurora_blobs.maintenance.scrub import Scrub

OWNERS = 250
MOST = 100  # hidden by one transaction


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def commits():
    return Commits()


@pytest.fixture
def core(tmp_path, commits):
    core = ServiceCore(tmp_path / "core", before_commit=commits.hook)
    for number in range(OWNERS):
        core.add_account(f"did:web:{number:03}.test")
        core.upload(b"shared", did=f"did:web:{number:03}.test")
    commits.clear()
    yield core
    core.database.close()


@pytest.fixture
def cid(core):
    return next(iter(core.stored()))


def hidden(commits):
    return [did for transaction in commits.hidden for did, _ in transaction]


def kill(*_):
    raise Killed


def damage(tmp_path, data):
    (stored,) = (tmp_path / "core" / "blobs").glob("??/*")
    stored.chmod(0o600)
    stored.write_bytes(data)


def everybody():
    return [f"did:web:{number:03}.test" for number in range(OWNERS)]


def test_a_takedown_for_everybody_hides_in_steps_and_is_over_when_it_returns(core, commits, cid):
    core.take_down(cid, takedowns.EVERY_ACCOUNT)

    assert hidden(commits) == everybody()
    assert max(map(len, commits.hidden)) <= MOST
    assert max(commits.rows) <= 3  # the takedown, its row in the audit trail, how far it is
    with core.database.read() as tx:
        assert not hiding.is_unfinished(tx)


def test_a_takedown_is_known_before_the_first_owner_is_hidden(core, commits, cid):
    known = []

    def look():
        with core.database.read() as tx:
            known.append(takedowns.find_ref(tx, cid, ALICE))

    commits.after = look

    core.take_down(cid, takedowns.EVERY_ACCOUNT)

    assert set(known) == {"ref"}


@pytest.mark.parametrize("finish", ["start", "collector", "another takedown"])
def test_a_takedown_that_broke_off_is_finished(core, commits, cid, finish):
    commits.after = kill
    with pytest.raises(Killed):
        core.take_down(cid, takedowns.EVERY_ACCOUNT)
    commits.after = lambda: None
    other = core.entry(everybody()[0], core.upload(b"other", did=everybody()[0]).cid)
    ways = {
        "start": core.blobs.recover,
        "collector": lambda: list(core.collector().run()),
        "another takedown": lambda: core.take_down(other.cid, other.did),
    }

    ways[finish]()

    assert set(hidden(commits)) == set(everybody())


def test_a_lost_blob_is_hidden_in_steps(core, commits, cid):
    core.backend.delete(cid)

    core.blobs.mark_lost(cid)
    finish_hiding(core.database)

    assert hidden(commits) == everybody()
    assert max(map(len, commits.hidden)) <= MOST


@pytest.mark.parametrize("data", [b"SHARED", b"short"], ids=["wrong bytes", "wrong size"])
def test_a_blob_of_wrong_bytes_is_hidden_from_all_by_scrub(core, commits, tmp_path, data):
    damage(tmp_path, data)

    job = Scrub(core.database, core.backend, core.clock, dry_run=False, bytes_per_second=0)
    assert [finding.repaired for finding in job.run(lambda size: None)] == [True]

    assert hidden(commits) == everybody()
    assert max(map(len, commits.hidden)) <= MOST


@pytest.mark.parametrize("repair", [False, True])
def test_a_blob_of_wrong_size_is_hidden_from_all_by_fsck(core, commits, tmp_path, repair):
    damage(tmp_path, b"short")

    check = Fsck(core.database, core.backend, core.spool, core.clock, repair=repair)
    assert [finding.repaired for finding in check.run()] == [repair]

    assert hidden(commits) == everybody()
    assert max(map(len, commits.hidden)) <= MOST


def test_two_blobs_are_hidden_one_after_the_other(core, commits, cid):
    for did in everybody():
        core.upload(b"second", did=did)
    commits.clear()
    with core.database.write() as tx:
        for found in core.stored():
            hiding.hide_from_all(tx, found)

    finish_hiding(core.database)

    assert sorted(hidden(commits)) == sorted(everybody() * 2)
