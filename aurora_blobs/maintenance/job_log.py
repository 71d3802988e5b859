"""Remembers each run of a job: that it began, how it ended, or that its process died."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar, get_args

from aurora_blobs import logs
from aurora_blobs.catalog import jobs, stores
from aurora_blobs.catalog.jobs import Counts, Found, Job, JobRun
from aurora_blobs.db import Database, Transaction, row_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import BlobServiceError, InsufficientStorage, ServiceBusy
from aurora_blobs.intake.stale_files import exclusive, is_locked, stale_files

log = logging.getLogger(__name__)

State = Literal["never", "running", "died", "failed", "findings", "ok"]
_Noted = TypeVar("_Noted")
# Microseconds after the end of the last whole run. The shipped timers start gc each hour, backup
# each night and scrub each month; a run may take as long again. fsck is for who wants it.
_LATE_AFTER: dict[Job, int] = {
    "gc": 3 * 3_600_000_000,
    "backup": 48 * 3_600_000_000,
    "scrub": 62 * 24 * 3_600_000_000,
}


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The last run of *job*, and the last that came to its end; None where there was none.

    *has_store_since* is when there began to be something to do, in microseconds since the epoch.
    """

    job: Job
    state: State
    last: JobRun | None
    completed: JobRun | None
    has_store_since: int | None

    def is_late(self, now: int) -> bool:
        """Whether a timer should have brought the job to its end since the last time it was.

        *now* is in microseconds since the epoch.
        """
        if self.job not in _LATE_AFTER:
            return False
        since = self.has_store_since if self.completed is None else self.completed.ended_at
        return since is not None and now - since > _LATE_AFTER[self.job]


class JobLog:
    """The runs of jobs, in *database*.

    While a run lasts, its process has a lock on a file in *folder*. *clock* gives microseconds
    since the epoch, UTC.
    """

    def __init__(self, database: Database, folder: Path, clock: Callable[[], int]) -> None:
        self._database = database
        self._folder = folder
        self._clock = clock

    @contextmanager
    def run(self, job: Job, counts: Callable[[], Counts]) -> Iterator[None]:
        """Note and log the block as a run of *job*. *counts* is called at its end, whatever it is.

        Where the database cannot be written, the run goes on and is only logged.
        """
        began = time.monotonic()
        logs.event(log, logging.DEBUG, "a job begins", job=job)
        number = self._note(job, lambda tx: jobs.begin_run(tx, job, self._clock()))
        failure: str | None = "broken off"
        with nullcontext() if number is None else self._sign_of_life(job, number):
            try:
                yield
                failure = None
            except (BlobServiceError, OSError, ValueError) as error:
                failure = str(error)
                raise
            finally:
                found, milliseconds = counts(), round(1000 * (time.monotonic() - began))
                if number is not None:
                    self._note(
                        job,
                        partial(
                            jobs.end_run,
                            job=job,
                            number=number,
                            now=self._clock(),
                            failure=failure,
                            counts=found,
                        ),
                    )
                _log_end(job, failure, found, milliseconds)

    def statuses(self) -> list[JobStatus]:
        """How each job is."""
        with self._database.read() as tx:
            since = stores.first_marked_at(tx)
            found = [
                (job, jobs.find_last_run(tx, job), jobs.find_last_completed(tx, job))
                for job in get_args(Job)
            ]
        return [
            JobStatus(job, self._state(job, last), last, completed, since)
            for job, last, completed in found
        ]

    def runs(self) -> list[tuple[Job, JobRun]]:
        """The runs that are remembered, the newest first: some ten of each job."""
        with self._database.read() as tx:
            return jobs.runs(tx)

    def last_findings(self) -> dict[Job, list[Found]]:
        """What was wrong in the last run of each job that has ended: the first hundred of it."""
        with self._database.read() as tx:
            return {job: jobs.last_found(tx, job) for job in get_args(Job)}

    def _state(self, job: Job, last: JobRun | None) -> State:
        if last is None:
            return "never"
        if last.ended_at is None:
            return "running" if self._is_alive(job, last.number) else "died"
        if last.failure is not None:
            return "failed"
        return "findings" if last.findings else "ok"

    def _is_alive(self, job: Job, number: int) -> bool:
        with suppress(OSError):
            return is_locked(self._folder / f"{job}.{number}")
        return False

    def _note(self, job: Job, change: Callable[[Transaction], _Noted]) -> _Noted | None:
        # What frees a full disk must not end because it cannot be noted.
        try:
            with self._database.write(Spend.ALL, keys=(row_key("job_run", job),)) as tx:
                return change(tx)
        except (InsufficientStorage, ServiceBusy) as error:
            log.warning("a run is not noted: %s", error.message)
            return None

    @contextmanager
    def _sign_of_life(self, job: Job, number: int) -> Iterator[None]:
        with ExitStack() as held:
            with suppress(OSError):  # without the file it counts as dead until it ends
                self._folder.mkdir(parents=True, exist_ok=True)
                for path, _ in stale_files(self._folder):
                    path.unlink(missing_ok=True)
                held.enter_context(exclusive(self._folder, f"{job}.{number}"))
            yield


def _log_end(job: Job, failure: str | None, counts: Counts, milliseconds: int) -> None:
    result = "failed" if failure is not None else "findings" if counts.findings else "ok"
    level = logging.INFO if result == "ok" else logging.WARNING
    logs.event(
        log,
        level,
        "a job has ended",
        job=job,
        result=result,
        reason=failure,
        blobs=counts.blobs,
        bytes=counts.bytes,
        findings=counts.findings,
        repaired=counts.repaired,
        ms=milliseconds,
    )
