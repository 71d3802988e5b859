"""How far a mirror is: for each PDS, what was heard of it and what is here of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from aurora_blobs.catalog import upstream
from aurora_blobs.catalog.upstream import Host, Tally
from aurora_blobs.db import Database


@dataclass(frozen=True, slots=True)
class HostStatus:
    """One PDS. `lag_seconds` is what its last event took until it was handled, None before one."""

    host: Host
    lag_seconds: float | None
    tally: Tally


def statuses(database: Database, urls: tuple[str, ...]) -> Iterator[HostStatus]:
    """The status of each PDS of *urls*."""
    for url in urls:
        with database.read() as tx:
            host = upstream.find_host(tx, url) or Host(url, None, None, None, None, None)
            tally = upstream.tally(tx, url)
        lag = None
        if host.event_at is not None and host.handled_at is not None:
            lag = max(host.handled_at - host.event_at, 0) / 1_000_000
        yield HostStatus(host, lag, tally)
