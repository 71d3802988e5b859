"""Blobs and the accounts that own them: the rows of `blob` and `blob_metadata`.

The removal rule keeps an upload and a deletion of the same bytes apart. A database's lock may be
lost while its holder lives, so it rests on no lock: nothing is stored under a name for as long as a
removal of what lies under it may come.

Deleting: a write transaction takes the name from the `blob` row, with the row or by `renumber`,
and notes the removal (catalog/removals.py). It is committed, then the bytes are removed, outside of
any transaction. When the store has answered, the removal is forgotten. One that broke off stays,
and the collector removes its bytes.

Storing: an upload ends with a write transaction that makes sure of its bytes. On a network (S3) the
upload pins a row before it sends the bytes, and looks for that very row, by CID, number and
created_at. The pin gives a number that is not given again: whatever arrives at the store late, with
whatever delay, finds another name. On a disk, where a removal that has returned has ended, the name
is the CID alone, and the upload looks at the bytes. While a removal of the CID has not ended, it
pins a row there too. If bytes or row are gone, the bytes are stored again.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from aurora_blobs.catalog.hiding import hide_from_all
from aurora_blobs.db import Transaction
from aurora_blobs.protocol.cid import cid_of_name, object_name


@dataclass(frozen=True, slots=True)
class Entry:
    """A blob of an account: its size in bytes, its times in microseconds since the epoch.

    `unreferenced_since` is None while the blob is public. `width` and `height` are in pixels as
    shown. They and `duration_ms` are None where they do not apply or are not known. `number` is in
    the `blob` row, for `name`.
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
    number: int = 0

    @property
    def name(self) -> str:
        """What the bytes lie under in a store."""
        return object_name(self.cid, self.number)


# What the public sees of an entry, in the operator's words.
State = Literal[
    "public", "temporary", "missing", "takendown", "account takendown", "account deactivated"
]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class Holding:
    """An entry, and whether everybody may fetch it."""

    entry: Entry
    state: State


def state_of(
    taken_down: bool,
    account_taken_down: bool,
    account_deactivated: bool,
    missing: bool,
    temporary: bool,
) -> State:
    """The one word for an entry; of several that hold, what an administrator did comes first."""
    if taken_down:
        return "takendown"
    if account_taken_down:
        return "account takendown"
    if account_deactivated:
        return "account deactivated"
    if missing:
        return "missing"
    return "temporary" if temporary else "public"


EVERY_ONE = 2**31 - 1  # a limit of rows beyond what there is

# Time (microseconds since the epoch), DID and CID of an entry, by which the newest come first.
Place = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class UploadState:
    """What an upload of a blob by an account has to know, in one snapshot.

    `row` is created_at and number of the `blob` row, None where there is none. `is_being_removed`:
    a removal of the content's bytes has begun and is not known to have ended. `entry` is None where
    the account does not own the blob. `expected_by_record`: a record of the account names the blob.
    `expected_type` is the media type which that record states, None where it states none.
    `moves_in`: this upload is one of those that are in no limit, because a record waits for it and
    its account is moving in.
    """

    blob_bytes: int
    quota_bytes: int | None
    uploads_per_day: int | None
    row: tuple[int, int] | None
    stored: bool
    is_being_removed: bool
    taken_down: bool
    expected_by_record: bool
    expected_type: str | None
    moves_in: bool
    entry: Entry | None


def find_upload_state(tx: Transaction, did: str, cid: str) -> UploadState | None:
    """What an upload of *cid* by *did* has to know; None if there is no such account."""
    # LIMIT: several records may name the blob.
    row = tx.one(
        """
        SELECT a.blob_bytes, a.quota_bytes, a.uploads_per_day, b.created_at, b.number, b.stored_at,
               EXISTS (SELECT 1 FROM removal e WHERE e.cid = ?),
               EXISTS (SELECT 1 FROM takedown t WHERE t.cid = ? AND t.did IN (a.did, '')),
               r.did, r.mime_type,
               r.did IS NOT NULL
               AND EXISTS (SELECT 1 FROM migration g
                            WHERE g.did = a.did AND g.is_open = 1 AND g.used < g.allowed),
               m.mime_type, m.size, m.created_at, m.unreferenced_since,
               m.width, m.height, m.duration_ms, b.number
          FROM account a
               LEFT JOIN blob b ON b.cid = ?
               LEFT JOIN blob_metadata m ON m.creator_did = a.did AND m.cid = b.cid
               LEFT JOIN record_blob r ON r.did = a.did AND r.cid = ?
         WHERE a.did = ?
           AND NOT EXISTS (SELECT 1 FROM account_deletion d WHERE d.did = a.did)
         LIMIT 1
        """,
        cid,
        cid,
        cid,
        cid,
        did,
    )
    if row is None:
        return None
    blob_bytes, quota, per_day, created_at, number, stored_at, is_removed, down, *others = row
    record, expected_type, moves_in, *entry = others
    return UploadState(
        blob_bytes=blob_bytes,
        quota_bytes=quota,
        uploads_per_day=per_day,
        row=None if created_at is None else (created_at, number),
        stored=stored_at is not None,
        is_being_removed=bool(is_removed),
        taken_down=bool(down),
        expected_by_record=record is not None,
        expected_type=expected_type,
        moves_in=bool(moves_in),
        entry=None if entry[0] is None else Entry(did, cid, *entry),
    )


