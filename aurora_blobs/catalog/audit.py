"""What jobs over the whole store ask of the rows, and the corrections they make; how far each job got."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction


@dataclass(frozen=True, slots=True)
class Row:
    """A `blob` row: times in microseconds since the epoch, `stored_at` None while the bytes are not there.

    `held` says that an account holds the blob or a takedown keeps it. `mime_type` is its first holder's.
    """

    cid: str
    size: int
    created_at: int
    stored_at: int | None
    held: bool
    mime_type: str | None


def rows_between(tx: Transaction, low: str, high: str, limit: int) -> list[Row]:
    """Up to *limit* rows with *low* < cid < *high*, in order."""
    rows = tx.all(
        """
        SELECT b.cid, b.size, b.created_at, b.stored_at,
               EXISTS (SELECT 1 FROM blob_metadata m WHERE m.cid = b.cid)
               OR EXISTS (SELECT 1 FROM takedown t WHERE t.cid = b.cid),
               (SELECT MIN(m.mime_type) FROM blob_metadata m WHERE m.cid = b.cid)
          FROM blob b
         WHERE b.cid > ? AND b.cid < ?
         ORDER BY b.cid
         LIMIT ?
        """,
        low,
        high,
        limit,
    )
    return [_row(row) for row in rows]


def find_row(tx: Transaction, cid: str) -> Row | None:
    """The row of *cid*."""
    row = tx.one(
        """
        SELECT b.cid, b.size, b.created_at, b.stored_at,
               EXISTS (SELECT 1 FROM blob_metadata m WHERE m.cid = b.cid)
               OR EXISTS (SELECT 1 FROM takedown t WHERE t.cid = b.cid),
               (SELECT MIN(m.mime_type) FROM blob_metadata m WHERE m.cid = b.cid)
          FROM blob b
         WHERE b.cid = ?
        """,
        cid,
    )
    return None if row is None else _row(row)


def _row(row: tuple[str, int, int, int | None, int, str | None]) -> Row:
    return Row(*row[:4], bool(row[4]), row[5])


def stored_totals(tx: Transaction, after: str) -> tuple[int, int]:
    """How many blobs are stored whose cid is greater than *after*, and their bytes."""
    row = tx.one(
        """
        SELECT COUNT(*), COALESCE(SUM(size), 0)
          FROM blob
         WHERE stored_at IS NOT NULL AND cid > ?
        """,
        after,
    )
    assert row is not None
    return row[0], row[1]


@dataclass(frozen=True, slots=True)
class Totals:
    """The whole store in numbers: contents and their bytes, holdings and theirs, the temporary ones, losses."""

    blobs: int
    bytes: int
    holdings: int
    held_bytes: int
    temporary: int
    temporary_bytes: int
    not_stored: int


def totals(tx: Transaction) -> Totals:
    """Counts over every row; reads both tables."""
    row = tx.one(
        """
        SELECT (SELECT COUNT(*) FROM blob),
               (SELECT COALESCE(SUM(size), 0) FROM blob WHERE stored_at IS NOT NULL),
               (SELECT COUNT(*) FROM blob_metadata),
               (SELECT COALESCE(SUM(size), 0) FROM blob_metadata),
               (SELECT COUNT(*) FROM blob_metadata WHERE unreferenced_since IS NOT NULL),
               (SELECT COALESCE(SUM(size), 0) FROM blob_metadata WHERE unreferenced_since IS NOT NULL),
               (SELECT COUNT(*) FROM blob WHERE stored_at IS NULL)
        """
    )
    return Totals(*row or (0,) * 7)


def mark_verified(tx: Transaction, cids: list[str], now: int) -> None:
    """The bytes of *cids* were read and are right."""
    for cid in cids:
        tx.run("UPDATE blob SET verified_at = ? WHERE cid = ? AND stored_at IS NOT NULL", now, cid)


def mark_right(tx: Transaction, cid: str, size: int, now: int) -> None:
    """The bytes of *cid* were read, are right and are in the backend."""
    tx.run(
        """
        UPDATE blob
           SET stored_at = COALESCE(stored_at, ?),
               verified_at = ?,
               size = ?
         WHERE cid = ?
        """,
        now,
        now,
        size,
        cid,
    )


@dataclass(frozen=True, slots=True)
class Miscount:
    """An account whose counters are not what its rows add up to."""

    did: str
    blob_count: int
    blob_bytes: int
    right_count: int
    right_bytes: int


def miscounts(tx: Transaction) -> list[Miscount]:
    """Each account whose counters are wrong."""
    rows = tx.all(
        """
        SELECT a.did, a.blob_count, a.blob_bytes, COUNT(m.cid), COALESCE(SUM(m.size), 0)
          FROM account a
               LEFT JOIN blob_metadata m ON m.creator_did = a.did
         GROUP BY a.did, a.blob_count, a.blob_bytes
        HAVING a.blob_count <> COUNT(m.cid) OR a.blob_bytes <> COALESCE(SUM(m.size), 0)
         ORDER BY a.did
        """
    )
    return [Miscount(*row) for row in rows]


def recount(tx: Transaction, did: str) -> None:
    """Set the counters of *did* to what its rows add up to."""
    tx.run(
        """
        UPDATE account
           SET blob_count = (SELECT COUNT(*) FROM blob_metadata WHERE creator_did = ?),
               blob_bytes = (SELECT COALESCE(SUM(size), 0) FROM blob_metadata WHERE creator_did = ?)
         WHERE did = ?
        """,
        did,
        did,
        did,
    )


def misfits(tx: Transaction) -> list[tuple[str, str, int, int]]:
    """Each DID and CID whose holding states another size than the blob has: DID, CID, stated, actual."""
    rows = tx.all(
        """
        SELECT m.creator_did, m.cid, m.size, b.size
          FROM blob_metadata m JOIN blob b ON b.cid = m.cid
         WHERE m.size <> b.size
         ORDER BY m.creator_did, m.cid
        """
    )
    return [(row[0], row[1], row[2], row[3]) for row in rows]


def set_held_size(tx: Transaction, did: str, cid: str, size: int) -> None:
    """The holding of *cid* by *did* states *size*. Counters are `recount`'s."""
    tx.run("UPDATE blob_metadata SET size = ? WHERE creator_did = ? AND cid = ?", size, did, cid)


def missing(tx: Transaction, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
    """Up to *limit* pairs of DID and CID, in order, after that pair: held but lost, or named by a record alone."""
    rows = tx.all(
        """
        SELECT did, cid
          FROM (SELECT m.creator_did AS did, m.cid AS cid
                  FROM blob b JOIN blob_metadata m ON m.cid = b.cid
                 WHERE b.stored_at IS NULL
                 UNION
                SELECT r.did, r.cid
                  FROM record_blob r LEFT JOIN blob_metadata m ON m.creator_did = r.did AND m.cid = r.cid
                 WHERE m.cid IS NULL) AS gap
         WHERE (did, cid) > (?, ?)
         ORDER BY did, cid
         LIMIT ?
        """,
        *after,
        limit,
    )
    return [(row[0], row[1]) for row in rows]


def find_position(tx: Transaction, job: str) -> str | None:
    """The last CID that *job* has done; None if it is not under way."""
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


def finish_job(tx: Transaction, job: str) -> None:
    """*job* is done; the next run begins at the start."""
    tx.run("DELETE FROM job WHERE name = ?", job)
