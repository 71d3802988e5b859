"""Taking stock of the whole store: its rows one by one, its totals, and what does not add up."""

from dataclasses import dataclass

from aurora_blobs.catalog.blobs import FLAGS, HELD, STATES, State, state_of
from aurora_blobs.db import Transaction
from aurora_blobs.protocol.cid import object_name


@dataclass(frozen=True, slots=True)
class BlobRow:
    """A `blob` row, its times in microseconds since the epoch.

    `stored_at` is None while the bytes are not stored. `kept`: an account owns the blob or a
    takedown keeps it. `mime_type` is the first in the alphabet of those that its owners have. While
    a row is the very same, nobody has put or removed bytes under its name.
    """

    cid: str
    number: int
    size: int
    created_at: int
    stored_at: int | None
    mime_type: str | None
    kept: bool

    @property
    def name(self) -> str:
        """What the bytes lie under in a store."""
        return object_name(self.cid, self.number)


def rows_between(tx: Transaction, low: str, high: str, limit: int) -> list[BlobRow]:
    """Up to *limit* rows with *low* < cid < *high*, by CID."""
    # No EXISTS, as in `expiry.unowned`.
    rows = tx.all(
        """
        SELECT b.cid, b.number, b.size, b.created_at, b.stored_at,
               (SELECT MIN(m.mime_type) FROM blob_metadata m WHERE m.cid = b.cid)
               AS mime_type,
               (SELECT m.cid FROM blob_metadata m WHERE m.cid = b.cid LIMIT 1) IS NOT NULL
               OR (SELECT t.cid FROM takedown t WHERE t.cid = b.cid LIMIT 1) IS NOT NULL AS kept
          FROM blob b
         WHERE b.cid > ? AND b.cid < ?
         ORDER BY b.cid
         LIMIT ?
        """,
        low,
        high,
        limit,
    )
    return [_blob_row(*row) for row in rows]


def find_row(tx: Transaction, cid: str) -> BlobRow | None:
    """The row of *cid*."""
    row = tx.one(
        """
        SELECT b.cid, b.number, b.size, b.created_at, b.stored_at,
               (SELECT MIN(m.mime_type) FROM blob_metadata m WHERE m.cid = b.cid)
               AS mime_type,
               EXISTS (SELECT 1 FROM blob_metadata m WHERE m.cid = b.cid)
               OR EXISTS (SELECT 1 FROM takedown t WHERE t.cid = b.cid) AS kept
          FROM blob b
         WHERE b.cid = ?
        """,
        cid,
    )
    return None if row is None else _blob_row(*row)


def _blob_row(
    cid: str,
    number: int,
    size: int,
    created_at: int,
    stored_at: int | None,
    mime_type: str | None,
    kept: int,
) -> BlobRow:
    return BlobRow(cid, number, size, created_at, stored_at, mime_type, bool(kept))


def find_next(tx: Transaction, after: str) -> str | None:
    """The name of the first blob with a CID after *after*."""
    row = tx.one("SELECT cid, number FROM blob WHERE cid > ? ORDER BY cid LIMIT 1", after)
    return None if row is None else object_name(*row)


def find_next_stored(tx: Transaction, after: str) -> str | None:
    """The name of the first blob with a CID after *after* whose bytes are stored."""
    row = tx.one(
        """
        SELECT cid, number
          FROM blob
         WHERE cid > ? AND stored_at IS NOT NULL
         ORDER BY cid
         LIMIT 1
        """,
        after,
    )
    return None if row is None else object_name(*row)


def stored_totals(tx: Transaction, after: str) -> tuple[int, int]:
    """How many blobs with a CID greater than *after* are stored, and their bytes."""
    [(count, size)] = tx.all(
        """
        SELECT COUNT(*), CAST(COALESCE(SUM(size), 0) AS BIGINT)
          FROM blob
         WHERE stored_at IS NOT NULL AND cid > ?
        """,
        after,
    )
    return count, size


@dataclass(frozen=True, slots=True)
class Totals:
    """The whole store in numbers, sizes in bytes.

    `bytes` are those that are stored, `not_stored` is a number of blobs. `holdings` has entries and
    their bytes by state: a blob counts once in `blobs`, and once for each of its owners there.
    """

    blobs: int
    bytes: int
    not_stored: int
    holdings: dict[State, tuple[int, int]]


def totals(tx: Transaction) -> Totals:
    """Counts over every row; reads both tables."""
    [(blobs, size, not_stored)] = tx.all(
        """
        SELECT COUNT(*),
               CAST(COALESCE(SUM(CASE WHEN stored_at IS NOT NULL THEN size END), 0) AS BIGINT),
               COUNT(*) - COUNT(stored_at)
          FROM blob
        """
    )
    return Totals(blobs, size, not_stored, _holdings(tx))


