"""Things counted in a window of time: the rows of `usage_counter`."""

from aurora_blobs.db import Transaction


def add(tx: Transaction, name: str, subject: str, now: int, window: int) -> tuple[int, int]:
    """Count one more; how many there are in the window that is open, and when it ends (microseconds).

    *window* is in microseconds. The first count after the end of a window opens the next.
    """
    row = tx.one(
        """
        INSERT INTO usage_counter (name, subject, window_end, used)
        VALUES (?, ?, ?, 1)
            ON CONFLICT (name, subject) DO UPDATE
           SET used = CASE WHEN usage_counter.window_end > ? THEN usage_counter.used + 1 ELSE 1 END,
               window_end = CASE WHEN usage_counter.window_end > ? THEN usage_counter.window_end
                                 ELSE excluded.window_end END
        RETURNING used, window_end
        """,
        name,
        subject,
        now + window,
        now,
        now,
    )
    if row is None:
        raise LookupError(name)
    return row[0], row[1]


def find(tx: Transaction, name: str, subject: str, now: int) -> tuple[int, int] | None:
    """How many there are in the window that is open at *now*, and when it ends; None if none is."""
    row = tx.one(
        """
        SELECT used, window_end
          FROM usage_counter
         WHERE name = ? AND subject = ? AND window_end > ?
        """,
        name,
        subject,
        now,
    )
    return None if row is None else (row[0], row[1])
