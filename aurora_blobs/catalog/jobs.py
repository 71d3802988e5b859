"""Jobs over the whole store: how far one has come, `job`, and what its runs did, `job_run`."""

import json
from dataclasses import dataclass
from typing import Literal, NamedTuple

from aurora_blobs.db import Transaction
from aurora_blobs.logs import printable

Job = Literal["gc", "fsck", "scrub", "backup"]
_KEPT = 10  # runs of a job
MOST_FINDINGS = 100  # of a run that are kept, besides their number; a guess
_MAX_TEXT = 500  # characters of a subject or detail: a name in a store may have 1,024


class Found(NamedTuple):
    """A finding of a run: `subject` is a CID, a DID or a file's name, `detail` words for people."""

    kind: str
    subject: str
    detail: str
    repaired: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """What a run did: the blobs and bytes that it went through, what was wrong, what was mended.

    `found` are the findings, or the first of them.
    """

    blobs: int
    bytes: int
    findings: int
    repaired: int
    found: tuple[Found, ...] = ()


@dataclass(frozen=True, slots=True)
class JobRun:
    """A row of `job_run`; schema.sql says what NULL means. Times are microseconds, sizes bytes."""

    number: int
    started_at: int
    ended_at: int | None
    failure: str | None
    blobs: int | None
    bytes: int | None
    findings: int | None
    repaired: int | None


def find_position(tx: Transaction, job: str) -> str | None:
    """The last CID that *job* has done; None if the job is not under way."""
    row = tx.one("SELECT position FROM job WHERE name = ?", job)
    return None if row is None else row[0]


def save_position(tx: Transaction, job: str, position: str, now: int) -> None:
    """*job* has done everything up to *position*, a CID."""
    tx.run(
        """
        INSERT INTO job (name, position, updated_at)
        VALUES (?, ?, ?)
            ON CONFLICT (name) DO UPDATE
           SET position = excluded.position,
               updated_at = excluded.updated_at
        """,
        job,
        position,
        now,
    )


def finish(tx: Transaction, job: str) -> None:
    """*job* is done; its next run starts from the beginning."""
    tx.run("DELETE FROM job WHERE name = ?", job)


def begin_shards(tx: Transaction, job: str, names: list[str]) -> None:
    """All of *job* is left: the shards *names*, each ``<job>/…``, from their beginning."""
    tx.run("DELETE FROM job WHERE name > ? AND name < ?", f"{job}/", f"{job}0")
    now = tx.now()
    tx.run_each(
        "INSERT INTO job (name, position, updated_at) VALUES (?, '', ?)",
        [(name, now) for name in names],
    )


def shards_left(tx: Transaction, job: str) -> list[tuple[str, str]]:
    """The shards of *job* that are left, by name, each with its position."""
    return [
        (name, position)
        for name, position in tx.all(
            "SELECT name, position FROM job WHERE name > ? AND name < ? ORDER BY name",
            f"{job}/",
            f"{job}0",  # the character after "/"
        )
    ]


def begin_run(tx: Transaction, job: Job, now: int) -> int:
    """Note that a run of *job* has begun, and forget old ones; its number."""
    [(number,)] = tx.all(
        """
        INSERT INTO job_run (job, number, started_at)
        SELECT ?, COALESCE(MAX(number), 0) + 1, ?
          FROM job_run
         WHERE job = ?
        RETURNING number
        """,
        job,
        now,
        job,
    )
    tx.run(
        """
        DELETE FROM job_run
         WHERE job = ? AND number <= ?
           AND number <> COALESCE((SELECT MAX(number) FROM job_run
                                    WHERE job = ? AND ended_at IS NOT NULL AND failure IS NULL), 0)
        """,
        job,
        number - _KEPT,
        job,
    )
    return int(number)


def end_run(
    tx: Transaction, job: Job, number: int, now: int, failure: str | None, counts: Counts
) -> None:
    """Note that the run *number* of *job* has ended; *failure* is None if it came to its end."""
    tx.run(
        """
        UPDATE job_run
           SET ended_at = ?, failure = ?, blobs = ?, bytes = ?, findings = ?, repaired = ?,
               first_findings = ?
         WHERE job = ? AND number = ?
        """,
        now,
        failure,
        counts.blobs,
        counts.bytes,
        counts.findings,
        counts.repaired,
        _as_json(counts.found[:MOST_FINDINGS]),
        job,
        number,
    )


def find_last_run(tx: Transaction, job: Job) -> JobRun | None:
    """The run of *job* that began last."""
    row = tx.one(
        """
        SELECT number, started_at, ended_at, failure, blobs, bytes, findings, repaired
          FROM job_run
         WHERE job = ?
         ORDER BY number DESC
         LIMIT 1
        """,
        job,
    )
    return None if row is None else JobRun(*row)


def find_last_completed(tx: Transaction, job: Job) -> JobRun | None:
    """The last run of *job* that came to its end."""
    row = tx.one(
        """
        SELECT number, started_at, ended_at, failure, blobs, bytes, findings, repaired
          FROM job_run
         WHERE job = ? AND ended_at IS NOT NULL AND failure IS NULL
         ORDER BY number DESC
         LIMIT 1
        """,
        job,
    )
    return None if row is None else JobRun(*row)


def last_found(tx: Transaction, job: Job) -> list[Found]:
    """The first findings of the run of *job* that ended last."""
    row = tx.one(
        """
        SELECT first_findings
          FROM job_run
         WHERE job = ? AND ended_at IS NOT NULL
         ORDER BY number DESC
         LIMIT 1
        """,
        job,
    )
    kept = None if row is None else row[0]
    return [] if kept is None else [Found._make(found) for found in json.loads(kept)]


def _as_json(found: tuple[Found, ...]) -> str | None:
    # A file's name need not be UTF-8.
    cut = [
        (kind, printable(subject)[:_MAX_TEXT], printable(detail)[:_MAX_TEXT], repaired)
        for kind, subject, detail, repaired in found
    ]
    return json.dumps(cut) if cut else None


def runs(tx: Transaction) -> list[tuple[Job, JobRun]]:
    """Every run that is remembered, the newest first."""
    rows = tx.all(
        """
        SELECT job, number, started_at, ended_at, failure, blobs, bytes, findings, repaired
          FROM job_run
         ORDER BY started_at DESC, job, number DESC
        """
    )
    return [(job, JobRun(*columns)) for job, *columns in rows]


def forget_unended(tx: Transaction) -> None:
    """Forget the runs that have no end: of a copy of the database, which was made meanwhile."""
    tx.run("DELETE FROM job_run WHERE ended_at IS NULL")
