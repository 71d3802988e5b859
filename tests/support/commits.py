"""A hook that counts what each transaction changes."""

from contextlib import contextmanager

from support.databases import ENGINE

# SQLite counts those of the connection, PostgreSQL those of the transaction.
_CHANGES = {
    "sqlite": "SELECT total_changes()",
    "postgresql": """
        SELECT CAST(SUM(n_tup_ins + n_tup_upd + n_tup_del) AS BIGINT) FROM pg_stat_xact_user_tables
    """,
}


def changes_in(tx):
    (changes,) = tx.one(_CHANGES[ENGINE])
    return changes


class Commits:
    """`rows` has the rows that each transaction has changed, `hidden` what each has hidden.

    *after* is called after each commit.
    """

    def __init__(self, after=lambda: None):
        self.after = after
        self.rows = []
        self.hidden = []
        self._before = 0

    @contextmanager
    def hook(self, tx):
        """For `Database`. Only while one thread writes: it has one connection then."""
        changes = changes_in(tx)
        self.rows.append(changes - self._before)
        self.hidden.append(list(tx.hidden))
        yield
        self._before = changes_in(tx)
        tx.after_commit.append(self.after)

    def clear(self):
        self.rows.clear()
        self.hidden.clear()
