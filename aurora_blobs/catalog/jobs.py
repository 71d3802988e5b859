"""How far a job over the whole store has come: the rows of `job`."""

from aurora_blobs.db import Transaction


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
