"""How numbers, times and states look on the pages."""

from datetime import UTC, datetime

from aurora_blobs.cli.progress import amount
from aurora_blobs.clock import date
from aurora_blobs.protocol.cid import shown_cid
from aurora_blobs.services import services

__all__ = ["amount", "cid_text", "count", "date", "lasting", "minute", "plural"]


def cid_text(cid: str) -> str:
    """*cid*, a blob's, in the form of the settings."""
    return shown_cid(cid, services().config.cid_format)


def count(number: int) -> str:
    """*number* with a comma between thousands."""
    return f"{number:,}"


def minute(microseconds: int | None) -> str:
    """*microseconds* since the epoch to the minute, UTC; "never" for None."""
    if microseconds is None:
        return "never"
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M")


def lasting(microseconds: int) -> str:
    """A span of time in its largest unit."""
    seconds = max(microseconds, 0) // 1_000_000
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return plural(seconds // length, unit)
    return plural(seconds, "second")


def plural(number: int, noun: str) -> str:
    """*number* and *noun*, as "1 blob" or "2 blobs"."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"
