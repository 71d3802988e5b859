"""How often something may be done: counted in the database, so that one limit holds for all processes together.

A counter is one row, changed in the transaction of what it counts where there is one: what fails is not counted, and
no store but the database is needed for several machines either.
"""

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aurora_blobs.catalog import accounts, counters, expiry
from aurora_blobs.config import Config
from aurora_blobs.config_values import Limit
from aurora_blobs.db import Database, Transaction
from aurora_blobs.errors import AuthenticationRequired, RateLimitExceeded

DAY_SECONDS = 86_400
UPLOADS = "uploads"  # the name under which they are counted
_HEADERS = "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, RateLimit-Policy, Retry-After"


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of *limit* is used in a window that ends at *ends_at* (microseconds)."""

    limit: Limit
    used: int
    ends_at: int

    def headers(self) -> tuple[tuple[str, str], ...]:
        """What tells a client so, as the reference PDS does it."""
        return (
            ("RateLimit-Limit", str(self.limit.count)),
            ("RateLimit-Remaining", str(max(self.limit.count - self.used, 0))),
            ("RateLimit-Reset", str(-(-self.ends_at // 1_000_000))),
            ("RateLimit-Policy", f"{self.limit.count};w={self.limit.seconds}"),
            ("Access-Control-Expose-Headers", _HEADERS),
        )


def spend(tx: Transaction, name: str, subject: str, limit: Limit, now: int) -> Usage:
    """Count one more *name* for *subject* at *now* (microseconds). Raises RateLimitExceeded, which counts nothing."""
    expiry.forget_counters(tx, now, expiry.HANDFUL)
    usage = Usage(limit, *counters.add(tx, name, subject, now, limit.seconds * 1_000_000))
    if usage.used > limit.count:
        raise _exceeded(usage, now)
    return usage


def check(tx: Transaction, name: str, subject: str, limit: Limit, now: int) -> Usage:
    """As `spend`, but nothing is counted: what could be, at *now*. Raises RateLimitExceeded."""
    usage = _usage(tx, name, subject, limit, now)
    if usage.used >= limit.count:
        raise _exceeded(usage, now)
    return usage


def network_of(address: str) -> str:
    """Who is counted for *address*: of IPv6 the /64, which is what one customer has at least."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.IPv6Network((ip, 64), strict=False))
    return str(ip)


def is_local(address: str) -> bool:
    """Whether *address* is this machine's, or a socket's, which has none."""
    return not address or address == "::1" or network_of(address).startswith("127.")


class Limits:
    """The limits per address that the settings make."""

    def __init__(self, config: Config, database: Database, clock: Callable[[], int]) -> None:
        self._uploads = config.uploads_per_address
        self._uploads_per_day = config.uploads_per_day
        self._signups = config.signups_per_address
        self._failures = config.failures_per_address
        self._database = database
        self._clock = clock

    def sign_up(self, address: str) -> Usage | None:
        """Count an account that is about to be made; None if that is not limited. Raises RateLimitExceeded.

        This machine may make as many as it likes.
        """
        if self._signups is None or is_local(address):
            return None
        with self._database.write() as tx:
            return spend(tx, "signups", network_of(address), self._signups, self._clock())

    def uploads(self, did: str, address: str) -> Usage | None:
        """How much of its limits an upload has left, of the one that leaves least; None without a limit by setting."""
        limits = {network_of(address): self._uploads} if self._uploads else {}
        if not limits and not self._uploads_per_day:
            return None
        if self._uploads_per_day:
            with self._database.read() as tx:
                account = accounts.find(tx, did)
            own = account.uploads_per_day if account is not None else None
            per_day = self._uploads_per_day if own is None else own
            limits |= {did: Limit(per_day, DAY_SECONDS)} if per_day else {}
        now = self._clock()
        with self._database.read() as tx:
            found = [_usage(tx, UPLOADS, subject, limit, now) for subject, limit in limits.items()]
        return min(found, key=lambda usage: usage.limit.count - usage.used, default=None)

    @contextmanager
    def password_attempt(self, address: str) -> Iterator[None]:
        """The block checks a password: who failed too often may not try, and a failure in it is counted.

        Raises RateLimitExceeded.
        """
        limit = self._failures
        if limit is None:
            yield
            return
        subject, now = network_of(address), self._clock()
        check(self._database.one_shot(), "failures", subject, limit, now)
        try:
            yield
        except AuthenticationRequired:
            with self._database.write() as tx:
                spend(tx, "failures", subject, limit, now)
            raise
        # Who sends many guesses at once gets them all to this point: of the right one he learns nothing either.
        check(self._database.one_shot(), "failures", subject, limit, now)


def _usage(tx: Transaction, name: str, subject: str, limit: Limit, now: int) -> Usage:
    used, ends_at = counters.find(tx, name, subject, now) or (0, now + limit.seconds * 1_000_000)
    return Usage(limit, used, ends_at)


def _exceeded(usage: Usage, now: int) -> RateLimitExceeded:
    return RateLimitExceeded(-((now - usage.ends_at) // 1_000_000), usage.headers())
