"""Log-ins: the rows of `session`."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction


@dataclass(frozen=True, slots=True)
class Session:
    """A row of `session`: one log-in of *did*."""

    id: str
    did: str
    refresh_jti: str
    created_at: int
    expires_at: int


def add(tx: Transaction, session: Session) -> None:
    """Remember a log-in."""
    tx.run(
        """
        INSERT INTO session (id, did, refresh_jti, created_at, expires_at)
        VALUES (?, ?, ?, ?, ?)
        """,
        session.id,
        session.did,
        session.refresh_jti,
        session.created_at,
        session.expires_at,
    )


def of_account(tx: Transaction, did: str, limit: int) -> list[Session]:
    """Up to *limit* log-ins of *did*, the newest first."""
    rows = tx.all(
        """
        SELECT id, did, refresh_jti, created_at, expires_at
          FROM session
         WHERE did = ?
         ORDER BY created_at DESC
         LIMIT ?
        """,
        did,
        limit,
    )
    return [Session(*row) for row in rows]


def rotate(tx: Transaction, session_id: str, old_jti: str, new_jti: str, expires_at: int) -> bool:
    """Make *new_jti* the one good refresh token of a log-in.

    False if *old_jti* was not the good one, or the log-in has ended.
    """
    return bool(
        tx.run(
            """
            UPDATE session
               SET refresh_jti = ?,
                   expires_at = ?
             WHERE id = ? AND refresh_jti = ?
            """,
            new_jti,
            expires_at,
            session_id,
            old_jti,
        )
    )


def end(tx: Transaction, session_id: str) -> bool:
    """Delete a log-in, so that none of its tokens is good any more; False if it has ended."""
    return bool(tx.run("DELETE FROM session WHERE id = ?", session_id))


def end_some(tx: Transaction, did: str, limit: int) -> int:
    """Delete up to *limit* log-ins of *did*; how many it deleted."""
    return tx.run(
        """
        DELETE FROM session
         WHERE id IN (SELECT id FROM session WHERE did = ? LIMIT ?)
        """,
        did,
        limit,
    )