def _holdings(tx: Transaction) -> dict[State, tuple[int, int]]:
    rows = tx.all(
        """
        SELECT COUNT(*), CAST(SUM(size) AS BIGINT),
               taken_down, account_taken_down, account_deactivated, missing, temporary
          FROM ("""
        + FLAGS
        + "m.size"
        + HELD
        + """) AS held
         GROUP BY taken_down, account_taken_down, account_deactivated, missing, temporary
        """
    )
    found: dict[State, tuple[int, int]] = dict.fromkeys(STATES, (0, 0))
    for number, size, *flags in rows:
        state = state_of(*flags)
        numbers, sizes = found[state]
        found[state] = numbers + number, sizes + size
    return found


def mark_verified(tx: Transaction, cids: list[str], now: int) -> None:
    """The bytes of *cids* were read and have the right hash."""
    tx.run_each(
        "UPDATE blob SET verified_at = ? WHERE cid = ? AND stored_at IS NOT NULL",
        [(now, cid) for cid in cids],
    )


def mark_right(tx: Transaction, cid: str, size: int, now: int) -> None:
    """The bytes of *cid* are in the backend, were read and have the right hash."""
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
    """An account whose counters differ from the sums over its rows, which are the `right_` ones."""

    did: str
    blob_count: int
    blob_bytes: int
    right_count: int
    right_bytes: int


def miscounts(tx: Transaction) -> list[Miscount]:
    """Each account whose counters are wrong; those that are being deleted do not count."""
    rows = tx.all(
        """
        SELECT a.did, a.blob_count, a.blob_bytes, COUNT(m.cid) AS right_count,
               CAST(COALESCE(SUM(m.size), 0) AS BIGINT) AS right_bytes
          FROM account a
               LEFT JOIN blob_metadata m ON m.creator_did = a.did
         WHERE NOT EXISTS (SELECT 1 FROM account_deletion d WHERE d.did = a.did)
         GROUP BY a.did, a.blob_count, a.blob_bytes
        HAVING a.blob_count <> COUNT(m.cid) OR a.blob_bytes <> COALESCE(SUM(m.size), 0)
         ORDER BY a.did
        """
    )
    return [Miscount(*row) for row in rows]


def recount(tx: Transaction, did: str) -> None:
    """Set the counters of *did* to the sums over its rows."""
    tx.run(
        """
        UPDATE account
           SET blob_count = (SELECT COUNT(*) FROM blob_metadata WHERE creator_did = ?),
               blob_bytes = (SELECT COALESCE(SUM(size), 0) FROM blob_metadata
                              WHERE creator_did = ?)
         WHERE did = ?
        """,
        did,
        did,
        did,
    )


def wrong_sizes(tx: Transaction) -> list[tuple[str, str, int, int]]:
    """Each blob whose size differs from its content's: DID, CID, its size, the content's size."""
    rows = tx.all(
        """
        SELECT m.creator_did, m.cid, m.size, b.size
          FROM blob_metadata m JOIN blob b ON b.cid = m.cid
         WHERE m.size <> b.size
         ORDER BY m.creator_did, m.cid
        """
    )
    return [(did, cid, stated, actual) for did, cid, stated, actual in rows]


def set_owned_size(tx: Transaction, did: str, cid: str, size: int) -> None:
    """Correct the size of *did*'s blob *cid*. `recount` corrects the account's counters."""
    tx.run("UPDATE blob_metadata SET size = ? WHERE creator_did = ? AND cid = ?", size, did, cid)


@dataclass(frozen=True, slots=True)
class Missing:
    """A blob that an account lacks.

    `is_owned`: it owns the blob, whose bytes are lost; else records of it name the blob. `size` is
    the one of the bytes that are lost, or the largest that a record states; None if none does.
    """

    did: str
    cid: str
    size: int | None
    is_owned: bool


def missing(tx: Transaction, after: tuple[str, str], limit: int) -> list[Missing]:
    """Up to *limit* missing blobs, in (DID, CID) order, after the pair *after*.

    Those are blobs that the account owns and whose bytes are lost, and blobs that a record of the
    account names and the account does not own.
    """
    rows = tx.all(
        """
        SELECT did, cid, MAX(size) AS size, MAX(is_owned) AS is_owned
          FROM (SELECT m.creator_did AS did, m.cid AS cid, b.size AS size, 1 AS is_owned
                  FROM blob b JOIN blob_metadata m ON m.cid = b.cid
                 WHERE b.stored_at IS NULL
                 UNION
                SELECT r.did, r.cid, r.size, 0
                  FROM record_blob r
                       LEFT JOIN blob_metadata m ON m.creator_did = r.did AND m.cid = r.cid
                 WHERE m.cid IS NULL) AS gap
         WHERE (did, cid) > (?, ?)
         GROUP BY did, cid
         ORDER BY did, cid
         LIMIT ?
        """,
        *after,
        limit,
    )
    return [Missing(did, cid, size, bool(is_owned)) for did, cid, size, is_owned in rows]
