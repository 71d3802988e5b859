"""How many bytes the records of an account have: the rows of `record_usage`."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction


def record_bytes(uri: str, value: str) -> int:
    """What a record counts: the JSON text *value* and its *uri*."""
    return len(value.encode()) + len(uri)


def reference_bytes(uri: str, cid: str) -> int:
    """What a reference of the record *uri* to the blob *cid* counts."""
    return len(uri) + len(cid)


def add(tx: Transaction, did: str, size: int) -> int:
    """Count *size* more bytes, fewer if it is negative; how many *did* has now."""
    [(total,)] = tx.all(
        """
        INSERT INTO record_usage (did, bytes)
        VALUES (?, ?)
            ON CONFLICT (did) DO UPDATE
           SET bytes = record_usage.bytes + excluded.bytes
        RETURNING bytes
        """,
        did,
        size,
    )
    return int(total)


def find(tx: Transaction, did: str) -> int:
    """How many bytes the records of *did* have."""
    row = tx.one("SELECT bytes FROM record_usage WHERE did = ?", did)
    return 0 if row is None else row[0]


@dataclass(frozen=True, slots=True)
class Miscount:
    """An account whose counted `bytes` differ from the sum over its rows."""

    did: str
    bytes: int
    right_bytes: int


def miscounts(tx: Transaction) -> list[Miscount]:
    """Each account whose count is wrong; reads every record and reference."""
    rows = tx.all(
        """
        SELECT did, CAST(SUM(counted) AS BIGINT) AS bytes,
               CAST(SUM(actual) AS BIGINT) AS right_bytes
          FROM (SELECT did, bytes AS counted, 0 AS actual
                  FROM record_usage
                 UNION ALL
                SELECT did, 0 AS counted,
                       OCTET_LENGTH(value) + 7 + LENGTH(did) + LENGTH(collection) + LENGTH(rkey)
                       AS actual
                  FROM record
                 UNION ALL
                SELECT did, 0 AS counted, LENGTH(record_uri) + LENGTH(cid) AS actual
                  FROM record_blob) AS found
         WHERE did NOT IN (SELECT did FROM account_deletion)
         GROUP BY did
        HAVING SUM(counted) <> SUM(actual)
         ORDER BY did
        """
    )
    return [Miscount(*row) for row in rows]


def correct(tx: Transaction, wrong: Miscount) -> None:
    """Add to the count of an account what *wrong* says that it lacks."""
    add(tx, wrong.did, wrong.right_bytes - wrong.bytes)
