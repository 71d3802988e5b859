"""Local accounts: their rules, sessions and states."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.accounts import ALICE, BOB, CAROL

from aurora_blobs.accounts.manager import AccountManager
from aurora_blobs.auth import passwords
from aurora_blobs.auth.session import TAKENDOWN_SCOPE, SessionTokens
from aurora_blobs.catalog import accounts as catalog
from aurora_blobs.catalog.account_status import find_account_status
from aurora_blobs.config import Config
from aurora_blobs.errors import (
    AccountTakedown,
    AuthenticationRequired,
    BlobServiceError,
    ExpiredToken,
    InvalidRequest,
)

PASSWORD = "correct horse battery"
CONFIG = Config(
    handle_domains=(".test", ".users.test", ".example.com"), service_did="did:web:pds-1.example.com"
)


@pytest.fixture
def tokens(clock):
    return SessionTokens(("0123456789abcdef0123456789abcdef",), CONFIG.service_did, clock)


@pytest.fixture
def accounts(database, tokens, clock):
    return AccountManager(CONFIG, database, tokens, clock)


def create(accounts, handle="alice.test", email="alice@example.com", password=PASSWORD, **more):
    return accounts.create(handle=handle, email=email, password=password, **more)


def log_in(accounts, identifier="alice.test", password=PASSWORD, **more):
    return accounts.log_in(accounts.with_password(identifier, password), **more)


def take_down(database, did):
    with database.write() as tx:
        catalog.take_down(tx, did, 1, "spam")


def test_an_account_is_named_after_its_handle(accounts, clock):
    account = create(accounts, handle="Alice.TEST", email="Alice@Example.COM")

    assert (account.did, account.handle, account.email) == (
        ALICE,
        "alice.test",
        "alice@example.com",
    )
    assert (account.created_at, account.active) == (clock.now, True)
    assert PASSWORD not in account.password_hash
    assert account.password_hash not in repr(account)


@pytest.mark.parametrize(
    "handle",
    [
        "abc.test",
        "a" * 18 + ".test",
        "a-b.test",
        "a--b.test",
        "abc--d.test",
        "xna--b.test",
        "123.test",
        "bob.users.test",
        "bob.example.com",
    ],
)
def test_a_handle_is_one_name_in_front_of_a_domain(accounts, handle):
    assert create(accounts, handle=handle).handle == handle


TWO_HYPHENS = (
    "Invalid characters in handle: no two hyphens are allowed as third and fourth character"
)


@pytest.mark.parametrize(
    ("handle", "error", "message"),
    [
        ("al_ice.test", "InvalidHandle", 'Invalid handle (got "al_ice.test")'),
        ("", "InvalidHandle", 'Invalid handle (got "")'),
        ("alice", "InvalidHandle", 'Invalid handle (got "alice")'),
        ("-alice.test", "InvalidHandle", 'Invalid handle (got "-alice.test")'),
        ("al.test", "InvalidHandle", "Handle too short: 3 characters or more before the domain"),
        (
            "a" * 19 + ".test",
            "InvalidHandle",
            "Handle too long: 18 characters or fewer before the domain",
        ),
        (
            "a.bob.test",
            "InvalidHandle",
            "Invalid characters in handle: no dot is allowed before the domain",
        ),
        (
            "al.users.test",
            "InvalidHandle",
            "Handle too short: 3 characters or more before the domain",
        ),
        (
            "alice.bsky.social",
            "UnsupportedDomain",
            "Not a supported handle domain: handles here end in .test, .users.test, .example.com",
        ),
        ("xn--80ak6aa92e.test", "InvalidHandle", TWO_HYPHENS),
        ("XN--80ak6aa92e.test", "InvalidHandle", TWO_HYPHENS),
        ("ab--c.test", "InvalidHandle", TWO_HYPHENS),
        ("admin.test", "HandleNotAvailable", "Reserved handle: admin.test"),
        ("pds-1.example.com", "HandleNotAvailable", "Reserved handle: pds-1.example.com"),
    ],
)
def test_a_handle_against_the_rules_is_refused_with_the_reason(accounts, handle, error, message):
    with pytest.raises(BlobServiceError) as refusal:
        create(accounts, handle=handle)

    assert (refusal.value.error, refusal.value.status, refusal.value.message) == (
        error,
        400,
        message,
    )


def test_the_operator_may_give_away_a_reserved_name_but_no_look_alike_and_not_the_services_own(
    accounts,
):
    assert create(accounts, handle="admin.test", allow_reserved=True).handle == "admin.test"

    with pytest.raises(BlobServiceError, match="Reserved handle"):
        create(accounts, handle="pds-1.example.com", email="other@example.com", allow_reserved=True)
    with pytest.raises(BlobServiceError, match="no two hyphens"):
        create(accounts, handle="xn--bcher-kva.test", email="c@example.com", allow_reserved=True)


@pytest.mark.parametrize(
    "email",
    [
        "",
        "alice",
        "@example.com",
        "alice@",
        "alice@localhost",
        "a b@example.com",
        "a@b@example.com",
        "a@b..c",
    ],
)
def test_an_email_that_cannot_be_one_is_refused(accounts, email):
    with pytest.raises(InvalidRequest, match="This email address is not supported"):
        create(accounts, email=email)


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("", "Password too short. Minimum length is 8 characters."),
        ("1234567", "Password too short. Minimum length is 8 characters."),
        ("x" * 257, "Password too long. Maximum length is 256 characters."),
    ],
    ids=["empty", "seven characters", "257 characters"],
)
def test_a_password_out_of_bounds_is_refused(accounts, password, message):
    with pytest.raises(BlobServiceError) as refusal:
        create(accounts, password=password)

    assert (refusal.value.error, refusal.value.message) == ("InvalidPassword", message)


@pytest.mark.parametrize(
    ("second", "error", "message"),
    [
        ({"handle": "ALICE.test"}, "HandleNotAvailable", "Handle already taken: alice.test"),
        (
            {"email": "ALICE@example.com"},
            "InvalidRequest",
            "Email already taken: alice@example.com",
        ),
        (
            {"did": ALICE},
            "InvalidRequest",
            "Account already exists: did:web:alice.test",
        ),
    ],
    ids=["handle", "email", "did"],
)
def test_a_taken_handle_email_or_did_is_named(accounts, second, error, message):
    create(accounts)

    with pytest.raises(BlobServiceError) as refusal:
        create(accounts, **({"handle": "bob.test", "email": "bob@example.com"} | second))

    assert (refusal.value.error, refusal.value.message) == (error, message)


def test_an_account_that_brings_its_did_starts_deactivated(accounts, clock):
    account = create(accounts, did=CAROL)

    assert (account.did, account.deactivated_at) == (CAROL, clock.now)
    assert log_in(accounts).account == account


def test_a_handle_is_given_once_when_many_ask_at_once(accounts):
    def attempt(number):
        try:
            return create(accounts, email=f"alice{number}@example.com").did
        except BlobServiceError as error:
            return error.error

    with ThreadPoolExecutor(5) as pool:
        outcomes = list(pool.map(attempt, range(5)))

    assert sorted(outcomes) == ["HandleNotAvailable"] * 4 + [ALICE]


@pytest.mark.parametrize(
    "identifier",
    ["alice.test", "ALICE.test", ALICE, "alice@example.com", "Alice@Example.com"],
)
def test_a_log_in_goes_by_handle_did_or_email(accounts, tokens, identifier):
    account = create(accounts)

    session = log_in(accounts, identifier)

    access, refresh = (
        tokens.verify_access(session.access_token),
        tokens.verify_refresh(session.refresh_token),
    )
    assert session.account == account
    assert (access.did, access.scope) == (account.did, "com.atproto.access")
    assert (refresh.did, refresh.session_id) == (account.did, access.session_id)


@pytest.mark.parametrize(
    ("identifier", "password"),
    [
        ("alice.test", "wrong horse battery"),
        ("alice.test", ""),
        ("alice.test", PASSWORD.upper()),
        ("alice.test", "x" * 100_000),
        ("bob.test", PASSWORD),
        ("bob@example.com", PASSWORD),
        ("did:web:external.test", PASSWORD),
        ("", PASSWORD),
    ],
)
def test_a_failed_log_in_gives_no_reason(accounts, database, identifier, password):
    create(accounts)
    with database.write() as tx:
        catalog.make_external(tx, "did:web:external.test", 0)

    with pytest.raises(AuthenticationRequired) as refusal:
        log_in(accounts, identifier, password)

    assert (refusal.value.status, refusal.value.message) == (401, "Invalid identifier or password")


def test_a_log_in_to_an_unknown_account_costs_a_password_check():
    assert not passwords.is_password("anything", None)

    parameters = passwords.hash_password(PASSWORD).split("$")[:4]
    assert passwords.DUMMY_HASH.split("$")[:4] == parameters


def test_an_account_that_was_taken_down_logs_in_only_to_read(accounts, database, tokens):
    account = create(accounts)
    take_down(database, account.did)

    with pytest.raises(AccountTakedown):
        log_in(accounts)
    with pytest.raises(AuthenticationRequired):
        log_in(accounts, password="wrong password", allow_taken_down=True)
    session = log_in(accounts, allow_taken_down=True)

    access = tokens.verify_access(session.access_token, frozenset({TAKENDOWN_SCOPE}))
    assert (access.did, access.session_id) == (account.did, None)
    with pytest.raises(AccountTakedown):
        accounts.renew(tokens.verify_refresh(session.refresh_token))


def test_a_refresh_token_that_came_with_a_takedown_renews_nothing_ever(accounts, database, tokens):
    account = create(accounts)
    take_down(database, account.did)
    session = log_in(accounts, allow_taken_down=True)
    with database.write() as tx:
        catalog.lift_takedown(tx, account.did)

    with pytest.raises(ExpiredToken):
        accounts.renew(tokens.verify_refresh(session.refresh_token))


def test_a_refresh_token_is_spent_by_its_use(accounts, tokens, clock):
    create(accounts)
    first = log_in(accounts)
    clock.advance(1)

    second = accounts.renew(tokens.verify_refresh(first.refresh_token))

    assert tokens.verify_access(second.access_token).expires_at == clock.now // 1_000_000 + 7200
    with pytest.raises(ExpiredToken) as refusal:
        accounts.renew(tokens.verify_refresh(first.refresh_token))
    assert (refusal.value.status, refusal.value.message) == (400, "Token has been revoked")
    assert accounts.renew(tokens.verify_refresh(second.refresh_token)).account.did == ALICE


def test_a_refresh_token_works_once_when_many_use_it_at_once(accounts, tokens):
    create(accounts)
    claims = tokens.verify_refresh(log_in(accounts).refresh_token)

    def attempt(_):
        try:
            return accounts.renew(claims).account.did
        except ExpiredToken as error:
            return error.error

    with ThreadPoolExecutor(5) as pool:
        outcomes = list(pool.map(attempt, range(5)))

    assert sorted(outcomes) == ["ExpiredToken"] * 4 + [ALICE]


def test_logging_out_ends_one_session_and_no_other(accounts, database, tokens):
    create(accounts)
    here, there = (log_in(accounts) for _ in range(2))
    claims = tokens.verify_refresh(here.refresh_token)

    accounts.log_out(claims)
    accounts.log_out(claims)

    with pytest.raises(ExpiredToken):
        accounts.renew(claims)
    accounts.renew(tokens.verify_refresh(there.refresh_token))
    with database.read() as tx:
        ended, open_still = (
            find_account_status(tx, ALICE, tokens.verify_access(session.access_token).session_id)
            for session in (here, there)
        )
    assert (ended.session, open_still.session) == (False, True)


def test_an_account_that_was_deleted_a_moment_ago_is_not_logged_in(accounts, database):
    account = create(accounts)
    with database.write() as tx:
        catalog.delete(tx, account.did)

    with pytest.raises(InvalidRequest, match="account not found"):
        accounts.open_session(account)


def test_a_session_of_a_deleted_account_is_not_renewed(accounts, database, tokens):
    create(accounts)
    session = log_in(accounts)
    with database.write() as tx:
        catalog.delete(tx, ALICE)

    with pytest.raises(ExpiredToken):
        accounts.renew(tokens.verify_refresh(session.refresh_token))


def test_deactivation_keeps_its_first_date_and_can_be_undone(accounts, clock):
    account = create(accounts)
    accounts.deactivate(account.did)
    since = clock.now

    clock.advance(1)
    accounts.deactivate(account.did)

    assert accounts.find("alice.test").deactivated_at == since
    accounts.activate(account.did)
    assert accounts.find("alice.test") == dataclasses.replace(account, deactivated_at=None)


def test_a_password_is_checked_for_the_account_it_is_for(accounts):
    create(accounts)

    accounts.check_password(ALICE, PASSWORD)
    with pytest.raises(AuthenticationRequired, match="Invalid did or password"):
        accounts.check_password(ALICE, "wrong password")
    with pytest.raises(InvalidRequest, match="account not found"):
        accounts.check_password(BOB, PASSWORD)


def test_a_log_in_with_the_old_password_opens_nothing_once_there_is_a_new_one(accounts):
    create(accounts)
    checked = accounts.with_password("alice.test", PASSWORD)
    accounts.set_password(ALICE, "battery staple")

    with pytest.raises(AuthenticationRequired):
        accounts.log_in(checked)

    assert log_in(accounts, password="battery staple").account.did == ALICE


def test_a_new_password_ends_any_number_of_sessions(accounts, database):
    account = create(accounts)
    for _ in range(1100):
        accounts.open_session(account)

    accounts.set_password(ALICE, "battery staple")

    with database.read() as tx:
        assert tx.all("SELECT id FROM session") == []
