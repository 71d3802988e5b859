"""What a write transaction names, so that others which name something else need not wait.

A key is a kind and a name. On PostgreSQL two transactions run at the same time if neither has a key
of the other; one without keys runs alone. SQLite has one writer at a time, whatever it names.

Keys have to cover every row that a transaction changes, and every row on which it decides and that
another one with keys may change.
"""

Key = tuple[int, str]


def account_key(did: str) -> Key:
    """The account *did*, with its entries, records, references and sessions."""
    return (1, did)


def blob_key(cid: str) -> Key:
    """The content *cid*: its bytes, its row, who owns it, its takedowns."""
    return (2, cid)
