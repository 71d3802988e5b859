"""Rows that are over: what the collector may remove, and the check of each before it does.

What is forgotten is found first, then deleted by its key: as one statement, PostgreSQL's plan for
any number of rows reads the whole table.
"""

from dataclasses import dataclass

from aurora_blobs.clock import SKEW
from aurora_blobs.db import Transaction

# Expired rows that a request forgets when it adds one to the same table. More than one, so that
# they become fewer; not all, which after a busy hour would be thousands within one request.
HANDFUL = 10


# Microseconds for which an invite code that is over is kept, for the operator to see: 30 days.
_INVITE_MEMORY = 30 * 86_400 * 1_000_000


@dataclass(frozen=True, slots=True)
class ExpiredBlob:
    """A temporary blob past its grace time; `since` is when it became temporary (microseconds)."""

    did: str
    cid: str
    size: int
    since: int


@dataclass(frozen=True, slots=True)
class UnownedBlob:
    """A `blob` row that no account owns; `created_at` is in microseconds."""

    cid: str
    size: int
    created_at: int


def expired(
    tx: Transaction, before: int, low: str, high: str, after: tuple[int, str, str], limit: int
) -> list[ExpiredBlob]:
    """Up to *limit* blobs with *low* < CID < *high*, temporary since before *before*, oldest first.

    *after* is (since, DID, CID) of the last one seen. A blob that is taken down, or whose account
    is, is left out: an admin decides on it. So is one of a PDS that may have lost something.
    """
    rows = tx.all(
        """
        SELECT creator_did AS did, cid, size, unreferenced_since AS since
          FROM blob_metadata m
         WHERE unreferenced_since < ?
           AND (unreferenced_since, creator_did, cid) > (?, ?, ?)
           AND cid > ? AND cid < ?
           AND NOT EXISTS (SELECT 1 FROM takedown t
                            WHERE t.cid = m.cid AND t.did IN (m.creator_did, ''))
           AND NOT EXISTS (SELECT 1 FROM account a
                            WHERE a.did = m.creator_did AND a.takedown_at IS NOT NULL)
           AND NOT EXISTS (SELECT 1
                             FROM upstream_account u JOIN upstream_round o ON o.host = u.host
                            WHERE u.did = m.creator_did AND o.alarm IS NOT NULL)
         ORDER BY unreferenced_since, creator_did, cid
         LIMIT ?
        """,
        before,
        *after,
        low,
        high,
        limit,
    )
    return [ExpiredBlob(*row) for row in rows]


def total_expired(tx: Transaction, before: int) -> tuple[int, int]:
    """How many blobs `expired` gives in all, and their bytes; blobs taken down are counted too."""
    [(count, size)] = tx.all(
        """
        SELECT COUNT(*), CAST(COALESCE(SUM(size), 0) AS BIGINT)
          FROM blob_metadata
         WHERE unreferenced_since < ?
        """,
        before,
    )
    return count, size


def is_expired(tx: Transaction, did: str, cid: str, before: int) -> bool:
    """Whether the blob is still as `expired` found it, and no record names it."""
    row = tx.one(
        """
        SELECT 1
          FROM blob_metadata m
         WHERE creator_did = ? AND cid = ? AND unreferenced_since < ?
           AND NOT EXISTS (SELECT 1 FROM record_blob r
                            WHERE r.did = m.creator_did AND r.cid = m.cid)
           AND NOT EXISTS (SELECT 1 FROM takedown t
                            WHERE t.cid = m.cid AND t.did IN (m.creator_did, ''))
           AND NOT EXISTS (SELECT 1 FROM account a
                            WHERE a.did = m.creator_did AND a.takedown_at IS NOT NULL)
           AND NOT EXISTS (SELECT 1
                             FROM upstream_account u JOIN upstream_round o ON o.host = u.host
                            WHERE u.did = m.creator_did AND o.alarm IS NOT NULL)
        """,
        did,
        cid,
        before,
    )
    return row is not None


def unowned(
    tx: Transaction, before: int, after: str, high: str, step: int
) -> tuple[list[UnownedBlob], str | None]:
    """Of the next *step* rows with *after* < CID < *high*, those without owner and takedown.

    A row that is not older than *before* is left out: an upload may be under way. Also gives the
    last CID that was looked at, None at the end.
    """
    # For EXISTS beside columns, PostgreSQL reads the whole of the other table for each page.
    rows = tx.all(
        """
        SELECT b.cid, b.size, b.created_at,
               b.created_at < ?
               AND (SELECT m.cid FROM blob_metadata m WHERE m.cid = b.cid LIMIT 1) IS NULL
               AND (SELECT t.cid FROM takedown t WHERE t.cid = b.cid LIMIT 1) IS NULL
          FROM blob b
         WHERE b.cid > ? AND b.cid < ?
         ORDER BY b.cid
         LIMIT ?
        """,
        before,
        after,
        high,
        step,
    )
    found = [UnownedBlob(*columns) for *columns, is_over in rows if is_over]
    return found, rows[-1][0] if rows else None


