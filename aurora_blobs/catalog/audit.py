"""Who ordered what, when and why, and what it replaced: the rows of `audit`.

The function that changes a state writes the row of it, in the same transaction: there is neither
without the other. What changes nothing has no row. What the service does by itself has none either.
"""

import logging
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypedDict, Unpack

from aurora_blobs import logs
from aurora_blobs.catalog.removals import new_number
from aurora_blobs.db import Transaction

log = logging.getLogger("aurora_blobs.audit")

Action = Literal[
    "takedown",
    "lift",
    "deactivate",
    "activate",
    "delete",
    "quota",
    "uploads per day",
    "password",
    "invite",
    "import",
    "adopt",
    "give-back",
    "run",
]
MAX_REASON = 500  # characters; a guess
_MAX_VALUE = 500  # characters of what was and is; a takedown itself keeps its whole reference
_KEPT_OWN = 100  # of what an account did to itself, which it may do at any time; a guess
FIRST = (2**63 - 1, 2**63 - 1)  # before the newest one


@dataclass(frozen=True, slots=True)
class Author:
    """Who acts: `name` is ``admin``, a DID, ``user:NAME`` of a machine, ``pds`` or ``program``.

    `via` is the method or command. `reason` is None unless one was given.
    """

    name: str
    via: str = ""
    reason: str | None = None


PROGRAM = Author("program")  # uses the package itself
PDS = Author("pds", "object API")  # keeps its blobs here


@dataclass(frozen=True, slots=True)
class Act:
    """A row of `audit`; schema.sql says what is empty when. `acted_at` is in microseconds."""

    acted_at: int
    number: int
    actor: str
    via: str
    action: Action
    did: str
    cid: str
    reason: str | None
    old_value: str | None
    new_value: str | None


class Filters(TypedDict, total=False):
    """Which acts: of *since* (microseconds) and later, and what else is not None.

    *subject* is a DID or a CID.
    """

    since: int
    subject: str | None
    action: str | None
    actor: str | None


