"""Blobs that must not be served, stored or referenced: the rows of `takedown`.

`page` lists accounts that are taken down as well.
"""

from dataclasses import dataclass

from aurora_blobs.catalog import audit
from aurora_blobs.catalog.audit import PROGRAM, Author
from aurora_blobs.catalog.hiding import hide_from_all
from aurora_blobs.db import Transaction

EVERY_ACCOUNT = ""


@dataclass(frozen=True, slots=True)
class Takedown:
    """One takedown. *cid* is "" for the account itself, *did* for `EVERY_ACCOUNT`.

    *created_at* is in microseconds since the epoch.
    """

    cid: str
    did: str
    ref: str
    created_at: int


def apply(tx: Transaction, cid: str, did: str, ref: str, now: int, by: Author = PROGRAM) -> None:
    """Take *cid* down for *did*, or for `EVERY_ACCOUNT`. A second call replaces the *ref*.

    `finish_hiding` has to follow the commit: of very many owners not all are hidden by it.
    """
    old = _find_own_ref(tx, cid, did)
    if old != ref:
        audit.add(tx, by, "takedown", did=did, cid=cid, old=old, new=ref)
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


def lift(tx: Transaction, cid: str, did: str, by: Author = PROGRAM) -> bool:
    """Lift exactly this takedown; False if there is none."""
    tx.keep_others_out()
    old = _find_own_ref(tx, cid, did)
    if old is None:
        return False
    audit.add(tx, by, "lift", did=did, cid=cid, old=old)
    tx.run("DELETE FROM takedown WHERE cid = ? AND did = ?", cid, did)
    return True


def _find_own_ref(tx: Transaction, cid: str, did: str) -> str | None:
    row = tx.one("SELECT ref FROM takedown WHERE cid = ? AND did = ?", cid, did)
    return None if row is None else row[0]


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


def count(tx: Transaction) -> tuple[int, int]:
    """How many takedowns of blobs there are, and how many of accounts, deleted ones included."""
    [(blobs, accounts, deleted)] = tx.all(
        """
        SELECT (SELECT COUNT(*) FROM takedown),
               (SELECT COUNT(*) FROM account WHERE takedown_at IS NOT NULL),
               (SELECT COUNT(*)
                  FROM taken_down_account t
                 WHERE NOT EXISTS (SELECT 1 FROM account a
                                    WHERE a.did = t.did AND a.takedown_at IS NOT NULL))
        """
    )
    return int(blobs), int(accounts) + int(deleted)


def page(tx: Transaction, after: tuple[str, str], limit: int) -> list[Takedown]:
    """Up to *limit* takedowns, of accounts by DID, then of blobs by CID and DID.

    *after* is CID and DID of the last one seen; two empty texts are the beginning. An account may
    be deleted by now.
    """
    cid, did = after
    found = [] if cid else [*_of_accounts(tx, did, limit), *_of_deleted(tx, did, limit)]
    found = sorted(found, key=lambda one: one.did)[:limit]
    if len(found) < limit:
        found += _of_blobs(tx, after if cid else ("", ""), limit - len(found))
    return found


def search(tx: Transaction, text: str, after: tuple[str, str], limit: int) -> list[Takedown]:
    """As `page`, of those whose DID or reference is *text*; reads all of them."""
    rows = tx.all(
        """
        SELECT cid, did, ref, created_at
          FROM (SELECT '' AS cid, did, COALESCE(takedown_ref, '') AS ref, takedown_at AS created_at
                  FROM account
                 WHERE takedown_at IS NOT NULL AND (did = ? OR takedown_ref = ?)
                 UNION ALL
                SELECT '', t.did, t.ref, t.created_at
                  FROM taken_down_account t
                 WHERE (t.did = ? OR t.ref = ?)
                   AND NOT EXISTS (SELECT 1 FROM account a
                                    WHERE a.did = t.did AND a.takedown_at IS NOT NULL)
                 UNION ALL
                SELECT cid, did, ref, created_at
                  FROM takedown
                 WHERE did = ? OR ref = ?) AS found
         WHERE (cid, did) > (?, ?)
         ORDER BY cid, did
         LIMIT ?
        """,
        *(text,) * 6,
        *after,
        limit,
    )
    return [Takedown(*row) for row in rows]


def _of_accounts(tx: Transaction, after: str, limit: int) -> list[Takedown]:
    rows = tx.all(
        """
        SELECT '' AS cid, did, COALESCE(takedown_ref, '') AS ref, takedown_at AS created_at
          FROM account
         WHERE takedown_at IS NOT NULL AND did > ?
         ORDER BY did
         LIMIT ?
        """,
        after,
        limit,
    )
    return [Takedown(*row) for row in rows]


def _of_deleted(tx: Transaction, after: str, limit: int) -> list[Takedown]:
    rows = tx.all(
        """
        SELECT '' AS cid, t.did, t.ref, t.created_at
          FROM taken_down_account t
         WHERE t.did > ?
           AND NOT EXISTS (SELECT 1 FROM account a
                            WHERE a.did = t.did AND a.takedown_at IS NOT NULL)
         ORDER BY t.did
         LIMIT ?
        """,
        after,
        limit,
    )
    return [Takedown(*row) for row in rows]


def _of_blobs(tx: Transaction, after: tuple[str, str], limit: int) -> list[Takedown]:
    rows = tx.all(
        """
        SELECT cid, did, ref, created_at
          FROM takedown
         WHERE (cid, did) > (?, ?)
         ORDER BY cid, did
         LIMIT ?
        """,
        *after,
        limit,
    )
    return [Takedown(*row) for row in rows]
