"""The blobs that records name: the rows of `record_blob`."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction
from aurora_blobs.protocol.blob_refs import Reference
from aurora_blobs.protocol.cid import object_name


def add(tx: Transaction, did: str, record_uri: str, reference: Reference, rev: str) -> bool:
    """The record names the blob. A second reference in the same record changes nothing: False."""
    return bool(
        tx.run(
            """
            INSERT INTO record_blob (did, record_uri, cid, rev, mime_type, size)
            VALUES (?, ?, ?, ?, ?, ?)
                ON CONFLICT (did, record_uri, cid) DO NOTHING
            """,
            did,
            record_uri,
            reference.cid,
            rev,
            reference.mime_type,
            reference.size,
        )
    )


def touch(tx: Transaction, did: str, record_uri: str, cid: str, rev: str) -> None:
    """The record still names the blob as of *rev*."""
    tx.run(
        "UPDATE record_blob SET rev = ? WHERE did = ? AND record_uri = ? AND cid = ?",
        rev,
        did,
        record_uri,
        cid,
    )


def drop_older(tx: Transaction, did: str, record_uri: str, rev: str, limit: int) -> list[str]:
    """Delete up to *limit* references of the record that are not newer than *rev*; their CIDs."""
    rows = tx.all(
        """
        DELETE FROM record_blob
         WHERE (did, record_uri, cid) IN (SELECT did, record_uri, cid
                                            FROM record_blob
                                           WHERE did = ? AND record_uri = ? AND rev <= ?
                                           LIMIT ?)
        RETURNING cid
        """,
        did,
        record_uri,
        rev,
        limit,
    )
    return [cid for (cid,) in rows]


def drop_record(tx: Transaction, did: str, record_uri: str) -> list[str]:
    """Delete the references of the record; the CIDs that it named."""
    rows = tx.all(
        """
        DELETE FROM record_blob
         WHERE did = ? AND record_uri = ?
        RETURNING cid
        """,
        did,
        record_uri,
    )
    return [cid for (cid,) in rows]


def publish(tx: Transaction, did: str, cid: str) -> None:
    """Make the blob public, because a record names it."""
    tx.run(
        """
        UPDATE blob_metadata
           SET unreferenced_since = NULL
         WHERE creator_did = ? AND cid = ? AND unreferenced_since IS NOT NULL
        """,
        did,
        cid,
    )


def retire(tx: Transaction, did: str, cid: str, now: int) -> None:
    """Make the blob temporary from *now* on, if no record of the account names it."""
    retired = tx.run(
        """
        UPDATE blob_metadata
           SET unreferenced_since = ?
         WHERE creator_did = ? AND cid = ? AND unreferenced_since IS NULL
           AND NOT EXISTS (SELECT 1 FROM record_blob r WHERE r.did = ? AND r.cid = ?)
        """,
        now,
        did,
        cid,
        did,
        cid,
    )
    if retired:
        tx.hide(did, cid)


def cids(tx: Transaction, did: str, after: str, since: str, limit: int) -> list[str]:
    """Up to *limit* CIDs after *after*, in order, of blobs that records of *did* name.

    Only records whose rev is greater than *since* count.
    """
    rows = tx.all(
        """
        SELECT DISTINCT cid
          FROM record_blob
         WHERE did = ? AND cid > ? AND rev > ?
         ORDER BY cid
         LIMIT ?
        """,
        did,
        after,
        since,
        limit,
    )
    return [cid for (cid,) in rows]


@dataclass(frozen=True, slots=True)
class Named:
    """A blob that records name, the first of their URIs, and the stored size in bytes.

    The size is None unless the account owns the blob and its bytes are stored, under `name`.
    """

    cid: str
    number: int
    record_uri: str
    stored_size: int | None

    @property
    def name(self) -> str:
        """What the bytes lie under in a store."""
        return object_name(self.cid, self.number)


def named(tx: Transaction, did: str, after: str, limit: int) -> list[Named]:
    """Up to *limit* blobs that records of *did* name, by CID, after *after*."""
    rows = tx.all(
        """
        SELECT r.cid,
               COALESCE(MIN(b.number), 0) AS number,
               MIN(r.record_uri) AS record_uri,
               MIN(CASE WHEN b.stored_at IS NOT NULL THEN m.size END) AS stored_size
          FROM record_blob r
               LEFT JOIN blob_metadata m ON m.creator_did = r.did AND m.cid = r.cid
               LEFT JOIN blob b ON b.cid = m.cid
         WHERE r.did = ? AND r.cid > ?
         GROUP BY r.cid
         ORDER BY r.cid
         LIMIT ?
        """,
        did,
        after,
        limit,
    )
    return [Named(*row) for row in rows]


def record_uris(tx: Transaction, did: str, cid: str, after: str, limit: int) -> list[str]:
    """Up to *limit* URIs after *after*, in order, of records of *did* that name *cid*."""
    # As expressions: else SQLite goes by URI, through all that the records of the account name.
    rows = tx.all(
        """
        SELECT record_uri
          FROM record_blob
         WHERE did = ? AND cid = ? AND record_uri || '' > ?
         ORDER BY record_uri || ''
         LIMIT ?
        """,
        did,
        cid,
        after,
        limit,
    )
    return [uri for (uri,) in rows]


def of_holders(tx: Transaction, cid: str, limit: int) -> list[tuple[str, str]]:
    """Up to *limit* records that name *cid*, of accounts that own it: by DID and URI."""
    rows = tx.all(
        """
        SELECT r.did, r.record_uri
          FROM blob_metadata m JOIN record_blob r ON r.did = m.creator_did AND r.cid = m.cid
         WHERE m.cid = ?
         ORDER BY r.did, r.record_uri
         LIMIT ?
        """,
        cid,
        limit,
    )
    return [(did, uri) for did, uri in rows]


def of_blob(tx: Transaction, cid: str, limit: int) -> list[tuple[str, str]]:
    """As `of_holders`, of any account; looks at each account."""
    # By account, because the index begins with it.
    rows = tx.all(
        """
        SELECT did, record_uri
          FROM record_blob
         WHERE did IN (SELECT did FROM account) AND cid = ?
         ORDER BY did, record_uri
         LIMIT ?
        """,
        cid,
        limit,
    )
    return [(did, uri) for did, uri in rows]


def count(tx: Transaction, did: str) -> int:
    """How many different blobs records of *did* name."""
    # Not COUNT(DISTINCT cid), for which SQLite sorts all of them: an index has them in order.
    [(blobs,)] = tx.all(
        """
        SELECT COUNT(*)
          FROM (SELECT DISTINCT cid FROM record_blob WHERE did = ?) AS named
        """,
        did,
    )
    return int(blobs)


def drop_some(tx: Transaction, did: str, limit: int) -> int:
    """Delete up to *limit* references of *did*, whatever they name; how many it deleted."""
    return tx.run(
        """
        DELETE FROM record_blob
         WHERE (did, record_uri, cid) IN (SELECT did, record_uri, cid
                                            FROM record_blob
                                           WHERE did = ?
                                           LIMIT ?)
        """,
        did,
        limit,
    )
