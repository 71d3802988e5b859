"""Hides a blob from the public for all of its owners, in steps: the rows of `hiding`.

A hidden blob has a row that says so: a takedown, or that its bytes are lost. From that commit on no
link for nginx is made. The links that there are go with `Transaction.hide`.
"""

from aurora_blobs.db import Transaction

_OWNERS = 100  # in one transaction: each may cost a flush of its folder


def hide_from_all(tx: Transaction, cid: str) -> None:
    """Hide *cid* for its first owners. While there are more, `is_unfinished`."""
    last = _hide(tx, cid, "")
    if last is not None:
        tx.run(
            """
            INSERT INTO hiding (cid, position)
            VALUES (?, ?)
                ON CONFLICT (cid) DO UPDATE
               SET position = excluded.position
            """,
            cid,
            last,
        )


def is_unfinished(tx: Transaction) -> bool:
    """Whether a blob has owners for whom it is still to be hidden."""
    return tx.one("SELECT 1 FROM hiding WHERE cid > '' LIMIT 1") is not None


def hide_more(tx: Transaction) -> bool:
    """Hide a blob for some more of its owners; False if there was none to hide."""
    row = tx.one("SELECT cid, position FROM hiding WHERE cid > '' ORDER BY cid LIMIT 1")
    if row is None:
        return False
    cid, position = row
    last = _hide(tx, cid, position)
    if last is None:
        tx.run("DELETE FROM hiding WHERE cid = ?", cid)
    else:
        tx.run("UPDATE hiding SET position = ? WHERE cid = ?", last, cid)
    return True


def _hide(tx: Transaction, cid: str, after: str) -> str | None:
    """Hide *cid* for its next owners after the DID *after*; the last one, None if it is all."""
    rows = tx.all(
        """
        SELECT creator_did
          FROM blob_metadata
         WHERE cid = ? AND creator_did > ?
         ORDER BY creator_did
         LIMIT ?
        """,
        cid,
        after,
        _OWNERS,
    )
    for (did,) in rows:
        tx.hide(did, cid)
    return rows[-1][0] if len(rows) == _OWNERS else None
