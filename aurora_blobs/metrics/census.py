"""What the service holds: blobs, jobs, leases, mirrors, space; asked for at most so often."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from aurora_blobs.catalog import derivatives, inventory, leases, refusals, takedowns, upstream
from aurora_blobs.config import Config, is_postgresql
from aurora_blobs.database_health import DatabaseHealth
from aurora_blobs.db import Database, sqlite_path
from aurora_blobs.errors import STORE_AWAY, DatabaseError
from aurora_blobs.maintenance.job_log import JobLog
from aurora_blobs.metrics import families
from aurora_blobs.metrics.families import Measured
from aurora_blobs.metrics.survey import Survey
from aurora_blobs.storage.base import BlobBackend
from aurora_blobs.storage.health import StoreHealth

_QUICK_SECONDS = 5
_SLOW_SECONDS = 60
# Guesses: a store on the network gives up within a minute, and the largest tables are read by then.
_QUICK_CLAIM_SECONDS = 60
_SLOW_CLAIM_SECONDS = 600
# A scrape waits so long for what it has asked for: what is slower comes with the next one.
_PATIENCE_SECONDS = 0.05


class Census:
    """Asks the parts of a service what they hold.

    What reads whole tables is asked for once a minute at most, all else once in five seconds.
    *clock* gives microseconds since the epoch, UTC.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        backend: BlobBackend,
        *,
        thumbnail_rows: Database,
        database_health: DatabaseHealth,
        store_health: StoreHealth,
        job_log: JobLog,
        clock: Callable[[], int],
    ) -> None:
        self._config = config
        self._database = database
        self._backend = backend
        self._thumbnail_rows = thumbnail_rows
        self._database_health = database_health
        self._store_health = store_health
        self._job_log = job_log
        self._clock = clock
        self._surveys = (
            Survey(self._quick, rest_seconds=_QUICK_SECONDS, claim_seconds=_QUICK_CLAIM_SECONDS),
            Survey(self._slow, rest_seconds=_SLOW_SECONDS, claim_seconds=_SLOW_CLAIM_SECONDS),
        )

    def read(self) -> Iterator[Measured]:
        """What is known. Nothing is waited for longer than a twentieth of a second."""
        end = time.monotonic() + _PATIENCE_SECONDS
        for survey in self._surveys:
            yield from survey.latest(max(0, end - time.monotonic()))

    def _quick(self) -> Iterator[Measured]:
        yield Measured(families.CHECKED, (), self._clock() / 1_000_000)
        folder = self._config.data_folder
        is_there = folder.is_there()
        has_database = self._database_health.works()
        works = {
            "database": has_database,
            "store": self._store_health.works(),
            "data_folder": is_there,
        }
        for part, does in works.items():
            yield Measured(families.UP, (part,), does)
        yield Measured(families.RESERVE, (), self._database.space.is_whole())
        yield from self._free()
        yield Measured(families.SPOOL, (), _bytes_in(folder.spool))
        if has_database:
            yield from self._cache()
            yield from self._leases()
            yield from self._jobs()
            yield from self._mirrors()

    def _free(self) -> Iterator[Measured]:
        places = {"data": self._config.data_dir}
        if not is_postgresql(self._config.database):
            places["database"] = sqlite_path(self._config.database).parent
        for place, path in places.items():
            with suppress(OSError):
                status = os.statvfs(path)
                free = status.f_bavail * status.f_frsize
                yield Measured(families.DISK_FREE, (place,), free)

    def _cache(self) -> Iterator[Measured]:
        with suppress(DatabaseError):  # a file of its own, beside PostgreSQL
            size = derivatives.total_bytes(self._thumbnail_rows.one_shot())
            yield Measured(families.THUMBNAIL_CACHE, (), size)

    def _leases(self) -> Iterator[Measured]:
        with self._database.read() as tx:
            found = leases.all_held(tx)
        counts = Counter(
            (lease.name.partition("/")[0], lease.holder.partition(" ")[0]) for lease in found
        )
        for labels, count in counts.items():
            yield Measured(families.LEASES, labels, count)

    def _jobs(self) -> Iterator[Measured]:
        for status in self._job_log.statuses():
            labels, run = (status.job,), status.completed
            yield Measured(families.JOB_FAILED, labels, status.state in ("failed", "died"))
            if run is not None and run.ended_at is not None:
                yield Measured(families.JOB_SUCCESS, labels, run.ended_at / 1_000_000)
                left = (run.findings or 0) - (run.repaired or 0)
                yield Measured(families.JOB_FINDINGS, labels, left)

    def _mirrors(self) -> Iterator[Measured]:
        for url in self._config.follow:
            with self._database.read() as tx:
                host, asked = upstream.find_host(tx, url), refusals.find_round(tx, url)
            has_alarm = asked is not None and asked.alarm is not None
            yield Measured(families.MIRROR_ALARM, (url,), has_alarm)
            if host is None:
                continue
            if host.seen_at is not None:
                yield Measured(families.MIRROR_SEEN, (url,), host.seen_at / 1_000_000)
            if host.event_at is not None and host.handled_at is not None:
                lag = max(host.handled_at - host.event_at, 0) / 1_000_000
                yield Measured(families.MIRROR_LAG, (url,), lag)

    def _slow(self) -> Iterator[Measured]:
        yield Measured(families.COUNTED, (), self._clock() / 1_000_000)
        with self._database.read() as tx:
            totals = inventory.totals(tx)
            blobs, accounts = takedowns.count(tx)
        for state, (number, size) in totals.holdings.items():
            yield Measured(families.ENTRIES, (state,), number)
            yield Measured(families.ENTRY_BYTES, (state,), size)
        yield Measured(families.BLOBS, (), totals.blobs)
        yield Measured(families.BLOB_BYTES, (), totals.bytes)
        yield Measured(families.BLOBS_WITHOUT_BYTES, (), totals.not_stored)
        yield Measured(families.TAKEDOWNS, ("blob",), blobs)
        yield Measured(families.TAKEDOWNS, ("account",), accounts)
        with suppress(*STORE_AWAY):
            aside = sum(store.count_quarantined() for store in self._backend.stores)
            yield Measured(families.QUARANTINED, (), aside)
        for url in self._config.follow:
            yield from self._mirror(url)

    def _mirror(self, url: str) -> Iterator[Measured]:
        with self._database.read() as tx:
            tally = upstream.tally(tx, url)
            doubtful, hidden = refusals.tally(tx, url)
        accounts = {
            "all": tally.accounts,
            "inactive": tally.inactive,
            "due": tally.due,
            "failing": tally.failing,
        }
        blobs = {
            "missing": tally.wanted,
            "refused": tally.refused,
            "doubtful": doubtful,
            "hidden": hidden,
        }
        for state, number in accounts.items():
            yield Measured(families.MIRROR_ACCOUNTS, (url, state), number)
        for state, number in blobs.items():
            yield Measured(families.MIRROR_BLOBS, (url, state), number)


def _bytes_in(folder: Path) -> int:
    total = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # gone since the folder was listed
                total += entry.stat(follow_symlinks=False).st_size
    return total
