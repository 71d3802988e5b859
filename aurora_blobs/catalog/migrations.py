"""Accounts that move in, and what they may upload beyond the limits: the rows of `migration`."""

from aurora_blobs.db import Transaction


def allow(tx: Transaction, did: str, uploads: int) -> None:
    """*did* moves in, and its records name *uploads* blobs; nothing if it has done so before."""
    tx.run(
        """
        INSERT INTO migration (did, allowed, used, is_open)
        VALUES (?, ?, 0, 1)
            ON CONFLICT (did) DO UPDATE
           SET allowed = excluded.allowed
         WHERE migration.is_open = 1 AND migration.allowed < excluded.allowed
        """,
        did,
        uploads,
    )


def count_upload(tx: Transaction, did: str) -> None:
    """*did*, which moves in, has uploaded a blob for which a record waits."""
    tx.run("UPDATE migration SET used = used + 1 WHERE did = ?", did)


def close(tx: Transaction, did: str) -> None:
    """*did* is activated: if it was moving in, it has done so."""
    tx.run("UPDATE migration SET is_open = 0 WHERE did = ?", did)
