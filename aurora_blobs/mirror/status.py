"""How far a mirror is: for each PDS, what was heard of it and what is here of it."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from aurora_blobs.catalog import refusals, upstream
from aurora_blobs.catalog.upstream import Host
from aurora_blobs.clock import moment
from aurora_blobs.db import Database

_PAGE = 1000  # PDSes of which there is an alarm, in a statement


def with_alarmed(database: Database, follow: tuple[str, ...]) -> Iterator[str]:
    """The PDSes of *follow*, and then those of which there is an alarm."""
    yield from follow
    for host in database.in_pages(refusals.alarmed, "", lambda host: host, limit=_PAGE):
        if host not in follow:
            yield host


def statuses(database: Database, follow: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The status of each PDS of *follow* and of each of which there is an alarm, as JSON.

    ``lagSeconds`` is what the last event took until it was handled here. Without one it is None, as
    are times before anything has happened.
    """
    for url in with_alarmed(database, follow):
        with database.read() as tx:
            host = upstream.find_host(tx, url) or Host(url, None, None, None, None, None)
            tally = upstream.tally(tx, url)
            doubtful, hidden = refusals.tally(tx, url)
            asked = refusals.find_round(tx, url)
        lag = None
        if host.event_at is not None and host.handled_at is not None:
            lag = max(host.handled_at - host.event_at, 0) // 1_000_000
        yield {
            "host": host.host,
            "cursor": host.cursor,
            "lagSeconds": lag,
            "lastEventAt": moment(host.event_at),
            "seenAt": moment(host.seen_at),
            "listedAt": moment(host.listed_at),
            **asdict(tally),
            "doubtful": doubtful,
            "hidden": hidden,
            "alarm": None if asked is None else asked.alarm,
        }
