"""The records of accounts: the rows of `record`, and the newest revision of each account."""

from collections.abc import Iterable
from dataclasses import dataclass

from aurora_blobs.db import Row, Transaction

AFTER_EVERY_KEY = "\x7f"  # record keys are printable ASCII


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
        """As `record_uri`."""
        return record_uri(self.did, self.collection, self.rkey)


def record_uri(did: str, collection: str, rkey: str) -> str:
    """``at://<did>/<collection>/<rkey>``."""
    return f"at://{did}/{collection}/{rkey}"


def find(tx: Transaction, did: str, collection: str, rkey: str) -> Record | None:
    """The record *rkey* in *collection* of *did*."""
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


@dataclass(frozen=True, slots=True)
class Version:
    """Which version of a record is there: its CID, its rev, and the bytes of its JSON."""

    cid: str
    rev: str
    size: int


def find_version(tx: Transaction, did: str, collection: str, rkey: str) -> Version | None:
    """The version of the record *rkey* in *collection* of *did*."""
    row = tx.one(
        """
        SELECT cid, rev, OCTET_LENGTH(value) AS size
          FROM record
         WHERE did = ? AND collection = ? AND rkey = ?
        """,
        did,
        collection,
        rkey,
    )
    return None if row is None else Version(*row)


def put(tx: Transaction, record: Record) -> None:
    """Write *record*, over an older one."""
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
    """Delete the record, if it is there."""
    tx.run(
        "DELETE FROM record WHERE did = ? AND collection = ? AND rkey = ?", did, collection, rkey
    )


def newest_first(
    tx: Transaction, did: str, collection: str, before: str, limit: int, max_bytes: int
) -> list[Record]:
    """Up to *limit* records whose key is below *before*, by key, descending.

    Of more than *max_bytes* of JSON the first ones that have less, and one in any case.
    """
    rows = tx.each(
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
    return _fitting(rows, max_bytes)


def oldest_first(
    tx: Transaction, did: str, collection: str, after: str, limit: int, max_bytes: int
) -> list[Record]:
    """As `newest_first`, but keys above *after*, ascending."""
    rows = tx.each(
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
    return _fitting(rows, max_bytes)


def keys(tx: Transaction, did: str) -> list[tuple[str, str]]:
    """The collection and record key of every record of *did*, in order."""
    rows = tx.all(
        "SELECT collection, rkey FROM record WHERE did = ? ORDER BY collection, rkey", did
    )
    return [(collection, rkey) for collection, rkey in rows]


def collections(tx: Transaction, did: str, limit: int, after: str = "") -> list[str]:
    """Up to *limit* collections after *after* in which *did* has records, in order."""
    found: list[str] = []
    while len(found) < limit:
        # From each to the next: DISTINCT reads all records of the account.
        [(collection,)] = tx.all(
            "SELECT MIN(collection) FROM record WHERE did = ? AND collection > ?",
            did,
            found[-1] if found else after,
        )
        if collection is None:
            break
        found.append(collection)
    return found


def count(tx: Transaction, did: str) -> int:
    """How many records *did* has."""
    [(records,)] = tx.all("SELECT COUNT(*) FROM record WHERE did = ?", did)
    return int(records)


def set_rev(tx: Transaction, did: str, rev: str) -> None:
    """Make *rev* the newest revision of *did*."""
    tx.run("UPDATE account SET rev = ? WHERE did = ?", rev, did)


def keys_before(
    tx: Transaction, did: str, collection: str, after: str, until: str, rev: str, limit: int
) -> list[str]:
    """Up to *limit* keys of records last written before revision *rev*, in order.

    They are above the key *after*, and at most *until*.
    """
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
    return [rkey for (rkey,) in rows]


def some_sizes(tx: Transaction, did: str, limit: int) -> list[tuple[str, str, int]]:
    """Up to *limit* records of *did*: collection, key, and the bytes of the JSON."""
    rows = tx.all(
        """
        SELECT collection, rkey, OCTET_LENGTH(value) AS size
          FROM record
         WHERE did = ?
         ORDER BY collection, rkey
         LIMIT ?
        """,
        did,
        limit,
    )
    return [(collection, rkey, size) for collection, rkey, size in rows]


def _fitting(rows: Iterable[Row], max_bytes: int) -> list[Record]:
    fitting: list[Record] = []
    for row in rows:
        record = Record(*row)
        max_bytes -= len(record.value) if record.value.isascii() else len(record.value.encode())
        if fitting and max_bytes < 0:
            break
        fitting.append(record)
    return fitting
