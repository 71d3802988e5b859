"""Every statement on the table `seen_token`."""

from aurora_blobs.db import Transaction


def use_token(tx: Transaction, issuer: str, jti: str, expires_at: int, now: int) -> bool:
    """Mark the one-time token *jti* of *issuer* as used until *expires_at*; False if it was used before.

    Forgets the tokens that expired before *now*, so that the table holds no more than what could be used again.
    """
    tx.run(
        """
        DELETE FROM seen_token
         WHERE expires_at < ?
        """,
        now,
    )
    return bool(
        tx.run(
            """
            INSERT INTO seen_token (issuer, jti, expires_at)
            VALUES (?, ?, ?)
                ON CONFLICT (issuer, jti) DO NOTHING
            """,
            issuer,
            jti,
            expires_at,
        )
    )
