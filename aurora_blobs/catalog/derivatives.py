"""Every statement on the table `derivative`: the cache of derived pictures, and what could not be derived."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction


@dataclass(frozen=True, slots=True)
class Derivative:
    """`size` counts bytes; `failure` is why there is no picture, None where there is one; `used_at` in microseconds."""

    size: int
    failure: str | None
    used_at: int


def find(tx: Transaction, name: str) -> Derivative | None:
    """What is known of the derivative *name*."""
    row = tx.one(
        """
        SELECT size, failure, used_at
          FROM derivative
         WHERE name = ?
        """,
        name,
    )
    return None if row is None else Derivative(*row)


def put(tx: Transaction, name: str, cid: str, size: int, failure: str | None, now: int) -> None:
    """Note that *name*, derived of *cid*, has *size* bytes or could not be made."""
    tx.run(
        """
        INSERT INTO derivative (name, cid, size, failure, used_at)
        VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (name) DO UPDATE
           SET size = excluded.size, failure = excluded.failure, used_at = excluded.used_at
        """,
        name,
        cid,
        size,
        failure,
        now,
    )


def touch(tx: Transaction, name: str, now: int) -> None:
    """Note that *name* was used."""
    tx.run(
        """
        UPDATE derivative
           SET used_at = ?
         WHERE name = ?
        """,
        now,
        name,
    )


def delete(tx: Transaction, name: str) -> None:
    """Forget *name*."""
    tx.run(
        """
        DELETE FROM derivative
         WHERE name = ?
        """,
        name,
    )


def delete_failures(tx: Transaction, before: int) -> None:
    """Forget the failures that were noted earlier than *before*."""
    tx.run(
        """
        DELETE FROM derivative
         WHERE failure IS NOT NULL AND used_at < ?
        """,
        before,
    )


def total_bytes(tx: Transaction) -> int:
    """What all of them have together."""
    row = tx.one(
        """
        SELECT COALESCE(SUM(size), 0)
          FROM derivative
        """
    )
    assert row is not None
    return int(row[0])


def least_used(tx: Transaction, keep_bytes: int) -> list[str]:
    """The names beyond the first *keep_bytes* bytes, counted from the most recently used."""
    rows = tx.all(
        """
        SELECT name
          FROM (SELECT name, used_at, SUM(size) OVER (ORDER BY used_at DESC, name) AS bytes
                  FROM derivative
                 WHERE failure IS NULL) AS counted
         WHERE bytes > ?
         ORDER BY used_at
        """,
        keep_bytes,
    )
    return [row[0] for row in rows]


def of_blob(tx: Transaction, cid: str) -> list[str]:
    """The names of all that was derived of *cid*."""
    return [row[0] for row in tx.all("SELECT name FROM derivative WHERE cid = ?", cid)]


def page(tx: Transaction, after: str, limit: int) -> list[tuple[str, bool]]:
    """Up to *limit* names after that one, in their order, and whether the blob of each is here and may be seen."""
    rows = tx.all(
        """
        SELECT d.name,
               EXISTS (SELECT 1 FROM blob b WHERE b.cid = d.cid)
               AND NOT EXISTS (SELECT 1 FROM takedown t WHERE t.cid = d.cid AND t.did = '')
          FROM derivative d
         WHERE d.name > ?
         ORDER BY d.name
         LIMIT ?
        """,
        after,
        limit,
    )
    return [(name, bool(wanted)) for name, wanted in rows]
