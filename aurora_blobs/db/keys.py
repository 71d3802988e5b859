"""What a write transaction names, so that others which name something else need not wait.

A key is a kind and a name. On PostgreSQL two transactions run at the same time if neither has a key
of the other; one without keys runs alone. SQLite has one writer at a time, whatever it names.

Keys have to cover every row that a transaction changes, and every row on which it decides and that
another one with keys may change:

- an account's: its row, its entries, records, references, sessions, what is known of its move and
  deletion, and what was ordered about it (`audit`);
- a content's: its rows, and who owns it. An entry that is made or goes needs both;
- a row's, where nothing else is decided by it.

A takedown of a blob for all accounts changes without keys: whoever writes a record decides on it,
and has that of its account alone. A counter needs none: one statement adds to it and reads it.
"""

Key = tuple[int, str]


def account_key(did: str) -> Key:
    """That of the account *did*."""
    return (1, did)


def blob_key(cid: str) -> Key:
    """That of the content *cid*."""
    return (2, cid)


def row_key(table: str, *name: str) -> Key:
    """That of the row *name* of *table*, or of the whole table."""
    return (3, "\0".join((table, *name)))
