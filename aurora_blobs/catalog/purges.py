"""What caches are to be told of, because it was hidden: the rows of `purge`."""

import secrets
from dataclasses import dataclass

from aurora_blobs.db import Transaction

MOST = 10_000  # rows, which each hide counts; what is more is not told. A guess


@dataclass(frozen=True, slots=True)
class Purge:
    """A row of `purge`; schema.sql says what an empty *cid* means."""

    id: int
    did: str
    cid: str
    due_at: int
    tries: int


def add(tx: Transaction, did: str, cid: str, now: int) -> bool:
    """Have caches told that *cid* of *did* is hidden; False if too much is to be told already."""
    return bool(
        tx.run(
            """
            INSERT INTO purge (id, did, cid, due_at, tries)
            SELECT ?, ?, ?, ?, 0
             WHERE (SELECT COUNT(*) FROM (SELECT 1 FROM purge LIMIT ?) AS waiting) < ?
            """,
            secrets.randbits(62),
            did,
            cid,
            now,
            MOST,
            MOST,
        )
    )


def due(tx: Transaction, now: int, limit: int) -> list[Purge]:
    """Up to *limit* rows that are due, the longest due first."""
    rows = tx.all(
        """
        SELECT id, did, cid, due_at, tries
          FROM purge
         WHERE due_at <= ?
         ORDER BY due_at
         LIMIT ?
        """,
        now,
        limit,
    )
    return [Purge(*row) for row in rows]


def claim(tx: Transaction, purge: Purge, due_at: int) -> bool:
    """Count a try of *purge*, and have the next one at *due_at*; False if another has begun one."""
    return bool(
        tx.run(
            "UPDATE purge SET due_at = ?, tries = tries + 1 WHERE id = ? AND due_at = ?",
            due_at,
            purge.id,
            purge.due_at,
        )
    )


def drop(tx: Transaction, purge: Purge) -> None:
    """The caches were told of *purge*, or will not be."""
    tx.run("DELETE FROM purge WHERE id = ?", purge.id)
