"""When blobs of a mirror of the network were last read: the rows of `upstream_read`."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction


@dataclass(frozen=True, slots=True)
class Read:
    """A blob of *size* bytes that was last read at *used_at*, in microseconds."""

    did: str
    cid: str
    size: int
    used_at: int


def note(tx: Transaction, did: str, cid: str, now: int) -> None:
    """*did*'s blob *cid* is read at *now*; nothing if it does not own the blob any more."""
    tx.run(
        """
        INSERT INTO upstream_read (did, cid, used_at)
        SELECT creator_did, cid, CAST(? AS BIGINT)
          FROM blob_metadata
         WHERE creator_did = ? AND cid = ?
            ON CONFLICT (did, cid) DO UPDATE
           SET used_at = excluded.used_at
        """,
        now,
        did,
        cid,
    )


def oldest(tx: Transaction, limit: int) -> list[Read]:
    """Up to *limit* blobs, the one that was not read for longest first; none that a takedown keeps.

    Each account's blobs count for themselves.
    """
    rows = tx.all(
        """
        SELECT r.did, r.cid, m.size, r.used_at
          FROM upstream_read r JOIN blob_metadata m ON m.creator_did = r.did AND m.cid = r.cid
         WHERE r.used_at >= 0 AND (SELECT t.cid FROM takedown t WHERE t.cid = r.cid LIMIT 1) IS NULL
         ORDER BY r.used_at
         LIMIT ?
        """,
        limit,
    )
    return [Read(*row) for row in rows]


def oldest_of(tx: Transaction, did: str, limit: int) -> list[Read]:
    """As `oldest`, of the blobs of *did*."""
    rows = tx.all(
        """
        SELECT r.did, r.cid, m.size, r.used_at
          FROM upstream_read r JOIN blob_metadata m ON m.creator_did = r.did AND m.cid = r.cid
         WHERE r.did = ? AND (SELECT t.cid FROM takedown t WHERE t.cid = r.cid LIMIT 1) IS NULL
         ORDER BY r.used_at
         LIMIT ?
        """,
        did,
        limit,
    )
    return [Read(*row) for row in rows]


def is_unread_since(tx: Transaction, read: Read) -> bool:
    """Whether nobody has read the blob since *read*."""
    return (
        tx.one(
            "SELECT 1 FROM upstream_read WHERE did = ? AND cid = ? AND used_at = ?",
            read.did,
            read.cid,
            read.used_at,
        )
        is not None
    )


def total(tx: Transaction) -> int:
    """The bytes of all blobs of all accounts; reads every account."""
    [(size,)] = tx.all("SELECT CAST(COALESCE(SUM(blob_bytes), 0) AS BIGINT) FROM account")
    return int(size)
