"""Held blobs that their PDS refuses, and how far it was asked for them.

The rows of `upstream_refusal` and `upstream_round`.

A PDS tells of no blob that it takes down. So each one that is held is asked for again, round after
round. One that was refused twice is hidden, and its bytes are kept.
"""

from dataclasses import dataclass

from aurora_blobs.db import Transaction


@dataclass(frozen=True, slots=True)
class Round:
    """A row of `upstream_round`; schema.sql says what it means."""

    host: str
    began_at: int
    asked: int
    did: str
    cid: str
    alarm: str | None
    accepted_at: int
    due_at: int | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row of `upstream_refusal`; schema.sql says what None means."""

    did: str
    cid: str
    refused_at: int
    due_at: int
    tries: int
    hidden_at: int | None


def begin_round(tx: Transaction, host: str, now: int) -> None:
    """Begin at the first blob of *host* again, at *now*."""
    tx.run(
        """
        INSERT INTO upstream_round (host, began_at, asked, did, cid, accepted_at)
        VALUES (?, ?, 0, '', '', 0)
            ON CONFLICT (host) DO UPDATE
           SET began_at = excluded.began_at,
               asked = 0,
               did = '',
               cid = ''
        """,
        host,
        now,
    )


def find_round(tx: Transaction, host: str) -> Round | None:
    """How far *host* was asked; None if it never was."""
    row = tx.one(
        """
        SELECT host, began_at, asked, did, cid, alarm, accepted_at, due_at
          FROM upstream_round
         WHERE host = ?
        """,
        host,
    )
    return None if row is None else Round(*row)


def set_due(tx: Transaction, host: str, due_at: int) -> None:
    """Ask *host* at *due_at*."""
    tx.run("UPDATE upstream_round SET due_at = ? WHERE host = ?", due_at, host)


def due_hosts(tx: Transaction, now: int, limit: int) -> list[str]:
    """Up to *limit* PDSes that are to be asked, the longest due first."""
    rows = tx.all(
        "SELECT host FROM upstream_round WHERE due_at <= ? ORDER BY due_at LIMIT ?", now, limit
    )
    return [host for (host,) in rows]


def claim(tx: Transaction, host: str, now: int, until: int) -> bool:
    """Let nobody else ask *host* before *until*; False if it is not due at *now* any more."""
    return bool(
        tx.run(
            "UPDATE upstream_round SET due_at = ? WHERE host = ? AND due_at <= ?", until, host, now
        )
    )


def forget_round(tx: Transaction, host: str) -> None:
    """Ask *host* no more, unless there is an alarm."""
    tx.run("DELETE FROM upstream_round WHERE host = ? AND alarm IS NULL", host)


def alarmed(tx: Transaction, after: str, limit: int) -> list[str]:
    """Up to *limit* PDSes of which there is an alarm, after *after*."""
    rows = tx.all(
        """
        SELECT host
          FROM upstream_round
         WHERE alarm IS NOT NULL AND host > ?
         ORDER BY host
         LIMIT ?
        """,
        after,
        limit,
    )
    return [host for (host,) in rows]


def set_asked(tx: Transaction, host: str, asked: int, did: str, cid: str) -> None:
    """*asked* blobs more were asked for in this round, up to *cid* of *did*."""
    tx.run(
        """
        UPDATE upstream_round
           SET asked = asked + ?, did = ?, cid = ?
         WHERE host = ?
        """,
        asked,
        did,
        cid,
        host,
    )


def set_alarm(tx: Transaction, host: str, alarm: str) -> bool:
    """Nothing of *host* is hidden or collected from now on, because of *alarm*; False if so before.

    That is of blobs that the PDS merely refuses. What its events say hides as ever.
    """
    return bool(
        tx.run("UPDATE upstream_round SET alarm = ? WHERE host = ? AND alarm IS NULL", alarm, host)
    )


def end_alarm(tx: Transaction, host: str, accepted_at: int) -> None:
    """What *host* has refused up to *accepted_at* raises no alarm any more."""
    tx.run(
        "UPDATE upstream_round SET alarm = NULL, accepted_at = ? WHERE host = ?", accepted_at, host
    )


def count_held(tx: Transaction, host: str) -> int:
    """How many blobs accounts of *host* own."""
    [(blobs,)] = tx.all(
        """
        SELECT CAST(COALESCE(SUM(c.blob_count), 0) AS BIGINT)
          FROM upstream_account a JOIN account c ON c.did = a.did
         WHERE a.host = ?
        """,
        host,
    )
    return int(blobs)


def held(tx: Transaction, host: str, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
    """Up to *limit* public blobs of active accounts of *host*, after the pair *after*.

    DID and CID, in that order. Those that it has refused are left out: they are asked for when they
    are `due`.
    """
    rows = tx.all(
        """
        SELECT m.creator_did AS did, m.cid
          FROM blob_metadata m
               JOIN upstream_account a ON a.did = m.creator_did
         WHERE (m.creator_did, m.cid) > (?, ?)
           AND a.host = ? AND a.status IS NULL AND m.unreferenced_since IS NULL
           AND NOT EXISTS (SELECT 1 FROM upstream_refusal f
                            WHERE f.did = m.creator_did AND f.cid = m.cid)
         ORDER BY m.creator_did, m.cid
         LIMIT ?
        """,
        *after,
        host,
        limit,
    )
    return [(did, cid) for did, cid in rows]


def is_asked_for(tx: Transaction, did: str, cid: str, now: int) -> bool:
    """Whether a refusal means anything: the blob is public, and nothing newer is to be had now."""
    row = tx.one(
        """
        SELECT 1
          FROM blob_metadata m
               JOIN upstream_account a ON a.did = m.creator_did
         WHERE m.creator_did = ? AND m.cid = ? AND m.unreferenced_since IS NULL
           AND a.status IS NULL AND (a.due_at IS NULL OR (a.due_at > ? AND a.tries = 0))
        """,
        did,
        cid,
        now,
    )
    return row is not None


def find(tx: Transaction, did: str, cid: str) -> Refusal | None:
    """The refusal of *cid* of *did*."""
    row = tx.one(
        """
        SELECT did, cid, refused_at, due_at, tries, hidden_at
          FROM upstream_refusal
         WHERE did = ? AND cid = ?
        """,
        did,
        cid,
    )
    return None if row is None else Refusal(*row)


def due(tx: Transaction, host: str, now: int, limit: int) -> list[Refusal]:
    """Up to *limit* refused blobs of *host* that are to be asked for again."""
    rows = tx.all(
        """
        SELECT f.did, f.cid, f.refused_at, f.due_at, f.tries, f.hidden_at
          FROM upstream_refusal f JOIN upstream_account a ON a.did = f.did
         WHERE f.due_at <= ? AND a.host = ?
         ORDER BY f.due_at, f.did, f.cid
         LIMIT ?
        """,
        now,
        host,
        limit,
    )
    return [Refusal(*row) for row in rows]


def note(tx: Transaction, did: str, cid: str, now: int, due_at: int) -> None:
    """*cid* of *did* is refused at *now*, and asked for again at *due_at*."""
    tx.run(
        """
        INSERT INTO upstream_refusal (did, cid, refused_at, due_at, tries)
        VALUES (?, ?, ?, ?, 1)
            ON CONFLICT (did, cid) DO UPDATE
           SET due_at = excluded.due_at,
               tries = upstream_refusal.tries + 1
        """,
        did,
        cid,
        now,
        due_at,
    )


def put_off(tx: Transaction, did: str, cid: str, due_at: int) -> None:
    """Ask for *cid* of *did* at *due_at*."""
    tx.run("UPDATE upstream_refusal SET due_at = ? WHERE did = ? AND cid = ?", due_at, did, cid)


def ask_for_hidden(tx: Transaction, did: str, now: int) -> None:
    """Ask for all that is hidden of *did* at *now*."""
    tx.run(
        "UPDATE upstream_refusal SET due_at = ? WHERE did = ? AND hidden_at IS NOT NULL", now, did
    )


def hide(tx: Transaction, did: str, cid: str, now: int) -> None:
    """Hide *cid* of *did* until its PDS gives it out again."""
    tx.run(
        "UPDATE upstream_refusal SET hidden_at = ? WHERE did = ? AND cid = ? AND hidden_at IS NULL",
        now,
        did,
        cid,
    )
    tx.hide(did, cid)


def drop(tx: Transaction, did: str, cid: str) -> None:
    """The PDS gives *cid* of *did* out again."""
    tx.keep_others_out()
    tx.run("DELETE FROM upstream_refusal WHERE did = ? AND cid = ?", did, cid)


def count(tx: Transaction, host: str, since: int) -> int:
    """How many public blobs of *host* are refused, for the first time after *since*."""
    [(refused,)] = tx.all(
        """
        SELECT COUNT(*)
          FROM upstream_refusal f
               JOIN upstream_account a ON a.did = f.did
               JOIN blob_metadata m ON m.creator_did = f.did AND m.cid = f.cid
         WHERE f.refused_at > ? AND a.host = ? AND m.unreferenced_since IS NULL
        """,
        since,
        host,
    )
    return int(refused)


def count_of(tx: Transaction, did: str, since: int) -> tuple[int, int]:
    """The same of the account *did*, and how many blobs it owns."""
    [(refused, owned)] = tx.all(
        """
        SELECT (SELECT COUNT(*)
                  FROM upstream_refusal f
                       JOIN blob_metadata m ON m.creator_did = f.did AND m.cid = f.cid
                 WHERE f.did = a.did AND f.refused_at > ? AND m.unreferenced_since IS NULL),
               a.blob_count
          FROM account a
         WHERE a.did = ?
        """,
        since,
        did,
    )
    return int(refused), int(owned)


def waiting(tx: Transaction, host: str, limit: int) -> list[tuple[str, str]]:
    """Up to *limit* blobs of *host* that it has refused twice and that are not hidden."""
    rows = tx.all(
        """
        SELECT f.did, f.cid
          FROM upstream_refusal f JOIN upstream_account a ON a.did = f.did
         WHERE f.hidden_at IS NULL AND f.tries > 1 AND a.host = ?
         LIMIT ?
        """,
        host,
        limit,
    )
    return [(did, cid) for did, cid in rows]


def tally(tx: Transaction, host: str) -> tuple[int, int]:
    """How many refused blobs of *host* are served nevertheless, and how many are hidden."""
    [(served, hidden)] = tx.all(
        """
        SELECT COUNT(*) - COUNT(f.hidden_at), COUNT(f.hidden_at)
          FROM upstream_refusal f JOIN upstream_account a ON a.did = f.did
         WHERE a.host = ?
        """,
        host,
    )
    return int(served), int(hidden)
