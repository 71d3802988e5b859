"""The stores that are this database's, each known by its mark: the rows of `store`."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction


@dataclass(frozen=True, slots=True)
class StoreRow:
    """The store of a kind, ``disk`` or ``s3``.

    `marked_at` (microseconds) is None until its mark was seen, and after it was retired.
    """

    kind: str
    mark: str
    marked_at: int | None


def find(tx: Transaction, kind: str) -> StoreRow | None:
    """The row of *kind*."""
    row = tx.one("SELECT kind, mark, marked_at FROM store WHERE kind = ?", kind)
    return None if row is None else StoreRow(*row)


def marked(tx: Transaction) -> list[str]:
    """The kinds of the stores whose mark was seen."""
    return [kind for (kind,) in tx.all("SELECT kind FROM store WHERE marked_at IS NOT NULL")]


def expect(tx: Transaction, kind: str, mark: str) -> None:
    """Expect *mark* in the store of *kind*, unless another is expected there already."""
    tx.run(
        """
        INSERT INTO store (kind, mark)
        VALUES (?, ?)
            ON CONFLICT (kind) DO NOTHING
        """,
        kind,
        mark,
    )


def first_marked_at(tx: Transaction) -> int | None:
    """When the first of the stores in use was marked, in microseconds; None without one."""
    row = tx.one("SELECT MIN(marked_at) FROM store")
    return None if row is None else row[0]


def replace(tx: Transaction, kind: str, mark: str, marked_at: int | None) -> None:
    """Expect *mark* in the store of *kind* from now on."""
    tx.run(
        """
        INSERT INTO store (kind, mark, marked_at)
        VALUES (?, ?, ?)
            ON CONFLICT (kind) DO UPDATE
           SET mark = excluded.mark,
               marked_at = excluded.marked_at
        """,
        kind,
        mark,
        marked_at,
    )


def set_marked(tx: Transaction, kind: str, mark: str, now: int) -> None:
    """The store of *kind* carries *mark*."""
    tx.run("UPDATE store SET marked_at = ? WHERE kind = ? AND mark = ?", now, kind, mark)


def retire(tx: Transaction, kind: str) -> None:
    """The store of *kind* is in use no more: it may go, and come again empty."""
    tx.run("UPDATE store SET marked_at = NULL WHERE kind = ?", kind)
