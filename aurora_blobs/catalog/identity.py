"""DID documents that were fetched: the rows of `identity`."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction


@dataclass(frozen=True, slots=True)
class Remembered:
    """A DID document (JSON), None if it could not be fetched, and the time (microseconds)."""

    document: str | None
    fetched_at: int


def find(tx: Transaction, did: str) -> Remembered | None:
    """The document of *did* that was fetched last."""
    row = tx.one(
        """
        SELECT document, fetched_at
          FROM identity
         WHERE did = ?
        """,
        did,
    )
    return None if row is None else Remembered(*row)


def remember(tx: Transaction, did: str, document: str, now: int) -> None:
    """Remember *document* as that of *did*."""
    tx.run(
        """
        INSERT INTO identity (did, document, fetched_at)
        VALUES (?, ?, ?)
            ON CONFLICT (did) DO UPDATE
           SET document = excluded.document,
               fetched_at = excluded.fetched_at
        """,
        did,
        document,
        now,
    )


def remember_failure(tx: Transaction, did: str, then: int, now: int) -> None:
    """Remember that *did* could not be resolved, unless a document was fetched since *then*.

    A document of later than *now* is of a clock that was set back.
    """
    tx.run(
        """
        INSERT INTO identity (did, document, fetched_at)
        VALUES (?, NULL, ?)
            ON CONFLICT (did) DO UPDATE
           SET document = NULL,
               fetched_at = excluded.fetched_at
         WHERE identity.document IS NULL OR identity.fetched_at NOT BETWEEN ? AND ?
        """,
        did,
        now,
        then,
        now,
    )


def forget_failures(tx: Transaction, then: int, limit: int) -> int:
    """Forget up to *limit* DIDs that could not be resolved before *then*; how many it forgot."""
    over = tx.all(
        "SELECT did FROM identity WHERE fetched_at < ? AND document IS NULL LIMIT ?", then, limit
    )
    return tx.run_each(
        "DELETE FROM identity WHERE did = ? AND document IS NULL AND fetched_at < ?",
        [(*key, then) for key in over],
    )


def forget_before(tx: Transaction, then: int, limit: int) -> int:
    """Forget up to *limit* DIDs that were last resolved before *then*; how many it forgot."""
    over = tx.all("SELECT did FROM identity WHERE fetched_at < ? LIMIT ?", then, limit)
    return tx.run_each(
        "DELETE FROM identity WHERE did = ? AND fetched_at < ?", [(*key, then) for key in over]
    )
