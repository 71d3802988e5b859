"""What the object API adds to blobs: names of uploads that no record names yet, and lists."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction


def stage(tx: Transaction, did: str, name: str, cid: str, expires_at: int) -> bool:
    """Let *name* mean *cid* until *expires_at*; False unless *did* owns that blob."""
    return bool(
        tx.run(
            """
            INSERT INTO staged_object (did, name, cid, expires_at)
            SELECT creator_did, ?, cid, ?
              FROM blob_metadata
             WHERE creator_did = ? AND cid = ?
                ON CONFLICT (did, name) DO UPDATE
               SET cid = excluded.cid,
                   expires_at = excluded.expires_at
            """,
            name,
            expires_at,
            did,
            cid,
        )
    )


def find_staged(tx: Transaction, did: str, name: str, now: int) -> str | None:
    """The CID that *name* means; None if it means nothing."""
    row = tx.one(
        "SELECT cid FROM staged_object WHERE did = ? AND name = ? AND expires_at >= ?",
        did,
        name,
        now,
    )
    return None if row is None else row[0]


def unstage(tx: Transaction, did: str, name: str) -> None:
    """Let *name* mean nothing."""
    tx.run("DELETE FROM staged_object WHERE did = ? AND name = ?", did, name)


def release(tx: Transaction, did: str, cid: str, now: int) -> bool:
    """Make a public blob temporary from *now* on, whatever records name it: its PDS knows.

    False if it was not public.
    """
    released = tx.run(
        """
        UPDATE blob_metadata
           SET unreferenced_since = ?
         WHERE creator_did = ? AND cid = ? AND unreferenced_since IS NULL
        """,
        now,
        did,
        cid,
    )
    if released:
        tx.hide(did, cid)
    return bool(released)


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a list. `created_at` is in microseconds since the epoch."""

    did: str
    name: str
    cid: str
    size: int
    created_at: int


def page_of_staged(tx: Transaction, after: tuple[str, str], now: int, limit: int) -> list[Listed]:
    """Up to *limit* names by DID and name, after the pair *after*."""
    rows = tx.all(
        """
        SELECT s.did, s.name, s.cid, m.size, m.created_at
          FROM staged_object s
               JOIN blob_metadata m ON m.creator_did = s.did AND m.cid = s.cid
         WHERE (s.did, s.name) > (?, ?) AND s.expires_at >= ?
         ORDER BY s.did, s.name
         LIMIT ?
        """,
        *after,
        now,
        limit,
    )
    return [Listed(*row) for row in rows]


def page_of_stored(tx: Transaction, after: tuple[str, str], limit: int) -> list[Listed]:
    """Up to *limit* public blobs that are not taken down, by DID and CID, after *after*."""
    rows = tx.all(
        """
        SELECT m.creator_did AS did, m.cid AS name, m.cid, m.size, m.created_at
          FROM blob_metadata m
               JOIN blob b ON b.cid = m.cid
         WHERE (m.creator_did, m.cid) > (?, ?)
           AND m.unreferenced_since IS NULL AND b.stored_at IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM takedown t
                            WHERE t.cid = m.cid AND t.did IN (m.creator_did, ''))
         ORDER BY m.creator_did, m.cid
         LIMIT ?
        """,
        *after,
        limit,
    )
    return [Listed(*row) for row in rows]


def page_of_taken_down(
    tx: Transaction, after: tuple[str, str], ref: str, limit: int
) -> list[Listed]:
    """Up to *limit* blobs that are taken down as *ref* says, by DID and CID, after *after*."""
    rows = tx.all(
        """
        SELECT t.did, t.cid AS name, t.cid, m.size, m.created_at
          FROM takedown t
               JOIN blob_metadata m ON m.creator_did = t.did AND m.cid = t.cid
               JOIN blob b ON b.cid = t.cid
         WHERE (t.did, t.cid) > (?, ?) AND t.ref = ?
           AND m.unreferenced_since IS NULL AND b.stored_at IS NOT NULL
         ORDER BY t.did, t.cid
         LIMIT ?
        """,
        *after,
        ref,
        limit,
    )
    return [Listed(*row) for row in rows]
