"""A deleted account is gone with the first transaction, whatever happens to the others."""

import pytest
from support.accounts import ALICE, BOB, sign_up
from support.car_files import car_of, reference
from support.commits import Commits
from support.service_core import ServiceCore, blob_of
from support.services import services_of

from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.catalog import accounts, sessions
from aurora_blobs.catalog.sessions import Session
from aurora_blobs.errors import (
    AccountNotFound,
    BackendUnavailable,
    BlobServiceError,
    RepoNotFound,
    ServiceBusy,
    SubjectNotFound,
)
from aurora_blobs.maintenance.fsck import Fsck
from aurora_blobs.protocol.car import Repository
from aurora_blobs.storage.disk import DiskBackend

STEPS = 12  # of the deletion of the account below


class Killed(BaseException):
    """The process ends here."""


class Killer:
    """Ends the process after so many commits; None: never."""

    def __init__(self):
        self.left = None

    def __call__(self):
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Killed


@pytest.fixture
def killer():
    return Killer()


@pytest.fixture
def core(tmp_path, killer):
    """Alice has 250 blobs, one of which Bob has too, 2,000 references, a record and a log-in."""
    core = ServiceCore(tmp_path / "core", before_commit=Commits(killer).hook)
    core.add_account(ALICE)
    core.add_account(BOB)
    for number in range(249):
        core.upload(f"{number}".encode())
    shared = core.upload(b"shared")
    core.upload(b"shared", did=BOB)
    names = [reference(f"other {number}".encode()) for number in range(1000)]
    values = {"com.example.a/1": {"files": names}, "com.example.a/2": {"files": names}}
    core.importer.run(Repository(car_of(values)))
    core.write("com.example.b", "1", {"file": blob_of(shared)})
    with core.database.write() as tx:
        sessions.add(tx, Session("1", ALICE, "jti", core.clock(), core.clock() + 10**12))
    yield core
    core.database.close()


def refusal(call, *arguments, **named):
    with pytest.raises(BlobServiceError) as caught:
        call(*arguments, **named)
    return type(caught.value)


def is_here(core):
    with core.database.read() as tx:
        return accounts.find(tx, ALICE) is not None


def left(core):
    """What is left of Alice in each table."""
    with core.database.read() as tx:
        counts = {
            "account": tx.all("SELECT 1 FROM account WHERE did = ?", ALICE),
            "session": tx.all("SELECT 1 FROM session WHERE did = ?", ALICE),
            "record": tx.all("SELECT 1 FROM record WHERE did = ?", ALICE),
            "record_blob": tx.all("SELECT 1 FROM record_blob WHERE did = ?", ALICE),
            "blob_metadata": tx.all("SELECT 1 FROM blob_metadata WHERE creator_did = ?", ALICE),
            "record_usage": tx.all("SELECT 1 FROM record_usage WHERE did = ?", ALICE),
            "account_deletion": tx.all("SELECT 1 FROM account_deletion"),
        }
    return {table: len(rows) for table, rows in counts.items() if rows}


def kill_at(core, killer, step):
    killer.left = step
    with pytest.raises(Killed):
        core.blobs.delete_account(ALICE)
    killer.left = None


def test_a_deletion_has_as_many_steps_as_are_broken_off_below(core, killer):
    killer.left = 1_000

    core.blobs.delete_account(ALICE)

    assert 1_000 - killer.left == STEPS + 1


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_deletion_that_broke_off_is_not_seen_and_is_finished_by_the_collector(core, killer, step):
    cid = next(iter(core.listed(ALICE)))
    shared = core.entry(BOB, core.upload(b"shared", did=BOB).cid)
    kill_at(core, killer, step)

    assert left(core)["account"] == 1
    assert not is_here(core)
    assert refusal(core.blobs.describe, ALICE, cid) is RepoNotFound
    assert refusal(core.blobs.describe, ALICE, shared.cid, viewer=ALICE) is RepoNotFound
    assert refusal(core.blobs.describe, ALICE, shared.cid, admin=True) is RepoNotFound
    assert refusal(core.repos.find, ALICE) is RepoNotFound
    assert refusal(core.upload, b"new") is AccountNotFound
    assert refusal(core.write, "com.example.a", "3", {}) is RepoNotFound
    assert refusal(core.importer.run, Repository(car_of({}))) is RepoNotFound
    assert refusal(core.add_account, ALICE) is ServiceBusy
    assert core.read(shared) == b"shared"

    assert ("account", ALICE) in [(found.kind, found.did) for found in core.collector(10**6).run()]

    assert left(core) == {}
    assert core.read(shared) == b"shared"
    assert core.stored() == {shared.cid}
    check = Fsck(core.database, core.backend, core.spool, core.clock, repair=False)
    assert list(check.run()) == []
    core.add_account(ALICE)
    assert is_here(core)
    assert core.listed(ALICE) == core.keys(ALICE) == list(core.blobs.entries(ALICE)) == []


