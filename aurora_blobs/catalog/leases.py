"""What one process at a time does, over all nodes: the rows of `lease`."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction

SECONDS = 60  # a lease that is not renewed; a guess: for so long a dead node's work is not done
_LENGTH = SECONDS * 1_000_000


@dataclass(frozen=True, slots=True)
class Lease:
    """A row of `lease`; `expires_at` is in microseconds, by the database's clock."""

    name: str
    holder: str
    expires_at: int


def take(tx: Transaction, name: str, holder: str) -> bool:
    """Give *holder* the lease *name* unless another one has it; whether it has it now.

    A lease that ends later than it can is of a clock that was ahead, and is over.
    """
    now = tx.now()
    return bool(
        tx.run(
            """
            INSERT INTO lease (name, holder, expires_at)
            VALUES (?, ?, ?)
                ON CONFLICT (name) DO UPDATE
               SET holder = excluded.holder,
                   expires_at = excluded.expires_at
             WHERE lease.expires_at NOT BETWEEN ? AND excluded.expires_at
            """,
            name,
            holder,
            now + _LENGTH,
            now,
        )
    )


def renew(tx: Transaction, names: list[str], holder: str) -> bool:
    """Let *holder* keep each of *names*; False if another one has taken any of them."""
    expires_at = tx.now() + _LENGTH
    kept = tx.run_each(
        "UPDATE lease SET expires_at = ? WHERE name = ? AND holder = ?",
        [(expires_at, name, holder) for name in names],
    )
    return kept == len(names)


def has(tx: Transaction, name: str, holder: str) -> bool:
    """Whether *holder* has the lease *name*, or nobody has taken it since."""
    row = tx.one("SELECT 1 FROM lease WHERE name = ? AND holder = ?", name, holder)
    return row is not None


def give_back(tx: Transaction, names: list[str], holder: str) -> None:
    """Let others take those of *names* that *holder* has."""
    tx.run_each(
        "DELETE FROM lease WHERE name = ? AND holder = ?", [(name, holder) for name in names]
    )


def held(tx: Transaction, family: str) -> list[Lease]:
    """The leases ``<family>/…`` that are not over."""
    now = tx.now()
    rows = tx.all(
        """
        SELECT name, holder, expires_at
          FROM lease
         WHERE name > ? AND name < ? AND expires_at BETWEEN ? AND ?
         ORDER BY name
        """,
        f"{family}/",
        f"{family}0",  # the character after "/"
        now,
        now + _LENGTH,
    )
    return [Lease(*row) for row in rows]


def all_held(tx: Transaction) -> list[Lease]:
    """The leases that are not over."""
    now = tx.now()
    rows = tx.all(
        "SELECT name, holder, expires_at FROM lease WHERE expires_at BETWEEN ? AND ?",
        now,
        now + _LENGTH,
    )
    return [Lease(*row) for row in rows]


def revoke(tx: Transaction, family: str) -> None:
    """Take the leases ``<family>/…`` from whoever has them."""
    tx.run("DELETE FROM lease WHERE name > ? AND name < ?", f"{family}/", f"{family}0")


def count_over(tx: Transaction) -> int:
    """How many leases were never given back."""
    [(count,)] = tx.all("SELECT COUNT(*) FROM lease WHERE expires_at < ?", tx.now())
    return int(count)


def forget_over(tx: Transaction, limit: int) -> int:
    """Delete up to *limit* of the leases that `count_over` counts; how many it deleted."""
    now = tx.now()
    over = tx.all("SELECT name FROM lease WHERE expires_at < ? LIMIT ?", now, limit)
    return tx.run_each(
        "DELETE FROM lease WHERE name = ? AND expires_at < ?", [(*key, now) for key in over]
    )
