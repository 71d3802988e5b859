"""The cache of derived pictures, and what could not be derived: the rows of `derivative`."""

from dataclasses import dataclass
from typing import NamedTuple

from aurora_blobs.db import Transaction


@dataclass(frozen=True, slots=True)
class Derivative:
    """A derived picture whose file has *size* bytes, last used at *used_at* (microseconds).

    `failure` says why it could not be made, None where it was. `checksum` is the file's, None of
    one that 0.1.0 has written.
    """

    size: int
    failure: str | None
    used_at: int
    checksum: int | None


class Use(NamedTuple):
    """A picture in the cache: the bytes of its file, and when it was last used (microseconds)."""

    name: str
    size: int
    used_at: int


def find(tx: Transaction, name: str) -> Derivative | None:
    """The row of the derivative *name*."""
    row = tx.one(
        """
        SELECT size, failure, used_at, checksum
          FROM derivative
         WHERE name = ?
        """,
        name,
    )
    return None if row is None else Derivative(*row)


def find_either(tx: Transaction, name: str, other: str) -> Derivative | None:
    """The row of *name* or of *other*: one of a picture that was made, else the newest failure."""
    row = tx.one(
        """
        SELECT size, failure, used_at, checksum
          FROM derivative
         WHERE name IN (?, ?)
         ORDER BY failure IS NOT NULL, used_at DESC
         LIMIT 1
        """,
        name,
        other,
    )
    return None if row is None else Derivative(*row)


def put(
    tx: Transaction,
    name: str,
    cid: str,
    size: int,
    failure: str | None,
    now: int,
    *,
    checksum: int | None = None,
) -> None:
    """Note that *name*, derived from *cid*, has a file of *size* bytes or could not be made."""
    replaced = find(tx, name)
    tx.run(
        """
        INSERT INTO derivative (name, cid, size, failure, used_at, checksum)
        VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (name) DO UPDATE
           SET size = excluded.size,
               failure = excluded.failure,
               used_at = excluded.used_at,
               checksum = excluded.checksum
        """,
        name,
        cid,
        size,
        failure,
        now,
        checksum,
    )
    _add(tx, size - (0 if replaced is None else replaced.size))


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


def delete(tx: Transaction, uses: list[Use]) -> int:
    """Forget those of *uses* that were not made or used again since; how many."""
    gone = 0
    for use in uses:
        if tx.run("DELETE FROM derivative WHERE name = ? AND used_at = ?", use.name, use.used_at):
            _add(tx, -use.size)
            gone += 1
    return gone


def delete_failures(tx: Transaction, before: int, now: int) -> None:
    """Forget the failures that were noted earlier than *before*, or by a clock ahead of *now*."""
    tx.run("DELETE FROM derivative WHERE failure IS NOT NULL AND used_at < ?", before)
    tx.run("DELETE FROM derivative WHERE failure IS NOT NULL AND used_at > ?", now)


def total_bytes(tx: Transaction) -> int:
    """The bytes of all files together."""
    [(size,)] = tx.all("SELECT bytes FROM total WHERE name = 'derivative'")
    return int(size)


def recount(tx: Transaction) -> None:
    """Add up all files again: changes by hand or by another version were not counted."""
    tx.run(
        """
        UPDATE total
           SET bytes = (SELECT COALESCE(SUM(size), 0) FROM derivative)
         WHERE name = 'derivative'
        """
    )


def _add(tx: Transaction, size: int) -> None:
    tx.run("UPDATE total SET bytes = bytes + ? WHERE name = 'derivative'", size)


def least_used(tx: Transaction, limit: int) -> list[Use]:
    """Up to *limit* pictures, the least recently used first."""
    rows = tx.all(
        """
        SELECT name, size, used_at
          FROM derivative
         WHERE failure IS NULL AND used_at >= 0
         ORDER BY used_at, name
         LIMIT ?
        """,
        limit,
    )
    return [Use(*row) for row in rows]


def of_blob(tx: Transaction, cid: str) -> list[Use]:
    """All that was derived from *cid*, failures too."""
    rows = tx.all("SELECT name, size, used_at FROM derivative WHERE cid = ?", cid)
    return [Use(*row) for row in rows]


def page(tx: Transaction, after: str, limit: int) -> list[tuple[Use, str]]:
    """Up to *limit* by name, after *after*, each with the CID that it was derived from."""
    rows = tx.all(
        """
        SELECT name, size, used_at, cid
          FROM derivative
         WHERE name > ?
         ORDER BY name
         LIMIT ?
        """,
        after,
        limit,
    )
    return [(Use(*use), cid) for *use, cid in rows]


def is_wanted(tx: Transaction, cid: str) -> bool:
    """Whether the blob *cid* is here and not taken down for everybody."""
    row = tx.one(
        """
        SELECT 1
          FROM blob b
         WHERE b.cid = ?
           AND NOT EXISTS (SELECT 1 FROM takedown t WHERE t.cid = b.cid AND t.did = '')
        """,
        cid,
    )
    return row is not None