def pin(tx: Transaction, cid: str, size: int, number: int, now: int) -> tuple[int, int]:
    """Make the `blob` row, unless there is one, before its bytes are sent.

    *number* is that of a new row. Returns the row's created_at and number.
    """
    # The update changes nothing: without one, no row is returned.
    [(created_at, number)] = tx.all(
        """
        INSERT INTO blob (cid, size, created_at, number)
        VALUES (?, ?, ?, ?)
            ON CONFLICT (cid) DO UPDATE
           SET size = blob.size
        RETURNING created_at, number
        """,
        cid,
        size,
        now,
        number,
    )
    return created_at, number


def mark_stored(tx: Transaction, cid: str, size: int, now: int) -> None:
    """The bytes of *cid* were put into the backend, under the name of the row or of a new one.

    The row is another one then for whoever has looked at the bytes before.
    """
    tx.run(
        """
        INSERT INTO blob (cid, size, created_at, stored_at)
        VALUES (?, ?, ?, ?)
            ON CONFLICT (cid) DO UPDATE
           SET stored_at = excluded.stored_at,
               verified_at = NULL,
               size = excluded.size
        """,
        cid,
        size,
        now,
        now,
    )


def add_fingerprint(tx: Transaction, cid: str, start: int) -> None:
    """Remember how *cid*, a large blob, begins."""
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
    """Whether a large blob with this fingerprint was stored; it is probably the same blob."""
    return tx.one("SELECT 1 FROM blob_start WHERE start = ? LIMIT 1", start) is not None


