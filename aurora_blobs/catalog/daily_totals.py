"""What was uploaded and refused on each day: the rows of `daily_total`."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction

DAY = 86_400 * 1_000_000  # microseconds


@dataclass(slots=True)
class DailyTotal:
    """A row of `daily_total`: `day` is its beginning, UTC, in microseconds since the epoch."""

    day: int
    uploads: int
    bytes: int
    refusals: int


def add(tx: Transaction, more: DailyTotal) -> None:
    """Count *more* of its day."""
    tx.run(
        """
        INSERT INTO daily_total (day, uploads, bytes, refusals)
        VALUES (?, ?, ?, ?)
            ON CONFLICT (day) DO UPDATE
           SET uploads = daily_total.uploads + excluded.uploads,
               bytes = daily_total.bytes + excluded.bytes,
               refusals = daily_total.refusals + excluded.refusals
        """,
        more.day,
        more.uploads,
        more.bytes,
        more.refusals,
    )


def last(tx: Transaction, limit: int) -> list[DailyTotal]:
    """The last *limit* days on which anything happened, the newest first."""
    # All days are after 0: with a bound the plan is a search by the key, which tests can tell.
    rows = tx.all(
        """
        SELECT day, uploads, bytes, refusals
          FROM daily_total
         WHERE day > 0
         ORDER BY day DESC
         LIMIT ?
        """,
        limit,
    )
    return [DailyTotal(*row) for row in rows]