def is_unowned(tx: Transaction, cid: str, created_at: int) -> bool:
    """Whether the row is still the one that `unowned` found, without owner and takedown."""
    row = tx.one(
        """
        SELECT 1
          FROM blob b
         WHERE b.cid = ? AND b.created_at = ?
           AND NOT EXISTS (SELECT 1 FROM blob_metadata m WHERE m.cid = b.cid)
           AND NOT EXISTS (SELECT 1 FROM takedown t WHERE t.cid = b.cid)
        """,
        cid,
        created_at,
    )
    return row is not None


def count_sessions(tx: Transaction, now: int) -> int:
    """How many log-ins have expired."""
    [(count,)] = tx.all("SELECT COUNT(*) FROM session WHERE expires_at < ?", now)
    return int(count)


def forget_sessions(tx: Transaction, now: int, limit: int) -> int:
    """Delete up to *limit* expired log-ins; how many it deleted."""
    over = tx.all("SELECT id FROM session WHERE expires_at < ? LIMIT ?", now, limit)
    return tx.run_each(
        "DELETE FROM session WHERE id = ? AND expires_at < ?", [(*key, now) for key in over]
    )


def count_tokens(tx: Transaction, now: int) -> int:
    """How many one-time tokens have expired, by any node's clock."""
    [(count,)] = tx.all("SELECT COUNT(*) FROM seen_token WHERE expires_at < ?", now - SKEW)
    return int(count)


def forget_tokens(tx: Transaction, now: int, limit: int) -> int:
    """Delete up to *limit* of the tokens that `count_tokens` counts; how many it deleted."""
    before = now - SKEW
    over = tx.all("SELECT issuer, jti FROM seen_token WHERE expires_at < ? LIMIT ?", before, limit)
    return tx.run_each(
        "DELETE FROM seen_token WHERE issuer = ? AND jti = ? AND expires_at < ?",
        [(*key, before) for key in over],
    )


def count_deletions(tx: Transaction, now: int) -> int:
    """How many deletions of accounts are remembered for longer than any token lasts."""
    [(count,)] = tx.all("SELECT COUNT(*) FROM deleted_account WHERE expires_at < ?", now)
    return int(count)


def forget_deletions(tx: Transaction, now: int, limit: int) -> int:
    """Delete up to *limit* of the rows that `count_deletions` counts; how many it deleted."""
    over = tx.all("SELECT did FROM deleted_account WHERE expires_at < ? LIMIT ?", now, limit)
    return tx.run_each(
        "DELETE FROM deleted_account WHERE did = ? AND expires_at < ?",
        [(*key, now) for key in over],
    )


def count_counters(tx: Transaction, now: int) -> int:
    """How many counters are of a window that has ended."""
    [(count,)] = tx.all("SELECT COUNT(*) FROM usage_counter WHERE window_end < ?", now)
    return int(count)


def forget_counters(tx: Transaction, now: int, limit: int) -> int:
    """Delete up to *limit* counters of a window that has ended; how many it deleted."""
    over = tx.all(
        "SELECT name, subject FROM usage_counter WHERE window_end < ? LIMIT ?", now, limit
    )
    return tx.run_each(
        "DELETE FROM usage_counter WHERE name = ? AND subject = ? AND window_end < ?",
        [(*key, now) for key in over],
    )


def count_staged_objects(tx: Transaction, now: int) -> int:
    """How many names of uploads through the object API mean nothing any more."""
    [(count,)] = tx.all("SELECT COUNT(*) FROM staged_object WHERE expires_at < ?", now)
    return int(count)


def forget_staged_objects(tx: Transaction, now: int, limit: int) -> int:
    """Delete up to *limit* of the rows that `count_staged_objects` counts; how many it deleted."""
    over = tx.all("SELECT did, name FROM staged_object WHERE expires_at < ? LIMIT ?", now, limit)
    return tx.run_each(
        "DELETE FROM staged_object WHERE did = ? AND name = ? AND expires_at < ?",
        [(*key, now) for key in over],
    )


def count_invites(tx: Transaction, now: int) -> int:
    """How many invite codes have been over for 30 days."""
    [(count,)] = tx.all("SELECT COUNT(*) FROM invite_code WHERE ends_at < ?", now - _INVITE_MEMORY)
    return int(count)


def forget_invites(tx: Transaction, now: int, limit: int) -> int:
    """Delete up to *limit* of the codes that `count_invites` counts; how many it deleted."""
    before = now - _INVITE_MEMORY
    over = tx.all("SELECT code FROM invite_code WHERE ends_at < ? LIMIT ?", before, limit)
    return tx.run_each(
        "DELETE FROM invite_code WHERE code = ? AND ends_at < ?", [(*key, before) for key in over]
    )