def test_a_dry_run_names_a_deletion_that_broke_off_and_leaves_it(core, killer):
    kill_at(core, killer, 3)
    before = left(core)

    found = list(core.collector(10**6).run(dry_run=True))

    assert [(one.kind, one.did, one.reason) for one in found] == [
        ("account", ALICE, "its deletion broke off")
    ]
    assert left(core) == before


def test_two_may_finish_a_deletion_at_the_same_time(core, killer):
    """The other one does all of it while the first is between two steps."""
    done = []

    def meanwhile():
        done.append(True)
        killer.left = None
        list(core.collector(10**6).run())

    class Once(Killer):
        def __call__(self):
            if not done:
                meanwhile()

    killer.__class__ = Once

    core.blobs.delete_account(ALICE)

    assert left(core) == {}


def test_a_deletion_asked_for_again_finishes_the_first(core, killer):
    kill_at(core, killer, 2)

    core.blobs.delete_account(ALICE)

    assert left(core) == {}


class Away(DiskBackend):
    """A store that is away: how often it was asked."""

    asked = 0

    def delete_many(self, cids):
        self.asked += 1
        raise BackendUnavailable("away")


def test_an_account_goes_while_the_store_is_away_and_its_bytes_go_later(core, caplog):
    store = core.backend
    away = Away(store.root, durable=False)
    core.blobs.backend = away

    core.blobs.delete_account(ALICE)

    assert left(core) == {}
    assert away.asked == 1
    assert "is deleted, not all of its bytes are" in caplog.text
    core.clock.advance(2 * 10**6)
    list(core.collector(10**6).run())
    assert {entry.cid for entry in core.blobs.entries(BOB)} == set()
    assert core.stored() == set()


def test_who_is_deleted_has_his_name_free_at_once(open_app):
    """The handle and the email go with the first transaction."""
    app = open_app()
    sign_up(app.test_client(), "alice.test")
    services = services_of(app)
    with services.database.write() as tx:
        assert accounts.begin_deletion(tx, ALICE, 1)

    assert services.accounts.find("alice.test") is None
    answer = app.test_client().post(
        "/xrpc/com.atproto.server.createAccount",
        json={
            "handle": "alice.test",
            "email": "alice.test@example.com",
            "password": "correct horse",
        },
    )
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json["message"] == "An account of this DID is being deleted, please try again."


@pytest.mark.parametrize("step", [1, 5, STEPS])
def test_a_takedown_outlives_a_deletion_that_broke_off_and_can_be_lifted_meanwhile(
    core, killer, step
):
    core.take_down(None, ALICE, "spam")
    kill_at(core, killer, step)

    assert core.moderation.status(Subject(ALICE, None))["takedown"] == {
        "applied": True,
        "ref": "spam",
    }
    assert core.lift(None, ALICE)
    list(core.collector(10**6).run())

    assert refusal(core.moderation.status, Subject(ALICE, None)) is SubjectNotFound


def test_a_takedown_is_remembered_by_a_deletion_that_the_collector_finishes(core, killer):
    core.take_down(None, ALICE, "spam")
    kill_at(core, killer, 2)

    list(core.collector(10**6).run())

    assert core.moderation.status(Subject(ALICE, None))["takedown"]["applied"]
