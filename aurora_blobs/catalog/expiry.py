"""What is over: rows that the collector may take, and how it makes sure of each before it does."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction

# Rows that are over, which whoever adds one forgets on the way: more than one, so that they get fewer, and not all,
# which after a busy hour would be thousands within one request.
HANDFUL = 10


@dataclass(frozen=True, slots=True)
class Expired:
    """A temporary blob of an account whose grace time has passed; `since` when it became temporary."""

    did: str
    cid: str
    size: int
    since: int


@dataclass(frozen=True, slots=True)
class Unowned:
    """A content that no account holds; `created_at` is its row's."""

    cid: str
    size: int
    created_at: int


def expired(tx: Transaction, before: int, after: tuple[int, str, str], limit: int) -> list[Expired]:
    """Up to *limit* blobs that are temporary since before *before*, oldest first, after (since, DID, CID) *after*.

    What a takedown holds, of the blob or of its account, is left out: an admin decides on it.
    """
    rows = tx.all(
        """
        SELECT creator_did, cid, size, unreferenced_since
          FROM blob_metadata m
         WHERE unreferenced_since < ?
           AND (unreferenced_since, creator_did, cid) > (?, ?, ?)
           AND NOT EXISTS (SELECT 1 FROM takedown t WHERE t.cid = m.cid AND t.did IN (m.creator_did, ''))
           AND NOT EXISTS (SELECT 1 FROM account a WHERE a.did = m.creator_did AND a.takedown_at IS NOT NULL)
         ORDER BY unreferenced_since, creator_did, cid
         LIMIT ?
        """,
        before,
        *after,
        limit,
    )
    return [Expired(*row) for row in rows]


def total_expired(tx: Transaction, before: int) -> tuple[int, int]:
    """How many blobs `expired` gives in all, and their bytes; what a takedown holds is counted too."""
    row = tx.one(
        "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM blob_metadata WHERE unreferenced_since < ?",
        before,
    )
    return (0, 0) if row is None else (row[0], row[1])


def is_expired(tx: Transaction, did: str, cid: str, before: int) -> bool:
    """Whether that blob of the account is still as `expired` found it. No record names it, whatever its row says."""
    row = tx.one(
        """
        SELECT 1
          FROM blob_metadata m
         WHERE creator_did = ? AND cid = ? AND unreferenced_since < ?
           AND NOT EXISTS (SELECT 1 FROM record_blob r WHERE r.did = m.creator_did AND r.cid = m.cid)
           AND NOT EXISTS (SELECT 1 FROM takedown t WHERE t.cid = m.cid AND t.did IN (m.creator_did, ''))
           AND NOT EXISTS (SELECT 1 FROM account a WHERE a.did = m.creator_did AND a.takedown_at IS NOT NULL)
        """,
        did,
        cid,
        before,
    )
    return row is not None


def unowned(
    tx: Transaction, before: int, after: str, step: int
) -> tuple[list[Unowned], str | None]:
    """Those of the next *step* contents after the CID *after* that no account holds and no takedown keeps.

    Rows made after *before* are left out: an upload may be under way. With them comes the last CID that was looked
    at, None at the end.
    """
    rows = tx.all(
        """
        SELECT b.cid, b.size, b.created_at,
               b.created_at < ?
               AND NOT EXISTS (SELECT 1 FROM blob_metadata m WHERE m.cid = b.cid)
               AND NOT EXISTS (SELECT 1 FROM takedown t WHERE t.cid = b.cid)
          FROM blob b
         WHERE b.cid > ?
         ORDER BY b.cid
         LIMIT ?
        """,
        before,
        after,
        step,
    )
    return [Unowned(*row[:3]) for row in rows if row[3]], rows[-1][0] if rows else None


def is_unowned(tx: Transaction, cid: str, created_at: int) -> bool:
    """Whether the content's row is still the one that `unowned` found, and still nobody's."""
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


def count_over(tx: Transaction, now: int) -> tuple[int, ...]:
    """How many log-ins, one-time tokens, remembered deletions of accounts and counters are over."""
    row = tx.one(
        """
        SELECT (SELECT COUNT(*) FROM session WHERE expires_at < ?),
               (SELECT COUNT(*) FROM seen_token WHERE expires_at < ?),
               (SELECT COUNT(*) FROM deleted_account WHERE expires_at < ?),
               (SELECT COUNT(*) FROM usage_counter WHERE window_end < ?)
        """,
        *[now] * 4,
    )
    assert row is not None
    return row


def forget_sessions(tx: Transaction, now: int, limit: int) -> int:
    """Forget up to *limit* log-ins that are over; how many there were."""
    return tx.run(
        """
        DELETE FROM session
         WHERE id IN (SELECT id FROM session WHERE expires_at < ? LIMIT ?)
        """,
        now,
        limit,
    )


def forget_tokens(tx: Transaction, now: int, limit: int) -> int:
    """Forget up to *limit* one-time tokens that have expired; how many there were."""
    return tx.run(
        """
        DELETE FROM seen_token
         WHERE (issuer, jti) IN (SELECT issuer, jti FROM seen_token WHERE expires_at < ? LIMIT ?)
        """,
        now,
        limit,
    )


def forget_deletions(tx: Transaction, now: int, limit: int) -> int:
    """Forget up to *limit* deletions of accounts that no token is left from before; how many there were."""
    return tx.run(
        """
        DELETE FROM deleted_account
         WHERE did IN (SELECT did FROM deleted_account WHERE expires_at < ? LIMIT ?)
        """,
        now,
        limit,
    )


def forget_counters(tx: Transaction, now: int, limit: int) -> int:
    """Forget up to *limit* counters of a window that has ended; how many there were."""
    return tx.run(
        """
        DELETE FROM usage_counter
         WHERE (name, subject) IN (SELECT name, subject FROM usage_counter WHERE window_end < ? LIMIT ?)
        """,
        now,
        limit,
    )
