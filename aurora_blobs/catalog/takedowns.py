"""Blobs that must not be served, stored or referenced: the rows of `takedown`."""

from aurora_blobs.catalog.hiding import hide_from_all
from aurora_blobs.db import Transaction

EVERY_ACCOUNT = ""


def apply(tx: Transaction, cid: str, did: str, ref: str, now: int) -> None:
    """Take *cid* down for *did*, or for `EVERY_ACCOUNT`. A second call replaces the *ref*.

    `finish_hiding` has to follow the commit: of very many owners not all are hidden by it.
    """
    tx.run(
        """
        INSERT INTO takedown (cid, did, ref, created_at)
        VALUES (?, ?, ?, ?)
            ON CONFLICT (cid, did) DO UPDATE
           SET ref = excluded.ref
        """,
        cid,
        did,
        ref,
        now,
    )
    if did == EVERY_ACCOUNT:
        hide_from_all(tx, cid)
    else:
        tx.hide(did, cid)


def lift(tx: Transaction, cid: str, did: str) -> bool:
    """Lift exactly this takedown; False if there is none."""
    tx.keep_others_out()
    return bool(tx.run("DELETE FROM takedown WHERE cid = ? AND did = ?", cid, did))


def find_ref(tx: Transaction, cid: str, did: str) -> str | None:
    """The ref of the takedown of *cid* for *did*, or else of that for every account."""
    row = tx.one(
        """
        SELECT ref
          FROM takedown
         WHERE cid = ? AND did IN (?, '')
         ORDER BY did DESC
         LIMIT 1
        """,
        cid,
        did,
    )
    return None if row is None else row[0]


def of_blob(tx: Transaction, cid: str) -> list[tuple[str, str, int]]:
    """Each takedown of *cid*: DID ("" for every account), reference, time in microseconds."""
    rows = tx.all("SELECT did, ref, created_at FROM takedown WHERE cid = ? ORDER BY did", cid)
    return [(did, ref, created_at) for did, ref, created_at in rows]
