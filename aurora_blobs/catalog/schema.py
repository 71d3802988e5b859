"""The version of the schema: the row of `schema_version`, which `db` writes."""

from aurora_blobs.db import Transaction


def version(tx: Transaction) -> int | None:
    """The schema's version; None before the first upgrade."""
    row = tx.one("SELECT version FROM schema_version")
    return None if row is None else int(row[0])