def mark_lost(tx: Transaction, cid: str, now: int) -> None:
    """The blob counts as missing: its bytes are gone, in quarantine, or in an unknown state.

    The row gets *now* as its created_at, so an upload that just found the bytes sends them again.
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


def renumber(tx: Transaction, cid: str, number: int) -> None:
    """Give the blob, which counts as missing, another name: what lies under its own is removed."""
    tx.run("UPDATE blob SET number = ? WHERE cid = ?", number, cid)


def has_name(tx: Transaction, name: str) -> bool:
    """Whether the bytes of a blob lie, or are to lie, under *name*."""
    row = tx.one("SELECT number FROM blob WHERE cid = ?", cid_of_name(name))
    return row is not None and object_name(cid_of_name(name), row[0]) == name


def add_owner(tx: Transaction, entry: Entry) -> None:
    """Give the account of *entry* the blob, whose header was read; its counters follow."""
    owned = """
        INSERT INTO blob_metadata (creator_did, cid, mime_type, size, created_at,
                                   unreferenced_since, width, height, duration_ms, probed_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """
    counted = """
        UPDATE account
           SET blob_count = blob_count + 1,
               blob_bytes = blob_bytes + ?
         WHERE did = ?
        """
    facts = (entry.width, entry.height, entry.duration_ms)
    times = (entry.created_at, entry.unreferenced_since, *facts, entry.created_at)
    tx.run_all(
        (owned, (entry.did, entry.cid, entry.mime_type, entry.size, *times)),
        (counted, (entry.size, entry.did)),
    )


def set_charset(tx: Transaction, did: str, cid: str, charset: str) -> None:
    """Note that *cid*, a text that *did* owns and that has no charset yet, is in *charset*."""
    tx.run("INSERT INTO blob_charset (did, cid, charset) VALUES (?, ?, ?)", did, cid, charset)


def find_charset(tx: Transaction, did: str, cid: str) -> str | None:
    """The charset that *did* declared for the text *cid*; None if it declared UTF-8 or nothing."""
    row = tx.one("SELECT charset FROM blob_charset WHERE did = ? AND cid = ?", did, cid)
    return None if row is None else row[0]


def never_probed(
    tx: Transaction, low: str, high: str, after: tuple[str, str], limit: int
) -> list[Entry]:
    """Up to *limit* entries that are stored and whose header was never read, in (DID, CID) order.

    Only those with *low* < CID < *high*. *after* is the DID and CID of the last one seen.
    """
    rows = tx.all(
        """
        SELECT m.creator_did AS did, m.cid, m.mime_type, m.size, m.created_at, m.unreferenced_since,
               m.width, m.height, m.duration_ms, b.number
          FROM blob_metadata m
               JOIN blob b ON b.cid = m.cid
         WHERE m.probed_at IS NULL AND b.stored_at IS NOT NULL AND (m.creator_did, m.cid) > (?, ?)
           AND m.cid > ? AND m.cid < ?
         ORDER BY m.creator_did, m.cid
         LIMIT ?
        """,
        *after,
        low,
        high,
        limit,
    )
    return [Entry(*row) for row in rows]


def set_probed(tx: Transaction, entry: Entry, now: int) -> bool:
    """Note the width, height and duration of *entry*, which its header states.

    False if the row went, or came again and was probed, since it was read.
    """
    return bool(
        tx.run(
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
    )


def remove_owner(tx: Transaction, did: str, cid: str) -> bool:
    """Take *cid* from *did*; whether it owned it. The account's counters follow."""
    row = tx.one(
        """
        DELETE FROM blob_metadata
         WHERE creator_did = ? AND cid = ?
        RETURNING size, unreferenced_since
        """,
        did,
        cid,
    )
    if row is None:
        return False
    size, unreferenced_since = row
    tx.run(
        """
        UPDATE account
           SET blob_count = blob_count - 1,
               blob_bytes = blob_bytes - ?
         WHERE did = ?
        """,
        size,
        did,
    )
    tx.hide(did, cid, was_public=unreferenced_since is None)
    return True


def restart_grace(tx: Transaction, did: str, cid: str, now: int) -> None:
    """Begin the grace time of a temporary blob again; a public one is left alone."""
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
    """Whether no account owns *cid* and no takedown keeps its bytes."""
    if is_owned(tx, cid):
        return False
    stored = tx.one("SELECT 1 FROM blob WHERE cid = ? AND stored_at IS NOT NULL", cid)
    return stored is None or not is_kept_for_takedown(tx, cid)


def forget(tx: Transaction, cid: str) -> str | None:
    """Remove the `blob` row, which no account owns; the name that it had, None without a row."""
    row = tx.one("DELETE FROM blob WHERE cid = ? RETURNING number", cid)
    return None if row is None else object_name(cid, row[0])


def is_owned(tx: Transaction, cid: str) -> bool:
    """Whether any account owns *cid*."""
    return tx.one("SELECT 1 FROM blob_metadata WHERE cid = ? LIMIT 1", cid) is not None


def is_kept_for_takedown(tx: Transaction, cid: str) -> bool:
    """Whether a takedown for any account keeps the bytes of *cid* until an admin decides."""
    return tx.one("SELECT 1 FROM takedown WHERE cid = ? LIMIT 1", cid) is not None


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a blob may be served. `entry` is None where the account does not own it.

    `taken_down` is by an administrator, or at the PDS that is followed.

    `upstream_status` is why the account is not active at the PDS that is followed, None if it is.
    """

    account_taken_down: bool
    account_deactivated: bool
    upstream_status: str | None
    stored: bool
    taken_down: bool
    entry: Entry | None


def find_availability(tx: Transaction, did: str, cid: str) -> Availability | None:
    """The states of account and blob; None if there is no such account."""
    row = tx.one(
        """
        SELECT a.takedown_at, a.deactivated_at, u.status, b.stored_at,
               EXISTS (SELECT 1 FROM takedown t WHERE t.cid = ? AND t.did IN (a.did, ''))
               OR EXISTS (SELECT 1 FROM upstream_refusal f
                           WHERE f.did = a.did AND f.cid = ? AND f.hidden_at IS NOT NULL),
               m.mime_type, m.size, m.created_at, m.unreferenced_since,
               m.width, m.height, m.duration_ms, b.number
          FROM account a
               LEFT JOIN upstream_account u ON u.did = a.did
               LEFT JOIN blob_metadata m ON m.creator_did = a.did AND m.cid = ?
               LEFT JOIN blob b ON b.cid = m.cid
         WHERE a.did = ?
           AND NOT EXISTS (SELECT 1 FROM account_deletion d WHERE d.did = a.did)
        """,
        cid,
        cid,
        cid,
        did,
    )
    if row is None:
        return None
    takedown_at, deactivated_at, upstream_status, stored_at, taken_down, *entry = row
    return Availability(
        takedown_at is not None,
        deactivated_at is not None,
        upstream_status,
        stored_at is not None,
        bool(taken_down),
        None if entry[0] is None else Entry(did, cid, *entry),
    )


def is_unknown(tx: Transaction, did: str, cid: str) -> bool:
    """Whether no row hides *cid* of *did* from the public, whether it is here or not."""
    row = tx.one(
        """
        SELECT EXISTS (SELECT 1 FROM takedown WHERE cid = ? AND did IN (?, ''))
               OR EXISTS (SELECT 1 FROM taken_down_account WHERE did = ?)
               OR EXISTS (SELECT 1
                            FROM account
                           WHERE did = ?
                             AND (takedown_at IS NOT NULL OR deactivated_at IS NOT NULL))
               OR EXISTS (SELECT 1 FROM upstream_account WHERE did = ? AND status IS NOT NULL)
               OR EXISTS (SELECT 1
                            FROM blob_metadata
                           WHERE creator_did = ? AND cid = ? AND unreferenced_since IS NOT NULL)
        """,
        cid,
        did,
        did,
        did,
        did,
        did,
        cid,
    )
    return row is not None and not row[0]


@dataclass(frozen=True, slots=True)
class AccountUsage:
    """How many blobs and bytes an account owns; `quota_bytes` is None where it has no own quota."""

    did: str
    handle: str | None
    blob_count: int
    blob_bytes: int
    temporary_bytes: int
    quota_bytes: int | None


_USAGE = """
SELECT a.did, a.handle, a.blob_count, a.blob_bytes,
       (SELECT CAST(COALESCE(SUM(m.size), 0) AS BIGINT)
          FROM blob_metadata m
         WHERE m.creator_did = a.did AND m.unreferenced_since IS NOT NULL)
       AS temporary_bytes,
       a.quota_bytes
  FROM account a
"""


def usage(tx: Transaction, did: str) -> AccountUsage | None:
    """What *did* owns, in numbers; None if there is no such account."""
    row = tx.one(
        _USAGE
        + """
         WHERE a.did = ?
        """,
        did,
    )
    return None if row is None else AccountUsage(*row)


def usage_page(tx: Transaction, after_did: str, limit: int) -> list[AccountUsage]:
    """What up to *limit* accounts own, by DID, those after *after_did*; '' is the beginning."""
    rows = tx.all(
        _USAGE
        + """
         WHERE a.did > ?
           AND NOT EXISTS (SELECT 1 FROM account_deletion d WHERE d.did = a.did)
         ORDER BY a.did
         LIMIT ?
        """,
        after_did,
        limit,
    )
    return [AccountUsage(*row) for row in rows]


# What `state_of` is told of the entry `m`, in the tables of `HELD`. What is hidden because of the
# PDS that is followed is hidden too.
FLAGS = """
SELECT EXISTS (SELECT 1 FROM takedown t WHERE t.cid = m.cid AND t.did IN (m.creator_did, ''))
       OR EXISTS (SELECT 1 FROM upstream_refusal f
                   WHERE f.did = m.creator_did AND f.cid = m.cid AND f.hidden_at IS NOT NULL)
       AS taken_down,
       a.takedown_at IS NOT NULL OR COALESCE(u.status, '') = 'takendown' AS account_taken_down,
       a.deactivated_at IS NOT NULL OR u.status IS NOT NULL AS account_deactivated,
       b.stored_at IS NULL AS missing,
       m.unreferenced_since IS NOT NULL AS temporary,
"""
_OF_ENTRY = """
       JOIN account a ON a.did = m.creator_did
       LEFT JOIN upstream_account u ON u.did = a.did
       JOIN blob b ON b.cid = m.cid
"""
HELD = (
    """
  FROM blob_metadata m
"""
    + _OF_ENTRY
)
_HOLDING = (
    FLAGS
    + """
       m.creator_did AS did, m.cid, m.mime_type, m.size, m.created_at, m.unreferenced_since,
       m.width, m.height, m.duration_ms, b.number
"""
)
_HOLDINGS = _HOLDING + HELD


def owners(tx: Transaction, cid: str, after_did: str = "", limit: int = EVERY_ONE) -> list[Holding]:
    """Up to *limit* accounts' entries of *cid*, by DID, after *after_did*."""
    rows = tx.all(
        _HOLDINGS
        + """
         WHERE m.cid = ? AND m.creator_did > ?
         ORDER BY m.creator_did
         LIMIT ?
        """,
        cid,
        after_did,
        limit,
    )
    return [_holding(*row) for row in rows]


def page(tx: Transaction, after: tuple[str, str], limit: int) -> list[Holding]:
    """Up to *limit* entries of all accounts, in (DID, CID) order, after the pair *after*."""
    rows = tx.all(
        _HOLDINGS
        + """
         WHERE (m.creator_did, m.cid) > (?, ?)
         ORDER BY m.creator_did, m.cid
         LIMIT ?
        """,
        *after,
        limit,
    )
    return [_holding(*row) for row in rows]


def newest(tx: Transaction, before: Place, limit: int) -> list[Holding]:
    """Up to *limit* entries of all accounts, newest first, that come before *before*."""
    rows = tx.all(
        _HOLDINGS
        + """
         WHERE (m.created_at, m.creator_did, m.cid) < (?, ?, ?)
         ORDER BY m.created_at DESC, m.creator_did DESC, m.cid DESC
         LIMIT ?
        """,
        *before,
        limit,
    )
    return [_holding(*row) for row in rows]


def newest_of(tx: Transaction, did: str, before: Place, limit: int) -> list[Holding]:
    """As `newest`, of *did* alone; reads all of its entries."""
    # As an expression: else SQLite goes by time, through the entries of all accounts. What else is
    # known of an entry is looked up for those of the page alone.
    rows = tx.all(
        _HOLDING
        + """
          FROM (SELECT creator_did, cid, mime_type, size, created_at, unreferenced_since,
                       width, height, duration_ms
                  FROM blob_metadata
                 WHERE creator_did = ? AND (created_at + 0, creator_did, cid) < (?, ?, ?)
                 ORDER BY created_at + 0 DESC, cid DESC
                 LIMIT ?) AS m
        """
        + _OF_ENTRY
        + """
         ORDER BY m.created_at DESC, m.cid DESC
        """,
        did,
        *before,
        limit,
    )
    return [_holding(*row) for row in rows]


def lost(tx: Transaction, after: tuple[str, str], limit: int) -> list[Holding]:
    """Up to *limit* entries whose bytes are not here, by CID and DID, after that pair."""
    # Expressions, and a bound of the time: else SQLite goes by CID, through all entries.
    rows = tx.all(
        _HOLDINGS
        + """
         WHERE b.stored_at IS NULL AND b.created_at > -1
           AND (m.cid || '', m.creator_did || '') > (?, ?)
         ORDER BY m.cid || '', m.creator_did || ''
         LIMIT ?
        """,
        *after,
        limit,
    )
    return [_holding(*row) for row in rows]


def taken_down(tx: Transaction, after: tuple[str, str], limit: int) -> list[Holding]:
    """Up to *limit* entries that are taken down, by CID and DID, after that pair."""
    # CROSS JOIN: else SQLite goes through all entries, and looks for a takedown of each. By t.cid,
    # whose index it follows. Were the entries looked for again by what is found, PostgreSQL would
    # go through all owners of a blob for each of them.
    rows = tx.all(
        _HOLDING
        + """
          FROM (SELECT DISTINCT t.cid, o.creator_did, o.mime_type, o.size, o.created_at,
                       o.unreferenced_since, o.width, o.height, o.duration_ms
                  FROM takedown t CROSS JOIN blob_metadata o
                 WHERE o.cid = t.cid AND t.did IN (o.creator_did, '')
                   AND t.cid >= ? AND (t.cid, o.creator_did) > (?, ?)
                 ORDER BY t.cid, o.creator_did
                 LIMIT ?) AS m
        """
        + _OF_ENTRY
        + """
         ORDER BY m.cid, m.creator_did
        """,
        after[0],
        *after,
        limit,
    )
    return [_holding(*row) for row in rows]


def _holding(
    taken_down: bool,
    account_taken_down: bool,
    account_deactivated: bool,
    missing: bool,
    temporary: bool,
    *entry: Any,
) -> Holding:
    state = state_of(taken_down, account_taken_down, account_deactivated, missing, temporary)
    return Holding(Entry(*entry), state)


def some_cids_of(tx: Transaction, did: str, limit: int) -> list[str]:
    """The CIDs of up to *limit* blobs that *did* owns, in the order of their folders."""
    rows = tx.all(
        "SELECT cid FROM blob_metadata WHERE creator_did = ? ORDER BY cid LIMIT ?", did, limit
    )
    return [cid for (cid,) in rows]


def forget_owner(tx: Transaction, did: str, cids: list[str]) -> None:
    """Take *cids* from *did*, which is being deleted: nothing is counted, nothing is hidden."""
    tx.run_each(
        "DELETE FROM blob_metadata WHERE creator_did = ? AND cid = ?", [(did, cid) for cid in cids]
    )
