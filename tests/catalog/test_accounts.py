import pytest
from support.accounts import ALICE, BOB

from aurora_blobs.catalog import accounts, sessions, takedowns
from aurora_blobs.catalog.account_status import find_account_status

NOW = 1_700_000_000_000_000


@pytest.fixture
def tx(database):
    with database.write() as tx:
        yield tx


def create(tx, did=ALICE, handle="alice.test", email="alice@example.com"):
    return accounts.create(tx, did, handle=handle, email=email, password_hash="hash", now=NOW)


def session(jti="one"):
    return sessions.Session(
        id="s1", did=ALICE, refresh_jti=jti, created_at=NOW, expires_at=NOW + 90
    )


def test_an_account_is_found_by_each_of_its_names(tx):
    create(tx)

    found = accounts.find(tx, ALICE)

    assert found is not None and found.active
    assert (found.handle, found.email, found.created_at) == ("alice.test", "alice@example.com", NOW)
    assert (
        found
        == accounts.find_by_handle(tx, "alice.test")
        == accounts.find_by_email(tx, "alice@example.com")
    )
    assert found == accounts.find_by_name(tx, ALICE) == accounts.find_by_name(tx, "Alice.TEST")
    assert accounts.find_by_name(tx, "bob.test") is None


@pytest.mark.parametrize(
    "other",
    [
        {"did": ALICE, "handle": "bob.test", "email": "bob@example.com"},
        {"did": BOB, "handle": "alice.test", "email": "bob@example.com"},
        {"did": BOB, "handle": "bob.test", "email": "alice@example.com"},
    ],
    ids=["same did", "same handle", "same email"],
)
def test_a_name_belongs_to_one_account(tx, other):
    assert create(tx)

    assert not create(tx, **other)
    assert len(accounts.page(tx, "", 10)) == 1


def test_an_external_account_is_made_once_and_keeps_what_it_has(tx):
    assert accounts.make_external(tx, ALICE, NOW)
    accounts.set_quota(tx, ALICE, 1000)

    assert not accounts.make_external(tx, ALICE, NOW + 1)

    found = accounts.find(tx, ALICE)
    assert (found.handle, found.created_at, found.quota_bytes) == (None, NOW, 1000)


def test_pages_follow_each_other(tx):
    dids = [f"did:web:user{number}.test" for number in range(5)]
    for did in dids:
        accounts.make_external(tx, did, NOW)

    first = accounts.page(tx, "", 2)
    rest = accounts.page(tx, first[-1].did, 10)

    assert [account.did for account in first + rest] == dids


def test_states_are_set_and_cleared(tx):
    create(tx)

    accounts.set_deactivated(tx, ALICE, NOW)
    accounts.take_down(tx, ALICE, NOW, "spam")
    both = accounts.find(tx, ALICE)
    accounts.set_deactivated(tx, ALICE, None)
    accounts.lift_takedown(tx, ALICE)

    assert (both.deactivated_at, both.takedown_at, both.takedown_ref, both.active) == (
        NOW,
        NOW,
        "spam",
        False,
    )
    assert accounts.find(tx, ALICE).active


def test_a_change_of_an_unknown_account_reports_it(tx):
    assert not accounts.set_deactivated(tx, ALICE, NOW)
    assert not accounts.take_down(tx, ALICE, NOW, "spam")
    assert not accounts.set_quota(tx, ALICE, 1)
    assert not accounts.set_uploads_per_day(tx, ALICE, 1)
    assert not accounts.delete(tx, ALICE)
    assert not accounts.begin_deletion(tx, ALICE, 1)


def test_a_refresh_token_is_good_once(tx):
    create(tx)
    sessions.add(tx, session())

    assert sessions.rotate(tx, "s1", "one", "two", NOW + 180)
    assert not sessions.rotate(tx, "s1", "one", "three", NOW + 180)

    assert sessions.rotate(tx, "s1", "two", "three", NOW + 180)


def test_an_ended_session_is_gone(tx):
    create(tx)
    sessions.add(tx, session())

    assert sessions.end(tx, "s1")
    assert not sessions.end(tx, "s1")
    assert not find_account_status(tx, ALICE, "s1").session
    assert not sessions.rotate(tx, "s1", "one", "two", NOW)


def test_deleting_an_account_takes_its_rows_along(tx):
    create(tx)
    sessions.add(tx, session())

    assert accounts.delete(tx, ALICE)

    assert accounts.find(tx, ALICE) is None
    assert not sessions.end(tx, "s1")
    assert accounts.counts(tx, ALICE) == accounts.Counts(
        records=0, expected_blobs=0, imported_blobs=0
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda tx: accounts.set_deactivated(tx, ALICE, None),
        lambda tx: accounts.lift_takedown(tx, ALICE),
        lambda tx: accounts.begin_deletion(tx, ALICE, NOW),
        lambda tx: takedowns.lift(tx, "cid", ALICE),
    ],
    ids=["activation", "lifting", "deletion", "lifting of a blob's"],
)
def test_what_others_act_on_for_good_keeps_them_out(tx, change):
    create(tx)

    change(tx)

    assert tx.keeps_others_out
