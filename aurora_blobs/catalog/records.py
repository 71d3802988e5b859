"""The records of accounts, as JSON: the rows of `record`, and the revision an account is at."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction

AFTER_EVERY_KEY = "\x7f"


@dataclass(frozen=True, slots=True)
class Record:
    """A record. `value` is JSON text, `cid` names its DAG-CBOR, `rev` is the TID of the write."""

    did: str
    collection: str
    rkey: str
    cid: str
    value: str
    rev: str

    @property
    def uri(self) -> str:
        """``at://<did>/<collection>/<rkey>``."""
        return f"at://{self.did}/{self.collection}/{self.rkey}"


def find(tx: Transaction, did: str, collection: str, rkey: str) -> Record | None:
    """The record at that place."""
    row = tx.one(
        """
        SELECT did, collection, rkey, cid, value, rev
          FROM record
         WHERE did = ? AND collection = ? AND rkey = ?
        """,
        did,
        collection,
        rkey,
    )
    return None if row is None else Record(*row)


def put(tx: Transaction, record: Record) -> None:
    """Write the record, in place of the one that is there."""
    tx.run(
        """
        INSERT INTO record (did, collection, rkey, cid, value, rev)
        VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (did, collection, rkey) DO UPDATE
           SET cid = excluded.cid,
               value = excluded.value,
               rev = excluded.rev
        """,
        record.did,
        record.collection,
        record.rkey,
        record.cid,
        record.value,
        record.rev,
    )


def delete(tx: Transaction, did: str, collection: str, rkey: str) -> None:
    """Remove the record. Absence is success."""
    tx.run(
        "DELETE FROM record WHERE did = ? AND collection = ? AND rkey = ?", did, collection, rkey
    )


def newest_first(
    tx: Transaction, did: str, collection: str, before: str, limit: int
) -> list[Record]:
    """Up to *limit* records of the collection, record keys descending, below *before*."""
    rows = tx.all(
        """
        SELECT did, collection, rkey, cid, value, rev
          FROM record
         WHERE did = ? AND collection = ? AND rkey < ?
         ORDER BY rkey DESC
         LIMIT ?
        """,
        did,
        collection,
        before,
        limit,
    )
    return [Record(*row) for row in rows]


def oldest_first(
    tx: Transaction, did: str, collection: str, after: str, limit: int
) -> list[Record]:
    """Up to *limit* records of the collection, record keys ascending, above *after*."""
    rows = tx.all(
        """
        SELECT did, collection, rkey, cid, value, rev
          FROM record
         WHERE did = ? AND collection = ? AND rkey > ?
         ORDER BY rkey
         LIMIT ?
        """,
        did,
        collection,
        after,
        limit,
    )
    return [Record(*row) for row in rows]


def keys(tx: Transaction, did: str) -> list[tuple[str, str]]:
    """The collection and record key of every record of *did*, in order."""
    rows = tx.all(
        "SELECT collection, rkey FROM record WHERE did = ? ORDER BY collection, rkey", did
    )
    return [(row[0], row[1]) for row in rows]


def collections(tx: Transaction, did: str) -> list[str]:
    """The collections in which *did* has records, in order."""
    rows = tx.all("SELECT DISTINCT collection FROM record WHERE did = ? ORDER BY collection", did)
    return [row[0] for row in rows]


def count(tx: Transaction, did: str) -> int:
    """How many records *did* has."""
    row = tx.one("SELECT COUNT(*) FROM record WHERE did = ?", did)
    return 0 if row is None else row[0]


def set_rev(tx: Transaction, did: str, rev: str) -> None:
    """The account's records are at *rev*."""
    tx.run("UPDATE account SET rev = ? WHERE did = ?", rev, did)


def keys_before(
    tx: Transaction, did: str, collection: str, after: str, until: str, rev: str, limit: int
) -> list[str]:
    """Up to *limit* record keys above *after* and up to *until*, in order, of records last written before *rev*."""
    rows = tx.all(
        """
        SELECT rkey
          FROM record
         WHERE did = ? AND collection = ? AND rkey > ? AND rkey <= ? AND rev < ?
         ORDER BY rkey
         LIMIT ?
        """,
        did,
        collection,
        after,
        until,
        rev,
        limit,
    )
    return [row[0] for row in rows]


def raise_rev(tx: Transaction, did: str, rev: str) -> None:
    """The account's records are at *rev*, unless they are at a later one already."""
    tx.run("UPDATE account SET rev = ? WHERE did = ? AND (rev IS NULL OR rev < ?)", rev, did, rev)