def add(
    tx: Transaction,
    by: Author,
    action: Action,
    *,
    did: str = "",
    cid: str = "",
    old: str | None = None,
    new: str | None = None,
) -> None:
    """Note that *by* acts on the account *did*, or the blob *cid*; *old* becomes *new*.

    When it is committed, it is logged.
    """
    tx.run(
        """
        INSERT INTO audit (acted_at, number, actor, via, action, did, cid, reason, old_value,
                           new_value)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        tx.now(),
        new_number(),
        by.name,
        by.via,
        action,
        did,
        cid,
        by.reason,
        _cut(old),
        _cut(new),
    )
    if by.name == did:
        _forget_own(tx, did)
    tx.after_commit.append(partial(_log, by, action, did or None, cid or None))


def _log(by: Author, action: Action, did: str | None, cid: str | None) -> None:
    logs.event(
        log,
        logging.INFO,
        action,
        actor=by.name,
        via=by.via or None,
        did=did,
        cid=cid,
        reason=by.reason,
    )


def page(
    tx: Transaction, after: tuple[int, int], limit: int, **filters: Unpack[Filters]
) -> list[Act]:
    """Up to *limit* acts, the newest first, after *after*: time and number of one, or `FIRST`."""
    since, subject = filters.get("since", 0), filters.get("subject")
    action, actor = filters.get("action"), filters.get("actor")
    if subject is not None:
        found = _of_account if subject.startswith("did:") else _of_blob
        return found(tx, after, limit, since, subject, action, actor)
    if actor is not None and action is not None:
        return _of_actor_and_action(tx, after, limit, since, actor, action)
    if actor is not None:
        return _of_actor(tx, after, limit, since, actor)
    if action is not None:
        return _of_action(tx, after, limit, since, action)
    return _all(tx, after, limit, since)


def _cut(value: str | None) -> str | None:
    """*value* as a database takes it: a path need not be UTF-8."""
    if value is None:
        return None
    if len(value) > _MAX_VALUE:
        value = value[: _MAX_VALUE - 1] + "…"
    return value.encode(errors="backslashreplace").decode()


def _forget_own(tx: Transaction, did: str) -> None:
    """Forget all but the last of what *did* did to itself."""
    tx.run(
        """
        DELETE FROM audit
         WHERE did = ? AND actor = ?
           AND (acted_at, number) <= (SELECT acted_at, number
                                        FROM audit
                                       WHERE did = ? AND actor = ?
                                       ORDER BY acted_at DESC, number DESC
                                       LIMIT 1 OFFSET ?)
        """,
        did,
        did,
        did,
        did,
        _KEPT_OWN,
    )


def _all(tx: Transaction, after: tuple[int, int], limit: int, since: int) -> list[Act]:
    rows = tx.all(
        """
        SELECT acted_at, number, actor, via, action, did, cid, reason, old_value, new_value
          FROM audit
         WHERE (acted_at, number) < (?, ?) AND acted_at >= ?
         ORDER BY acted_at DESC, number DESC
         LIMIT ?
        """,
        *after,
        since,
        limit,
    )
    return [Act(*row) for row in rows]


def _of_account(
    tx: Transaction,
    after: tuple[int, int],
    limit: int,
    since: int,
    did: str,
    action: str | None,
    actor: str | None,
) -> list[Act]:
    rows = tx.all(
        """
        SELECT acted_at, number, actor, via, action, did, cid, reason, old_value, new_value
          FROM audit
         WHERE did = ? AND (acted_at, number) < (?, ?) AND acted_at >= ?
           AND COALESCE(?, action) = action AND COALESCE(?, actor) = actor
         ORDER BY acted_at DESC, number DESC
         LIMIT ?
        """,
        did,
        *after,
        since,
        action,
        actor,
        limit,
    )
    return [Act(*row) for row in rows]


def _of_blob(
    tx: Transaction,
    after: tuple[int, int],
    limit: int,
    since: int,
    cid: str,
    action: str | None,
    actor: str | None,
) -> list[Act]:
    rows = tx.all(
        """
        SELECT acted_at, number, actor, via, action, did, cid, reason, old_value, new_value
          FROM audit
         WHERE cid = ? AND (acted_at, number) < (?, ?) AND acted_at >= ?
           AND COALESCE(?, action) = action AND COALESCE(?, actor) = actor
         ORDER BY acted_at DESC, number DESC
         LIMIT ?
        """,
        cid,
        *after,
        since,
        action,
        actor,
        limit,
    )
    return [Act(*row) for row in rows]


def _of_actor(
    tx: Transaction, after: tuple[int, int], limit: int, since: int, actor: str
) -> list[Act]:
    rows = tx.all(
        """
        SELECT acted_at, number, actor, via, action, did, cid, reason, old_value, new_value
          FROM audit
         WHERE actor = ? AND (acted_at, number) < (?, ?) AND acted_at >= ?
         ORDER BY acted_at DESC, number DESC
         LIMIT ?
        """,
        actor,
        *after,
        since,
        limit,
    )
    return [Act(*row) for row in rows]


def _of_action(
    tx: Transaction, after: tuple[int, int], limit: int, since: int, action: str
) -> list[Act]:
    rows = tx.all(
        """
        SELECT acted_at, number, actor, via, action, did, cid, reason, old_value, new_value
          FROM audit
         WHERE action = ? AND (acted_at, number) < (?, ?) AND acted_at >= ?
         ORDER BY acted_at DESC, number DESC
         LIMIT ?
        """,
        action,
        *after,
        since,
        limit,
    )
    return [Act(*row) for row in rows]


def _of_actor_and_action(
    tx: Transaction, after: tuple[int, int], limit: int, since: int, actor: str, action: str
) -> list[Act]:
    rows = tx.all(
        """
        SELECT acted_at, number, actor, via, action, did, cid, reason, old_value, new_value
          FROM audit
         WHERE actor = ? AND action = ? AND (acted_at, number) < (?, ?) AND acted_at >= ?
         ORDER BY acted_at DESC, number DESC
         LIMIT ?
        """,
        actor,
        action,
        *after,
        since,
        limit,
    )
    return [Act(*row) for row in rows]
