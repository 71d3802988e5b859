"""Databases of accounts as the reference PDS keeps them."""

import sqlite3
from contextlib import closing

REV = "3l2u4tmtpqc2b"
BLOB = "CREATE TABLE blob (cid varchar PRIMARY KEY, mimeType varchar, takedownRef varchar)"
RECORD_BLOB = "CREATE TABLE record_blob (blobCid varchar NOT NULL, recordUri varchar NOT NULL)"
RECORD = "CREATE TABLE record (uri varchar PRIMARY KEY, repoRev varchar NOT NULL)"


def account_database(folder, blobs=(), records=None, schema=(BLOB, RECORD_BLOB, RECORD), then=()):
    """Make ``store.sqlite`` in *folder*; its path.

    *blobs* are rows of CID, type and takedown, *records* names the blob of each URI. The statements
    of *then* come last.
    """
    folder.mkdir(parents=True)
    path = folder / "store.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("PRAGMA journal_mode = WAL")
        for statement in schema:
            store.execute(statement)
        store.execute("BEGIN")
        for row in blobs:
            store.execute("INSERT INTO blob VALUES (?, ?, ?)", row)
        for uri, cid in (records or {}).items():
            store.execute("INSERT INTO record VALUES (?, ?)", (uri, REV))
            store.execute("INSERT INTO record_blob VALUES (?, ?)", (cid, uri))
        store.execute("COMMIT")
        for statement in then:
            store.execute(statement)
    return path
