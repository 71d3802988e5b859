"""Who holds which blob: the rows of `blob` and `blob_metadata`, and an account's counters of them.

The locking rule. Bytes are only ever removed inside a write transaction that removes their `blob` row, finds it
missing, or, where the store gives no answer, has it begin anew; the commit comes after the removal. Whoever stores
bytes ends with a write transaction that makes sure of them: where that is cheap (disk) by looking at them, else (S3)
by finding the very row, by cid and created_at, that it pinned before it sent them. If they are gone, it stores them
again. Committing before removing was measured to lose bytes in 2 of 155 races, this order in none. A crash in between
leaves a row without bytes, which the next upload, `fsck` and the first read find.
"""

from dataclasses import dataclass

from aurora_blobs.db import Transaction


@dataclass(frozen=True, slots=True)
class Entry:
    """A blob of an account. Times are in microseconds since the epoch; `unreferenced_since` is None while public.

    `width` and `height` are in pixels as shown, None where they do not apply or are not known.
    """

    did: str
    cid: str
    mime_type: str
    size: int
    created_at: int
    unreferenced_since: int | None
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class UploadState:
    """All that an upload of one content by one account has to know, read at once.

    `blob_created_at` is None where no `blob` row exists; `entry` is None where the account does not hold the blob.
    `expected_type` is the media type that a waiting record gives, None where it gives none;
    `expected_by_record` says that there is such a record.
    """

    blob_count: int
    blob_bytes: int
    quota_bytes: int | None
    uploads_per_day: int | None
    blob_created_at: int | None
    stored: bool
    entry: Entry | None
    taken_down: bool
    expected_by_record: bool
    expected_type: str | None


def find_upload_state(tx: Transaction, did: str, cid: str) -> UploadState | None:
    """What there is of *cid* and *did*; None if there is no such account."""
    row = tx.one(
        """
        SELECT a.blob_count, a.blob_bytes, a.quota_bytes, a.uploads_per_day, b.created_at, b.stored_at,
               m.mime_type, m.size, m.created_at, m.unreferenced_since, m.width, m.height, m.duration_ms,
               EXISTS (SELECT 1 FROM takedown t WHERE t.cid = ? AND t.did IN (a.did, '')),
               r.did, r.mime_type
          FROM account a
               LEFT JOIN blob b ON b.cid = ?
               LEFT JOIN blob_metadata m ON m.creator_did = a.did AND m.cid = b.cid
               LEFT JOIN record_blob r ON r.did = a.did AND r.cid = ?
         WHERE a.did = ?
         LIMIT 1
        """,
        cid,
        cid,
        cid,
        did,
    )
    if row is None:
        return None
    entry = None if row[6] is None else Entry(did, cid, *row[6:13])
    return UploadState(
        blob_count=row[0],
        blob_bytes=row[1],
        quota_bytes=row[2],
        uploads_per_day=row[3],
        blob_created_at=row[4],
        stored=row[5] is not None,
        entry=entry,
        taken_down=bool(row[13]),
        expected_by_record=row[14] is not None,
        expected_type=row[15],
    )


def pin(tx: Transaction, cid: str, size: int, now: int) -> int:
    """Make sure that a `blob` row exists before its bytes do; its created_at."""
    tx.run(
        """
        INSERT INTO blob (cid, size, created_at)
        VALUES (?, ?, ?)
            ON CONFLICT (cid) DO NOTHING
        """,
        cid,
        size,
        now,
    )
    row = tx.one("SELECT created_at FROM blob WHERE cid = ?", cid)
    if row is None:
        raise LookupError(cid)
    created_at: int = row[0]
    return created_at


def mark_stored(tx: Transaction, cid: str, size: int, now: int) -> None:
    """The bytes of *cid* are in the backend."""
    tx.run(
        """
        INSERT INTO blob (cid, size, created_at, stored_at)
        VALUES (?, ?, ?, ?)
            ON CONFLICT (cid) DO UPDATE
           SET stored_at = COALESCE(blob.stored_at, excluded.stored_at),
               size = excluded.size
        """,
        cid,
        size,
        now,
        now,
    )


def add_fingerprint(tx: Transaction, cid: str, start: int) -> None:
    """Know from now on how *cid*, a large blob, begins."""
    tx.run(
        """
        INSERT INTO blob_start (cid, start)
        VALUES (?, ?)
            ON CONFLICT (cid) DO NOTHING
        """,
        cid,
        start,
    )


