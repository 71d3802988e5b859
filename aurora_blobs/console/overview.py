"""The first page: what the store holds, who holds most, how the jobs, the disk and mirrors are."""

import shutil
from dataclasses import dataclass

from flask import Response, current_app, request

from aurora_blobs.catalog.inventory import Totals
from aurora_blobs.console.frame import page
from aurora_blobs.console.plots import DAYS, HEIGHT, WIDTH, plot
from aurora_blobs.maintenance.job_log import JobStatus
from aurora_blobs.mirror.status import statuses
from aurora_blobs.services import Services, services

_LARGEST = 10  # accounts
_GOOD_FOR = 60_000_000  # microseconds
# Entries that are counted without being asked to: in 1 s. A million takes 7 s of CPU (measured).
_COUNTED_AT_ONCE = 100_000
_COUNTED = "aurora_blobs.console.counted"


@dataclass(frozen=True, slots=True)
class _Counted:
    """What reads whole tables, as it was at *counted_at* (microseconds since the epoch)."""

    totals: Totals
    counted_at: int


def overview() -> Response:
    """The page. Counts are up to a minute old, of a large store as old as the last time that
    somebody wanted them new."""
    parts = services()
    accounts = parts.accounts.sums()
    counted = _counted(parts, accounts.blob_count, is_new="new" in request.args)
    jobs = parts.job_log.statuses()
    mirrors = list(statuses(parts.database, parts.config.follow))
    now, days = parts.clock(), parts.daily_totals.last(DAYS)
    return page(
        "overview.html",
        counted=counted,
        held=None if counted is None else _all(counted.totals),
        largest=parts.accounts.largest(_LARGEST),
        accounts=accounts,
        jobs=jobs,
        now=now,
        days=days,
        plots={
            "uploads": plot(days, now, lambda day: day.uploads),
            "bytes": plot(days, now, lambda day: day.bytes),
            "refusals": plot(days, now, lambda day: day.refusals),
        },
        width=WIDTH,
        height=HEIGHT,
        disk=shutil.disk_usage(parts.config.data_dir),
        data_dir=parts.config.data_dir,
        quota=parts.config.quota,
        mirror_statuses=mirrors,
        alarms=_alarms(parts, counted, jobs, mirrors),
    )


def _counted(parts: Services, entries: int, *, is_new: bool) -> _Counted | None:
    """The last count of this process, or a new one; None where nobody has wanted that of a large
    store, of so many *entries*."""
    found: _Counted | None = current_app.extensions.get(_COUNTED)
    now = parts.clock()
    if not is_new:
        if found is not None and 0 <= now - found.counted_at < _GOOD_FOR:
            return found
        if entries > _COUNTED_AT_ONCE:
            return found
    found = _Counted(parts.blobs.totals(), now)
    current_app.extensions[_COUNTED] = found
    return found


def _all(totals: Totals) -> tuple[int, int]:
    """The entries of every state, and their bytes."""
    numbers, sizes = zip(*totals.holdings.values(), strict=True)
    return sum(numbers), sum(sizes)


def _alarms(
    parts: Services,
    counted: _Counted | None,
    jobs: list[JobStatus],
    mirrors: list[dict[str, object]],
) -> list[str]:
    """What somebody should look at, in sentences."""
    found = []
    if not parts.store_health.works():
        found.append("The blob store does not answer.")
    if not parts.database.space.is_whole():
        found.append("The disk is full: nothing can be added until there is space.")
    if counted is not None and counted.totals.holdings["missing"][0]:
        missing, _ = counted.totals.holdings["missing"]
        found.append(f"Bytes of held blobs are lost: {missing} are missing.")
    now = parts.clock()
    for status in jobs:
        if status.state in ("died", "failed", "findings"):
            found.append(f"The last run of {status.job} {_ENDS[status.state]}.")
        if status.is_late(now):
            found.append(f"{status.job} is late.")
    found += [f"{mirror['host']}: {mirror['alarm']}" for mirror in mirrors if mirror["alarm"]]
    return found


_ENDS = {"died": "died", "failed": "failed", "findings": "found something wrong"}
