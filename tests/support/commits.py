"""A hook that counts what each transaction changes."""

from contextlib import contextmanager


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
        (changes,) = tx.one("SELECT total_changes()")
        self.rows.append(changes - self._before)
        self.hidden.append(list(tx.hidden))
        yield
        (self._before,) = tx.one("SELECT total_changes()")
        tx.after_commit.append(self.after)

    def clear(self):
        self.rows.clear()
        self.hidden.clear()