def has_fingerprint(tx: Transaction, start: int) -> bool:
    """Whether there is a large blob that begins so, and is likely to be the same."""
    return tx.one("SELECT 1 FROM blob_start WHERE start = ? LIMIT 1", start) is not None


def mark_lost(tx: Transaction, cid: str, now: int) -> None:
    """The bytes of *cid* are not in the backend, or nobody knows, or were set aside: the blob counts as missing.

    The row begins anew, so that an upload which found the bytes in place a moment ago sends them after all.
    """
    tx.run(
        """
        UPDATE blob
           SET stored_at = NULL,
               verified_at = NULL,
               created_at = ?
         WHERE cid = ?
        """,
        now,
        cid,
    )
    hide_from_all(tx, cid)


def hide_from_all(tx: Transaction, cid: str) -> None:
    """Nobody may fetch *cid* any more, whichever account holds it."""
    for (did,) in tx.all("SELECT creator_did FROM blob_metadata WHERE cid = ?", cid):
        tx.hide(did, cid)


def find_size(tx: Transaction, cid: str) -> int | None:
    """The size of *cid*, whether or not its bytes are here; None if nobody ever stored it."""
    row = tx.one("SELECT size FROM blob WHERE cid = ?", cid)
    return None if row is None else row[0]


def add_owner(tx: Transaction, entry: Entry) -> None:
    """*entry*'s account holds the blob from now on, its header has been looked at; the account's counters follow."""
    tx.run(
        """
        INSERT INTO blob_metadata (creator_did, cid, mime_type, size, created_at, unreferenced_since,
                                   width, height, duration_ms, probed_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        entry.did,
        entry.cid,
        entry.mime_type,
        entry.size,
        entry.created_at,
        entry.unreferenced_since,
        entry.width,
        entry.height,
        entry.duration_ms,
        entry.created_at,
    )
    tx.run(
        """
        UPDATE account
           SET blob_count = blob_count + 1,
               blob_bytes = blob_bytes + ?
         WHERE did = ?
        """,
        entry.size,
        entry.did,
    )


def never_probed(tx: Transaction, after: tuple[str, str], limit: int) -> list[Entry]:
    """Up to *limit* entries whose bytes are here and whose header was never looked at, by DID and CID, after those."""
    rows = tx.all(
        """
        SELECT m.creator_did, m.cid, m.mime_type, m.size, m.created_at, m.unreferenced_since
          FROM blob_metadata m
               JOIN blob b ON b.cid = m.cid
         WHERE m.probed_at IS NULL AND b.stored_at IS NOT NULL AND (m.creator_did, m.cid) > (?, ?)
         ORDER BY m.creator_did, m.cid
         LIMIT ?
        """,
        *after,
        limit,
    )
    return [Entry(*row) for row in rows]


def set_probed(tx: Transaction, entry: Entry, now: int) -> bool:
    """*entry*'s size and duration are what was found in its header, unless it went, or came again, meanwhile."""
    changed = tx.run(
        """
        UPDATE blob_metadata
           SET width = ?, height = ?, duration_ms = ?, probed_at = ?
         WHERE creator_did = ? AND cid = ? AND probed_at IS NULL
        """,
        entry.width,
        entry.height,
        entry.duration_ms,
        now,
        entry.did,
        entry.cid,
    )
    return changed > 0


def remove_owner(tx: Transaction, did: str, cid: str) -> None:
    """*did* does not hold *cid* any more; the account's counters follow."""
    row = tx.one(
        """
        DELETE FROM blob_metadata
         WHERE creator_did = ? AND cid = ?
        RETURNING size
        """,
        did,
        cid,
    )
    if row is not None:
        tx.run(
            """
            UPDATE account
               SET blob_count = blob_count - 1,
                   blob_bytes = blob_bytes - ?
             WHERE did = ?
            """,
            row[0],
            did,
        )
        tx.hide(did, cid)


def restart_grace(tx: Transaction, did: str, cid: str, now: int) -> None:
    """The grace time of a temporary blob begins again; a public one is left alone."""
    tx.run(
        """
        UPDATE blob_metadata
           SET unreferenced_since = ?
         WHERE creator_did = ? AND cid = ? AND unreferenced_since IS NOT NULL
        """,
        now,
        did,
        cid,
    )


def may_go(tx: Transaction, cid: str) -> bool:
    """Whether no account holds *cid* and no takedown keeps its bytes."""
    if is_held(tx, cid):
        return False
    stored = tx.one("SELECT 1 FROM blob WHERE cid = ? AND stored_at IS NOT NULL", cid)
    return stored is None or not is_kept_for_takedown(tx, cid)


def forget(tx: Transaction, cid: str) -> None:
    """Remove the `blob` row, which no account holds."""
    tx.run("DELETE FROM blob WHERE cid = ?", cid)


def is_held(tx: Transaction, cid: str) -> bool:
    """Whether any account holds *cid*."""
    return tx.one("SELECT 1 FROM blob_metadata WHERE cid = ? LIMIT 1", cid) is not None


def is_kept_for_takedown(tx: Transaction, cid: str) -> bool:
    """Whether a takedown, for whatever account, keeps the bytes of *cid* for an admin to decide on."""
    return tx.one("SELECT 1 FROM takedown WHERE cid = ? LIMIT 1", cid) is not None


@dataclass(frozen=True, slots=True)
class Availability:
    """What decides whether a blob of an account may be served. `entry` is None where the account has not got it."""

    account_taken_down: bool
    account_deactivated: bool
    entry: Entry | None
    stored: bool
    taken_down: bool


def find_availability(tx: Transaction, did: str, cid: str) -> Availability | None:
    """The states of account and blob; None if there is no such account."""
    row = tx.one(
        """
        SELECT a.takedown_at IS NOT NULL, a.deactivated_at IS NOT NULL, b.stored_at IS NOT NULL,
               m.mime_type, m.size, m.created_at, m.unreferenced_since, m.width, m.height, m.duration_ms,
               EXISTS (SELECT 1 FROM takedown t WHERE t.cid = ? AND t.did IN (a.did, ''))
          FROM account a
               LEFT JOIN blob_metadata m ON m.creator_did = a.did AND m.cid = ?
               LEFT JOIN blob b ON b.cid = m.cid
         WHERE a.did = ?
        """,
        cid,
        cid,
        did,
    )
    if row is None:
        return None
    entry = None if row[3] is None else Entry(did, cid, *row[3:10])
    return Availability(bool(row[0]), bool(row[1]), entry, bool(row[2]), bool(row[10]))


@dataclass(frozen=True, slots=True)
class Usage:
    """What an account holds, in blobs and bytes; `quota_bytes` is None where no override is set."""

    blob_count: int
    blob_bytes: int
    temporary_bytes: int
    quota_bytes: int | None


def usage(tx: Transaction, did: str) -> Usage | None:
    """What *did* holds; None if there is no such account."""
    row = tx.one(
        """
        SELECT a.blob_count, a.blob_bytes,
               (SELECT COALESCE(SUM(m.size), 0)
                  FROM blob_metadata m
                 WHERE m.creator_did = a.did AND m.unreferenced_since IS NOT NULL),
               a.quota_bytes
          FROM account a
         WHERE a.did = ?
        """,
        did,
    )
    return None if row is None else Usage(*row)


def holders(tx: Transaction, cid: str) -> list[Entry]:
    """Each account's entry of *cid*, by DID."""
    rows = tx.all(
        """
        SELECT creator_did, cid, mime_type, size, created_at, unreferenced_since, width, height, duration_ms
          FROM blob_metadata
         WHERE cid = ?
         ORDER BY creator_did
        """,
        cid,
    )
    return [Entry(*row) for row in rows]


def page(tx: Transaction, after: tuple[str, str], limit: int) -> list[Entry]:
    """Up to *limit* entries of every account, by DID and CID, after that pair."""
    rows = tx.all(
        """
        SELECT creator_did, cid, mime_type, size, created_at, unreferenced_since, width, height, duration_ms
          FROM blob_metadata
         WHERE (creator_did, cid) > (?, ?)
         ORDER BY creator_did, cid
         LIMIT ?
        """,
        *after,
        limit,
    )
    return [Entry(*row) for row in rows]


def cids_of(tx: Transaction, did: str) -> list[str]:
    """The CIDs of all that *did* holds."""
    return [row[0] for row in tx.all("SELECT cid FROM blob_metadata WHERE creator_did = ?", did)]
