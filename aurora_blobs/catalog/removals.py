"""Removals of bytes that have begun: the rows of `removal`.

A row is committed before its bytes are removed, and nothing is stored under its name for as long as
it is there. The rule is in catalog/blobs.py.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass

from aurora_blobs.db import Transaction
from aurora_blobs.protocol.cid import cid_of_name, number_in, object_name


@dataclass(frozen=True, slots=True)
class Removal:
    """The removal of what lies under `name`. `began_at` is in microseconds."""

    id: int
    name: str
    began_at: int


def new_number() -> int:
    """A number that no other call gives: random, of 63 bits, and not 0.

    Not counted: a counter is a row for which everybody waits, and a database that is restored
    would count from where it was.
    """
    return secrets.randbits(63) or 1


def begin(tx: Transaction, names: Collection[str], now: int) -> list[Removal]:
    """Note that what lies under *names*, which no `blob` row has any more, is going to be removed.

    Call `end` with the result when it has been.
    """
    begun = [Removal(new_number(), name, now) for name in names]
    for removal in begun:
        tx.run(
            "INSERT INTO removal (id, cid, number, began_at) VALUES (?, ?, ?, ?)",
            removal.id,
            cid_of_name(removal.name),
            number_in(removal.name),
            now,
        )
    return begun


def begin_again(tx: Transaction, removal: Removal, now: int) -> Removal | None:
    """Begin *removal*, which broke off, for oneself as well; None if it has ended by now.

    Whoever began it may end it at any time, and does not wait for others who remove the same.
    """
    if tx.one("SELECT 1 FROM removal WHERE id = ?", removal.id) is None:
        return None
    [own] = begin(tx, [removal.name], now)
    return own


def end(tx: Transaction, ended: Collection[Removal]) -> None:
    """Forget *ended*. For whoever began them, once the store has answered."""
    for removal in ended:
        tx.run("DELETE FROM removal WHERE id = ?", removal.id)


def sweep(tx: Transaction, removal: Removal, now: int) -> None:
    """Note that the bytes of *removal*, which broke off, were removed by somebody else.

    A number is not given twice, so the row can go. Without one the name is kept from use: whoever
    began the removal may go on with it at any time.
    """
    if number_in(removal.name):
        end(tx, [removal])
    else:
        tx.run("UPDATE removal SET swept_at = ? WHERE id = ?", now, removal.id)


def is_under_way(tx: Transaction, name: str) -> bool:
    """Whether a removal of what lies under *name* has begun and is not known to have ended."""
    row = tx.one(
        "SELECT 1 FROM removal WHERE cid = ? AND number = ? LIMIT 1",
        cid_of_name(name),
        number_in(name),
    )
    return row is not None


def unended(tx: Transaction, after: int, limit: int) -> list[Removal]:
    """Up to *limit* removals that may have left their bytes, by id, after the id *after*."""
    rows = tx.all(
        """
        SELECT id, cid, number, began_at
          FROM removal
         WHERE swept_at IS NULL AND id > ?
         ORDER BY id
         LIMIT ?
        """,
        after,
        limit,
    )
    return [Removal(id, object_name(cid, number), began_at) for id, cid, number, began_at in rows]
