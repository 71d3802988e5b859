"""The statement about the schema_version table that is asked from outside `db`."""

from aurora_blobs.db import Transaction


def version(tx: Transaction) -> int | None:
    """The schema's version; None in a file that was never upgraded."""
    row = tx.one("SELECT version FROM schema_version")
    return None if row is None else int(row[0])
