"""Rate limits, counted in the database, so that all processes and machines share one limit.

A counter is one row. It changes in the transaction of what it counts, where there is one, so that
a failure is not counted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from aurora_blobs.catalog import counters, expiry
from aurora_blobs.config import Config
from aurora_blobs.config_values import Limit
from aurora_blobs.db import Database, Key, Transaction, row_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import (
    AuthenticationRequired,
    BlobServiceError,
    DatabaseError,
    InsufficientStorage,
    RateLimitExceeded,
    ServiceBusy,
)
from aurora_blobs.server.addresses import is_local, network_of

DAY_SECONDS = 86_400
UPLOADS = "uploads"  # the name of their counters


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """*used* of *limit* in a window that ends at *ends_at* (microseconds since the epoch)."""

    limit: Limit
    used: int
    ends_at: int

    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers that tell a client, as on the reference PDS."""
        return (
            ("RateLimit-Limit", str(self.limit.count)),
            ("RateLimit-Remaining", str(max(self.limit.count - self.used, 0))),
            ("RateLimit-Reset", str(-(-self.ends_at // 1_000_000))),
            ("RateLimit-Policy", f"{self.limit.count};w={self.limit.seconds}"),
        )


def count_use(tx: Transaction, name: str, subject: str, limit: Limit, now: int) -> RateLimitState:
    """Count one more *name* for *subject* at *now* (microseconds since the epoch).

    Raises RateLimitExceeded, with which the transaction has to fail, so that nothing is counted.
    """
    expiry.forget_counters(tx, now, expiry.HANDFUL)
    state = RateLimitState(limit, *counters.add(tx, name, subject, now, limit.seconds * 1_000_000))
    if state.used > limit.count:
        raise _exceeded(state, now)
    return state


def check(tx: Transaction, name: str, subject: str, limit: Limit, now: int) -> RateLimitState:
    """As `count_use`, but without counting: raises RateLimitExceeded where that would raise."""
    state = _state(tx, name, subject, limit, now)
    if state.used >= limit.count:
        raise _exceeded(state, now)
    return state


class Limits:
    """The limits of the settings on sign-ups, uploads and wrong passwords."""

    def __init__(self, config: Config, database: Database, clock: Callable[[], int]) -> None:
        self._uploads = config.uploads_per_address
        self._uploads_per_day = config.uploads_per_day
        self._signups = config.signups_per_address
        self._failures = config.failures_per_address
        self._database = database
        self._clock = clock
        self._counts_first = False  # since a failure could not be counted afterwards

    def sign_up(self, address: str) -> RateLimitState | None:
        """Count an account that is about to be made; None without a limit.

        This machine has none. Raises RateLimitExceeded.
        """
        if self._signups is None or is_local(address):
            return None
        return self._count("signups", network_of(address), self._signups, Spend.NOTHING)

    def uploads(self, did: str, address: str, own: int | None) -> RateLimitState | None:
        """The state of the limit that leaves *did* the fewest uploads; None without a limit.

        *own* is its own limit a day, None where the settings' holds.
        """
        limits = {network_of(address): self._uploads} if self._uploads else {}
        per_day = self._uploads_per_day if own is None else own
        if per_day:
            limits[did] = Limit(per_day, DAY_SECONDS)
        if not limits:
            return None
        now = self._clock()
        with self._database.read() as tx:
            states = [_state(tx, UPLOADS, subject, limit, now) for subject, limit in limits.items()]
        return min(states, key=lambda state: state.limit.count - state.used)

    @contextmanager
    def password_attempt(self, address: str) -> Iterator[None]:
        """Around the check of a password or an invite code: a wrong one counts for *address*.

        No password is checked whose failure cannot be counted. Where there is doubt, on a full
        disk, it counts as a failure before the check. Raises RateLimitExceeded after too many of
        them, InsufficientStorage, ServiceBusy.
        """
        limit = self._failures
        if limit is None:
            yield
            return
        subject, now = network_of(address), self._clock()
        check(self._database.one_shot(), "failures", subject, limit, now)
        if self._counts_first or not self._database.space.is_whole():
            with self._counted_first(subject, limit):
                yield
            return
        try:
            yield
        except AuthenticationRequired:
            self._count_failure(subject, limit)
            raise
        # Many guesses at once all pass the first check. This one hides which of them was right.
        check(self._database.one_shot(), "failures", subject, limit, now)

    @contextmanager
    def _counted_first(self, subject: str, limit: Limit) -> Iterator[None]:
        """As `password_attempt`. Attempts that are right count too for as long as they last."""
        self._count_failure(subject, limit)
        is_failure = False
        try:
            yield
        except AuthenticationRequired:
            is_failure = True
            raise
        finally:
            if not is_failure:
                self._take_back(subject)

    def _count(self, name: str, subject: str, limit: Limit, spend: Spend) -> RateLimitState:
        now = self._clock()
        return self._database.transact(
            lambda tx: count_use(tx, name, subject, limit, now), spend, keys=(_key(name, subject),)
        )

    def _count_failure(self, subject: str, limit: Limit) -> None:
        try:
            self._count("failures", subject, limit, Spend.HALF)
        except RateLimitExceeded:
            raise
        except (BlobServiceError, OSError, DatabaseError):
            self._counts_first = True
            raise
        self._counts_first = not self._database.space.is_whole()

    def _take_back(self, subject: str) -> None:
        # What stays counted is one failure too many, which is over with its window.
        with (
            suppress(InsufficientStorage, ServiceBusy),
            self._database.write(Spend.HALF, keys=(_key("failures", subject),)) as tx,
        ):
            counters.take_back(tx, "failures", subject)


def _key(name: str, subject: str) -> Key:
    return row_key("usage_counter", name, subject)


def _state(tx: Transaction, name: str, subject: str, limit: Limit, now: int) -> RateLimitState:
    window = limit.seconds * 1_000_000
    used, ends_at = counters.find(tx, name, subject, now, window) or (0, now + window)
    return RateLimitState(limit, used, ends_at)


def _exceeded(state: RateLimitState, now: int) -> RateLimitExceeded:
    return RateLimitExceeded(-((now - state.ends_at) // 1_000_000), state.headers())
