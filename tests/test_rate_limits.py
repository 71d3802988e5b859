"""Rate limits: what they count, for whom, and their headers."""

import pytest
from support.clock import Clock
from support.databases import database_url

from aurora_blobs.catalog import expiry
from aurora_blobs.catalog.tokens import use_token
from aurora_blobs.clock import SKEW
from aurora_blobs.config import Config
from aurora_blobs.config_values import Limit
from aurora_blobs.db import open_database
from aurora_blobs.errors import AuthenticationRequired, RateLimitExceeded
from aurora_blobs.rate_limits import DAY_SECONDS, Limits, count_use

NOW = Clock().now
HERE = "192.0.2.1"


def guess(limits, address=HERE):
    with limits.password_attempt(address):
        raise AuthenticationRequired("wrong")


def test_password_guesses_are_limited_for_a_time(database, clock):
    limits = Limits(Config(failures_per_address=Limit(3, 300)), database, clock)
    for _ in range(3):
        with pytest.raises(AuthenticationRequired):
            guess(limits)

    with pytest.raises(RateLimitExceeded) as caught:
        guess(limits)

    assert caught.value.retry_after == 300
    assert dict(caught.value.headers)["RateLimit-Remaining"] == "0"
    clock.advance(300)
    with pytest.raises(AuthenticationRequired):
        guess(limits)


def test_a_right_password_costs_nothing_and_other_addresses_are_not_stopped(database, clock):
    limits = Limits(Config(failures_per_address=Limit(1, 300)), database, clock)
    for _ in range(5):
        with limits.password_attempt(HERE):
            pass
    with pytest.raises(AuthenticationRequired):
        guess(limits)

    with limits.password_attempt("192.0.2.2"):
        pass
    with pytest.raises(RateLimitExceeded), limits.password_attempt(HERE):
        pass


def test_a_right_guess_over_the_limit_is_refused_like_a_wrong_one(database, clock):
    limits = Limits(Config(failures_per_address=Limit(2, 300)), database, clock)

    with pytest.raises(RateLimitExceeded), limits.password_attempt(HERE):
        for _ in range(2):
            with pytest.raises(AuthenticationRequired):
                guess(limits)


def test_processes_share_the_counters(database, clock, tmp_path):
    config = Config(failures_per_address=Limit(1, 300))
    other = open_database(database_url(tmp_path / "aurora.sqlite3"), durable=False)
    with pytest.raises(AuthenticationRequired):
        guess(Limits(config, database, clock))

    with pytest.raises(RateLimitExceeded):
        guess(Limits(config, other, clock))
    other.close()


