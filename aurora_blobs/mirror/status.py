"""How far a mirror is: for each PDS, what was heard of it and what is here of it."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from aurora_blobs.catalog import refusals, upstream
from aurora_blobs.catalog.upstream import Host
from aurora_blobs.clock import moment
from aurora_blobs.db import Database


def statuses(database: Database, urls: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The status of each PDS of *urls*, as JSON.

    ``lagSeconds`` is what the last event took until it was handled here. Without one it is None, as
    are times before anything has happened.
    """
    for url in urls:
        with database.read() as tx:
            host = upstream.find_host(tx, url) or Host(url, None, None, None, None, None)
            tally = upstream.tally(tx, url)
            doubtful, hidden = refusals.tally(tx, url)
            asked = refusals.find_round(tx, url)
        lag = None
        if host.event_at is not None and host.handled_at is not None:
            lag = max(host.handled_at - host.event_at, 0) / 1_000_000
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
