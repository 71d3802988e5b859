"""One-time tokens that were used: the rows of `seen_token`."""

from aurora_blobs.catalog import expiry
from aurora_blobs.clock import SKEW
from aurora_blobs.db import Key, Transaction, row_key


def token_key(issuer: str, jti: str) -> Key:
    """The key with which `use_token` is called."""
    return row_key("seen_token", issuer, jti)


def use_token(tx: Transaction, issuer: str, jti: str, expires_at: int, now: int) -> bool:
    """Mark the one-time token *jti* of *issuer* as used until *expires_at*; False if it was used.

    Also forgets a few that are over by *now*, so the table does not grow without end. Only then may
    the name be used again: by a clock that is behind, the token may be valid for some time more.
    """
    expiry.forget_tokens(tx, now, expiry.HANDFUL)
    return bool(
        tx.run(
            """
            INSERT INTO seen_token (issuer, jti, expires_at)
            VALUES (?, ?, ?)
                ON CONFLICT (issuer, jti) DO UPDATE
               SET expires_at = excluded.expires_at
             WHERE seen_token.expires_at < ?
            """,
            issuer,
            jti,
            expires_at,
            now - SKEW,
        )
    )


def is_used(tx: Transaction, issuer: str, jti: str) -> bool:
    """Whether the token *jti* of *issuer* was used."""
    return tx.one("SELECT 1 FROM seen_token WHERE issuer = ? AND jti = ?", issuer, jti) is not None
