"""The clock of a running service. Whatever needs the time is given one; tests give their own."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

log = logging.getLogger(__name__)

# Microseconds by which the clocks of two nodes may differ for a while.
SKEW = 600 * 1_000_000
_TOLD_SKEW = 30 * 1_000_000  # more is told to the operator


def system_clock() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


def moment(microseconds: int | None) -> str | None:
    """*microseconds* since the epoch as ISO 8601, UTC, to the second; None for None."""
    if microseconds is None:
        return None
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat(timespec="seconds")


def date(microseconds: int) -> str:
    """The day of *microseconds* since the epoch, UTC, like ``2026-11-30``."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).date().isoformat()


def parse_datetime(text: str) -> int:
    """Microseconds since the epoch of *text*, ISO 8601, UTC unless it says. Raises ValueError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("a time like 2026-11-30T12:00:00Z, or a day") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1_000_000)


class SharedClock:
    """The clock that *ask* reads, without asking each time: all nodes have that of the database.

    Between two `set` it goes on with the time since this machine was started, which nobody sets.
    """

    def __init__(self, ask: Callable[[], int], local: Callable[[], int] = system_clock) -> None:
        """*ask* and *local*, this machine's own clock, give microseconds since the epoch, UTC."""
        self._ask = ask
        self._local = local
        self._is_told = False
        self.set()

    def __call__(self) -> int:
        """Microseconds since the epoch, UTC."""
        return self._started_at + _uptime()

    def set(self) -> None:
        """Ask again. Raises what *ask* raises."""
        before = _uptime()
        now = self._ask()
        self._started_at = now - (before + _uptime()) // 2
        ahead = self._local() - self()
        if abs(ahead) <= _TOLD_SKEW:
            self._is_told = False
        elif not self._is_told:
            self._is_told = True
            log.warning(
                "this machine's clock is %+d seconds from the database's, which counts",
                ahead // 1_000_000,
            )


def _uptime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
