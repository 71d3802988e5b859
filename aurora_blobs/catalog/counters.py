"""Counters of what happens in a window of time: the rows of `usage_counter`."""

from aurora_blobs.db import Transaction


def add(tx: Transaction, name: str, subject: str, now: int, window: int) -> tuple[int, int]:
    """Count one more; the count in the open window, and the window's end (microseconds).

    *window* is its length in microseconds. The first count after a window's end opens the next. A
    window that ends later than it can was opened by a clock that was ahead, and is over.
    """
    [(used, window_end)] = tx.all(
        """
        INSERT INTO usage_counter (name, subject, window_end, used)
        VALUES (?, ?, ?, 1)
            ON CONFLICT (name, subject) DO UPDATE
           SET used = CASE WHEN usage_counter.window_end > ?
                            AND usage_counter.window_end <= excluded.window_end
                           THEN usage_counter.used + 1 ELSE 1 END,
               window_end = CASE WHEN usage_counter.window_end > ?
                                  AND usage_counter.window_end <= excluded.window_end
                                 THEN usage_counter.window_end ELSE excluded.window_end END
        RETURNING used, window_end
        """,
        name,
        subject,
        now + window,
        now,
        now,
    )
    return used, window_end


def find(tx: Transaction, name: str, subject: str, now: int, window: int) -> tuple[int, int] | None:
    """The count in the window that is open at *now*, and the window's end; None if none is open.

    *window* as in `add`.
    """
    row = tx.one(
        """
        SELECT used, window_end
          FROM usage_counter
         WHERE name = ? AND subject = ? AND window_end > ? AND window_end <= ?
        """,
        name,
        subject,
        now,
        now + window,
    )
    if row is None:
        return None
    used, window_end = row
    return used, window_end


def take_back(tx: Transaction, name: str, subject: str) -> None:
    """Count one less, of what `add` counted before it was known to be none."""
    tx.run(
        "UPDATE usage_counter SET used = used - 1 WHERE name = ? AND subject = ? AND used > 0",
        name,
        subject,
    )
