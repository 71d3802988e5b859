"""What is known of the PDSes that are followed: the rows of `upstream_host` and its like."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction

# Statuses that are ours; the others are those of the protocol. An account is missing if its PDS
# lists it no more and never said why, moved if its identity names another PDS, barred if the
# settings do not allow it any more, and returns while its repository is fetched after it was gone.
DELETED, MISSING, MOVED, RETURNING = "deleted", "missing", "moved", "returning"
BARRED = "barred"
GONE = frozenset({DELETED, MISSING, MOVED})


@dataclass(frozen=True, slots=True)
class Host:
    """A row of `upstream_host`; schema.sql says what None means."""

    host: str
    cursor: int | None
    event_at: int | None
    handled_at: int | None
    seen_at: int | None
    listed_at: int | None


@dataclass(frozen=True, slots=True)
class UpstreamAccount:
    """A row of `upstream_account`; schema.sql says what None means."""

    did: str
    host: str
    status: str | None
    status_at: int
    listed_at: int
    rev: str | None
    tree: str | None
    due_at: int | None
    tries: int
    failure: str | None


@dataclass(frozen=True, slots=True)
class WantedBlob:
    """A blob to fetch; *tries* have failed."""

    did: str
    cid: str
    tries: int


@dataclass(frozen=True, slots=True)
class Tally:
    """What is here of one PDS, in numbers.

    `due` accounts have a repository to fetch, `failing` ones of them could not be fetched. `wanted`
    blobs are named by a record and to be fetched, `refused` ones of them could not be.
    """

    accounts: int
    inactive: int
    due: int
    failing: int
    wanted: int
    refused: int


def find_host(tx: Transaction, host: str) -> Host | None:
    """What is known of *host*."""
    row = tx.one(
        """
        SELECT host, cursor, event_at, handled_at, seen_at, listed_at
          FROM upstream_host
         WHERE host = ?
        """,
        host,
    )
    return None if row is None else Host(*row)


def add_host(tx: Transaction, host: str) -> None:
    """Follow *host*, unless it is followed."""
    tx.run("INSERT INTO upstream_host (host) VALUES (?) ON CONFLICT (host) DO NOTHING", host)


def set_cursor(
    tx: Transaction, host: str, cursor: int, event_at: int | None, handled_at: int
) -> None:
    """The event *cursor*, which *host* sent at *event_at*, was handled at *handled_at*."""
    tx.run(
        """
        UPDATE upstream_host
           SET cursor = ?, event_at = ?, handled_at = ?, seen_at = ?
         WHERE host = ?
        """,
        cursor,
        event_at,
        handled_at,
        handled_at,
        host,
    )


def forget_cursor(tx: Transaction, host: str) -> None:
    """The stream begins anew, and what was missed is found by listing all accounts."""
    tx.run("UPDATE upstream_host SET cursor = NULL, listed_at = NULL WHERE host = ?", host)


def set_seen(tx: Transaction, host: str, now: int) -> None:
    """The stream of *host* works."""
    tx.run("UPDATE upstream_host SET seen_at = ? WHERE host = ?", now, host)


def set_listed(tx: Transaction, host: str, now: int) -> None:
    """All accounts of *host* have been compared with those here."""
    tx.run("UPDATE upstream_host SET listed_at = ? WHERE host = ?", now, host)


def find(tx: Transaction, did: str) -> UpstreamAccount | None:
    """What is known of *did*."""
    row = tx.one(
        """
        SELECT did, host, status, status_at, listed_at, rev, tree, due_at, tries, failure
          FROM upstream_account
         WHERE did = ?
        """,
        did,
    )
    return None if row is None else UpstreamAccount(*row)


def add(tx: Transaction, did: str, host: str, status: str | None, now: int) -> None:
    """*host* says that it keeps *did*, whose repository is due; nothing if it is known."""
    tx.run(
        """
        INSERT INTO upstream_account (did, host, status, status_at, listed_at, due_at, tries)
        VALUES (?, ?, ?, ?, ?, ?, 0)
            ON CONFLICT (did) DO NOTHING
        """,
        did,
        host,
        status,
        now,
        now,
        now,
    )


def forget(tx: Transaction, did: str) -> None:
    """*did* is not followed any more."""
    tx.run("DELETE FROM upstream_account WHERE did = ?", did)


def set_listed_account(tx: Transaction, did: str, now: int) -> None:
    """The PDS of *did* listed it in the round that began at *now*."""
    tx.run("UPDATE upstream_account SET listed_at = ? WHERE did = ?", now, did)


def learn_status(tx: Transaction, did: str, status: str | None, known_at: int) -> None:
    """*did* was as *status* says at *known_at*: hidden at once, or visible again.

    One that was gone is visible when its repository has been fetched. Nothing changes if something
    newer is known.
    """
    known = find(tx, did)
    if known is None or known.status_at > known_at:
        return
    if status is None and known.status is not None:
        want_again(tx, did, known_at)
        if known.status in GONE or known.status == RETURNING:
            set_due(tx, did, known.host, known_at)
            status = RETURNING
    set_status(tx, did, status, known_at)


def set_status(tx: Transaction, did: str, status: str | None, known_at: int) -> None:
    """*did* is as *status* says, as of *known_at*."""
    if status is None:
        tx.keep_others_out()
    else:
        tx.hide(did)
    tx.run(
        "UPDATE upstream_account SET status = ?, status_at = ? WHERE did = ?", status, known_at, did
    )


def set_due(tx: Transaction, did: str, host: str, due_at: int) -> None:
    """The records of *did*, of *host*, may be outdated: fetch its repository from *due_at* on.

    Where that failed before, the next try stays when it is.
    """
    tx.run(
        """
        UPDATE upstream_account
           SET due_at = ?
         WHERE did = ? AND host = ? AND due_at IS NULL
        """,
        due_at,
        did,
        host,
    )


def set_failed(tx: Transaction, did: str, due_at: int, failure: str) -> None:
    """The repository of *did* could not be fetched; the next try is at *due_at*."""
    tx.run(
        """
        UPDATE upstream_account
           SET due_at = ?, tries = tries + 1, failure = ?
         WHERE did = ?
        """,
        due_at,
        failure,
        did,
    )


def set_rev(tx: Transaction, did: str, host: str, rev: str, tree: str) -> None:
    """The records of *did* are those of *rev* at *host*, whose tree is *tree*."""
    tx.run(
        """
        UPDATE upstream_account
           SET host = ?, rev = ?, tree = ?, due_at = NULL, tries = 0, failure = NULL
         WHERE did = ?
        """,
        host,
        rev,
        tree,
        did,
    )


def set_current(tx: Transaction, did: str) -> None:
    """The records of *did* are those of its rev after all."""
    tx.run(
        """
        UPDATE upstream_account
           SET due_at = NULL, tries = 0, failure = NULL
         WHERE did = ? AND rev IS NOT NULL
        """,
        did,
    )


def due(tx: Transaction, host: str, now: int, limit: int) -> list[str]:
    """Up to *limit* accounts of *host* whose repository is due and to be had, oldest first."""
    rows = tx.all(
        """
        SELECT did
          FROM upstream_account
         WHERE host = ? AND due_at <= ? AND (status IS NULL OR status = 'returning')
         ORDER BY due_at
         LIMIT ?
        """,
        host,
        now,
        limit,
    )
    return [did for (did,) in rows]


def next_host(tx: Transaction, after: str) -> str | None:
    """The first PDS after *after* that accounts are of; None after the last one."""
    row = tx.one(
        "SELECT host FROM upstream_account WHERE host > ? ORDER BY host LIMIT 1",
        after,
    )
    return None if row is None else str(row[0])


def unlisted(tx: Transaction, host: str, before: int, limit: int) -> list[str]:
    """Up to *limit* accounts of *host* that it has not listed since *before*."""
    rows = tx.all(
        """
        SELECT did
          FROM upstream_account
         WHERE host = ? AND listed_at < ?
         ORDER BY listed_at
         LIMIT ?
        """,
        host,
        before,
        limit,
    )
    return [did for (did,) in rows]


def has_missing(tx: Transaction, host: str) -> bool:
    """Whether *host* has accounts no more of which it never said why."""
    row = tx.one(
        "SELECT 1 FROM upstream_account WHERE status = 'missing' AND host = ? LIMIT 1", host
    )
    return row is not None


def page(tx: Transaction, host: str, after: str, limit: int) -> list[str]:
    """Up to *limit* accounts of *host*, by DID, after *after*."""
    rows = tx.all(
        """
        SELECT did
          FROM upstream_account
         WHERE did > ? AND host = ?
         ORDER BY did
         LIMIT ?
        """,
        after,
        host,
        limit,
    )
    return [did for (did,) in rows]


def accounts(tx: Transaction, after: str, limit: int) -> list[UpstreamAccount]:
    """Up to *limit* accounts of any PDS, by DID, after *after*."""
    rows = tx.all(
        """
        SELECT did, host, status, status_at, listed_at, rev, tree, due_at, tries, failure
          FROM upstream_account
         WHERE did > ?
         ORDER BY did
         LIMIT ?
        """,
        after,
        limit,
    )
    return [UpstreamAccount(*row) for row in rows]


def gone(
    tx: Transaction, status: str, before: int, after: tuple[int, str], limit: int
) -> list[tuple[int, str]]:
    """Up to *limit* accounts that are as *status* says since before *before*: since when, and DID.

    In that order, after the pair *after*. Those of a PDS that may have lost something are left out.
    """
    rows = tx.all(
        """
        SELECT status_at, did
          FROM upstream_account u
         WHERE status = ? AND status_at < ? AND (status_at, did) > (?, ?)
           AND NOT EXISTS (SELECT 1 FROM upstream_round o
                            WHERE o.host = u.host AND o.alarm IS NOT NULL)
         ORDER BY status_at, did
         LIMIT ?
        """,
        status,
        before,
        *after,
        limit,
    )
    return [(since, did) for since, did in rows]


def forget_gone(tx: Transaction, did: str, status: str, before: int) -> bool:
    """Follow *did* no more, if it is as *status* says since before *before*; whether it is."""
    return bool(
        tx.run(
            """
            DELETE FROM upstream_account
             WHERE did = ? AND status = ? AND status_at < ?
               AND NOT EXISTS (SELECT 1 FROM upstream_round o
                                WHERE o.host = upstream_account.host AND o.alarm IS NOT NULL)
            """,
            did,
            status,
            before,
        )
    )


def want(tx: Transaction, did: str, cid: str, now: int) -> None:
    """Fetch the blob, unless *did* owns it and its bytes are stored."""
    tx.run(
        """
        INSERT INTO upstream_blob (did, cid, due_at, tries)
        SELECT ?, ?, ?, 0
         WHERE NOT EXISTS (SELECT 1
                             FROM blob_metadata m JOIN blob b ON b.cid = m.cid
                            WHERE m.creator_did = ? AND m.cid = ? AND b.stored_at IS NOT NULL)
            ON CONFLICT (did, cid) DO NOTHING
        """,
        did,
        cid,
        now,
        did,
        cid,
    )


def want_again(tx: Transaction, did: str, now: int) -> None:
    """Fetch what *did* lacks now, whatever failed before."""
    tx.run("UPDATE upstream_blob SET due_at = ? WHERE did = ? AND due_at > ?", now, did, now)


def wanted(tx: Transaction, host: str, now: int, limit: int) -> list[WantedBlob]:
    """Up to *limit* blobs of accounts of *host* that are due, the longest due first."""
    rows = tx.all(
        """
        SELECT w.did, w.cid, w.tries
          FROM upstream_blob w JOIN upstream_account a ON a.did = w.did
         WHERE w.due_at <= ? AND a.host = ?
         ORDER BY w.due_at, w.did, w.cid
         LIMIT ?
        """,
        now,
        host,
        limit,
    )
    return [WantedBlob(*row) for row in rows]


def drop_wanted(tx: Transaction, did: str, cid: str) -> None:
    """The blob is here, or nobody names it."""
    tx.run("DELETE FROM upstream_blob WHERE did = ? AND cid = ?", did, cid)


def set_blob_failed(tx: Transaction, did: str, cid: str, due_at: int, failure: str) -> None:
    """The blob could not be fetched; the next try is at *due_at*."""
    tx.run(
        """
        UPDATE upstream_blob
           SET due_at = ?, tries = tries + 1, failure = ?
         WHERE did = ? AND cid = ?
        """,
        due_at,
        failure,
        did,
        cid,
    )


def set_blobs_listed(tx: Transaction, did: str, host: str, rev: str, now: int, due_at: int) -> None:
    """The blobs of *did* are those that *host* listed at *now*, as of *rev*; again at *due_at*.

    *rev* is '' where the host does not state it.
    """
    tx.run(
        """
        UPDATE upstream_account
           SET host = ?, rev = ?, listed_at = ?, due_at = ?, tries = 0, failure = NULL
         WHERE did = ?
        """,
        host,
        rev,
        now,
        due_at,
        did,
    )


def due_to_list(tx: Transaction, now: int, limit: int) -> list[str]:
    """Up to *limit* accounts, of any host, whose blobs are to be listed again, longest due first.

    Those that could never be listed are left to whoever asks for them.
    """
    rows = tx.all(
        """
        SELECT did
          FROM upstream_account
         WHERE due_at <= ? AND (rev IS NOT NULL OR status IS NOT NULL)
         ORDER BY due_at
         LIMIT ?
        """,
        now,
        limit,
    )
    return [did for (did,) in rows]


def list_anew(tx: Transaction, did: str, now: int) -> None:
    """*did* is visible again when its PDS has listed its blobs, which is due at *now*."""
    set_status(tx, did, RETURNING, now)
    tx.run("UPDATE upstream_account SET due_at = ? WHERE did = ?", now, did)


def claim(tx: Transaction, did: str, now: int, until: int) -> bool:
    """Let nobody else list *did* before *until*; False if it is not due at *now* any more."""
    return bool(
        tx.run(
            "UPDATE upstream_account SET due_at = ? WHERE did = ? AND due_at <= ?", until, did, now
        )
    )


def nth_unlisted(tx: Transaction, number: int) -> int | None:
    """When that account is due that could never be listed, and *number* of them later.

    None if they are no more than that.
    """
    row = tx.one(
        """
        SELECT due_at
          FROM upstream_account
         WHERE due_at IS NOT NULL AND rev IS NULL AND status IS NULL
         ORDER BY due_at DESC
         LIMIT 1 OFFSET ?
        """,
        number,
    )
    return None if row is None else int(row[0])


def nth_refused(tx: Transaction, number: int) -> int | None:
    """As `nth_unlisted`, of blobs that were not to be had."""
    row = tx.one(
        "SELECT due_at FROM upstream_blob WHERE due_at > 0 ORDER BY due_at DESC LIMIT 1 OFFSET ?",
        number,
    )
    return None if row is None else int(row[0])


def forget_unlisted(tx: Transaction, before: int, limit: int) -> int:
    """Forget up to *limit* accounts that could never be listed, last due before *before*.

    Returns how many they were.
    """
    found = tx.all(
        """
        SELECT did
          FROM upstream_account
         WHERE due_at < ? AND rev IS NULL AND status IS NULL
         ORDER BY due_at
         LIMIT ?
        """,
        before,
        limit,
    )
    return tx.run_each(
        "DELETE FROM upstream_account WHERE did = ? AND due_at < ? AND rev IS NULL",
        [(did, before) for (did,) in found],
    )


def forget_refused(tx: Transaction, before: int, limit: int) -> int:
    """Forget up to *limit* blobs that were not to be had and may be asked for since *before*.

    Returns how many they were.
    """
    found = tx.all(
        """
        SELECT did, cid
          FROM upstream_blob
         WHERE due_at < ?
         ORDER BY due_at, did, cid
         LIMIT ?
        """,
        before,
        limit,
    )
    return tx.run_each(
        "DELETE FROM upstream_blob WHERE did = ? AND cid = ? AND due_at < ?",
        [(did, cid, before) for did, cid in found],
    )


def find_refused(tx: Transaction, did: str, cid: str) -> tuple[int, int] | None:
    """When the blob may be asked for again, and how often it was not to be had; None if never."""
    row = tx.one("SELECT due_at, tries FROM upstream_blob WHERE did = ? AND cid = ?", did, cid)
    if row is None:
        return None
    due_at, tries = row
    return due_at, tries


def set_refused(tx: Transaction, did: str, cid: str, due_at: int, failure: str) -> None:
    """The blob, which somebody asked for, is not to be had, and not asked for before *due_at*."""
    tx.run(
        """
        INSERT INTO upstream_blob (did, cid, due_at, tries, failure)
        VALUES (?, ?, ?, 1, ?)
            ON CONFLICT (did, cid) DO UPDATE
           SET due_at = excluded.due_at,
               tries = upstream_blob.tries + 1,
               failure = excluded.failure
        """,
        did,
        cid,
        due_at,
        failure,
    )


def tally(tx: Transaction, host: str) -> Tally:
    """What is here of *host*, counted row by row."""
    [row] = tx.all(
        """
        SELECT COUNT(*) AS accounts,
               COUNT(a.status) AS inactive,
               COUNT(a.due_at) AS due,
               COUNT(a.failure) AS failing,
               (SELECT COUNT(*)
                  FROM upstream_blob w JOIN upstream_account b ON b.did = w.did
                 WHERE b.host = ?
                   AND EXISTS (SELECT 1 FROM record_blob r
                                WHERE r.did = w.did AND r.cid = w.cid)) AS wanted,
               (SELECT COUNT(*)
                  FROM upstream_blob w JOIN upstream_account b ON b.did = w.did
                 WHERE b.host = ? AND w.failure IS NOT NULL
                   AND EXISTS (SELECT 1 FROM record_blob r
                                WHERE r.did = w.did AND r.cid = w.cid)) AS refused
          FROM upstream_account a
         WHERE a.host = ?
        """,
        host,
        host,
        host,
    )
    return Tally(*row)