def test_sign_ups_are_counted_if_a_setting_says_so(database, clock):
    assert Limits(Config(signups_per_address=None), database, clock).sign_up(HERE) is None
    limits = Limits(Config(signups_per_address=Limit(2, 3600)), database, clock)

    headers = dict(limits.sign_up(HERE).headers())
    limits.sign_up(HERE)

    assert headers["RateLimit-Limit"] == "2"
    assert headers["RateLimit-Remaining"] == "1"
    assert headers["RateLimit-Reset"] == str(NOW // 1_000_000 + 3600)
    assert headers["RateLimit-Policy"] == "2;w=3600"
    with pytest.raises(RateLimitExceeded):
        limits.sign_up(HERE)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", ""])
def test_loopback_addresses_are_not_limited(database, clock, address):
    limits = Limits(Config(signups_per_address=Limit(1, 3600)), database, clock)

    assert [limits.sign_up(address) for _ in range(3)] == [None] * 3


def test_a_refused_use_is_not_counted(database, clock):
    for expected in (1, 2):
        with database.write() as tx:
            assert count_use(tx, "x", "y", Limit(2, 60), NOW).used == expected
    for _ in range(3):
        with pytest.raises(RateLimitExceeded), database.write() as tx:
            count_use(tx, "x", "y", Limit(2, 60), NOW)

    with database.write() as tx:
        assert count_use(tx, "x", "y", Limit(9, 60), NOW).used == 3


def test_expired_counters_are_removed(database):
    for number in range(5):
        with database.write() as tx:
            count_use(tx, "x", str(number), Limit(2, 60), NOW + number)

    with database.write() as tx:
        count_use(tx, "x", "late", Limit(2, 60), NOW + 120_000_000)
        assert tx.all("SELECT subject FROM usage_counter") == [("late",)]


@pytest.mark.parametrize(
    "text, limit", [("0", None), ("30/5m", Limit(30, 300)), ("1000/1d", Limit(1000, 86400))]
)
def test_a_limit_is_a_number_per_time(text, limit):
    assert (
        Config.from_environ({"AURORA_BLOBS_UPLOADS_PER_ADDRESS": text}).uploads_per_address == limit
    )


@pytest.mark.parametrize("text", ["30", "30/", "/5m", "-1/5m", "0/5m", "30/0", "x"])
def test_a_malformed_limit_ends_the_start(text):
    with pytest.raises(ValueError, match="AURORA_BLOBS_UPLOADS_PER_ADDRESS"):
        Config.from_environ({"AURORA_BLOBS_UPLOADS_PER_ADDRESS": text})


@pytest.mark.parametrize(
    "table, add",
    [
        (
            "usage_counter",
            lambda tx, number, now: count_use(tx, "uploads", f"d{number}", Limit(9, 60), now),
        ),
        (
            "seen_token",
            lambda tx, number, now: use_token(
                tx, "did:web:a.test", f"j{number}", now + 60_000_000, now
            ),
        ),
    ],
    ids=["counters", "one-time tokens"],
)
def test_a_request_removes_a_few_expired_rows_and_never_all_at_once(database, table, add):
    later = NOW + 61_000_000 + SKEW
    with database.write() as tx:
        for number in range(100):
            add(tx, number, NOW)
        add(tx, 100, later)
        (left,) = tx.one(f"SELECT COUNT(*) FROM {table}")
        for number in range(101, 150):
            add(tx, number, later)

        assert 80 < left < 100
        assert tx.one(f"SELECT COUNT(*) FROM {table}") == (50,)


def test_an_expired_token_that_is_still_remembered_may_be_used_again(database):
    later = NOW + 61_000_000 + SKEW
    with database.write() as tx:
        for number in range(100):
            use_token(tx, "did:web:a.test", f"j{number}", NOW + 60_000_000, NOW)

        assert not use_token(tx, "did:web:a.test", "j99", NOW + 60_000_000, NOW)
        assert use_token(tx, "did:web:a.test", "j99", later + 60_000_000, later)
        assert not use_token(tx, "did:web:a.test", "j99", later + 60_000_000, later)


@pytest.mark.parametrize("minutes", [-10, 0, 10])
def test_a_token_that_any_node_may_take_for_valid_is_not_used_twice(database, minutes):
    ends_at = NOW + 60_000_000
    ahead = ends_at + minutes * 60_000_000

    with database.write() as tx:
        assert use_token(tx, "did:web:a.test", "j", ends_at, NOW)
        expiry.forget_tokens(tx, ahead, 100)
        assert not use_token(tx, "did:web:a.test", "j", ends_at, ahead)
        assert not use_token(tx, "did:web:a.test", "j", ends_at, NOW)


def test_no_window_lasts_longer_than_it_can_after_the_clock_was_ahead(database, clock):
    limits = Limits(Config(failures_per_address=Limit(2, 300)), database, clock)
    clock.advance(10 * 365 * DAY_SECONDS)
    for _ in range(2):
        with pytest.raises(AuthenticationRequired):
            guess(limits)
    clock.advance(-10 * 365 * DAY_SECONDS)

    for _ in range(2):
        with pytest.raises(AuthenticationRequired):
            guess(limits)
    with pytest.raises(RateLimitExceeded) as caught:
        guess(limits)

    assert caught.value.retry_after == 300
