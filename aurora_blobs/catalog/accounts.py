"""Accounts: the rows of `account`, and how many records and blobs an account has."""

from dataclasses import dataclass, field

from aurora_blobs.catalog import audit, migrations
from aurora_blobs.catalog.audit import PROGRAM, Author
from aurora_blobs.clock import moment
from aurora_blobs.db import Transaction
from aurora_blobs.errors import ServiceBusy


@dataclass(frozen=True, slots=True)
class Account:
    """A row of `account`; schema.sql says what NULL means.

    `upstream_status` is why it is not active at the PDS that is followed, None if it is.
    """

    did: str
    handle: str | None
    email: str | None
    password_hash: str | None = field(repr=False)
    created_at: int
    deactivated_at: int | None
    takedown_at: int | None
    takedown_ref: str | None
    rev: str | None
    quota_bytes: int | None
    uploads_per_day: int | None
    blob_count: int
    blob_bytes: int
    upstream_status: str | None

    @property
    def active(self) -> bool:
        return self.status is None

    @property
    def status(self) -> str | None:
        """Why it is not active, in the words of the lexicons; None if it is active."""
        if self.takedown_at is not None:
            return "takendown"
        return self.upstream_status if self.deactivated_at is None else "deactivated"


@dataclass(frozen=True, slots=True)
class Counts:
    """An account in numbers, for com.atproto.server.checkAccountStatus."""

    records: int
    expected_blobs: int
    imported_blobs: int


def create(
    tx: Transaction,
    did: str,
    *,
    handle: str,
    email: str | None,
    password_hash: str,
    now: int,
    deactivated_at: int | None = None,
) -> bool:
    """Make a local account; False if the DID, the handle or the email is in use.

    Raises ServiceBusy while an earlier account of the DID is being deleted.
    """
    _refuse_while_deleted(tx, did)
    return bool(
        tx.run(
            """
            INSERT INTO account (did, handle, email, password_hash, created_at, deactivated_at,
                                 takedown_at, takedown_ref)
            VALUES (?, ?, ?, ?, ?, ?,
                    (SELECT created_at FROM taken_down_account WHERE did = ?),
                    (SELECT ref FROM taken_down_account WHERE did = ?))
                ON CONFLICT DO NOTHING
            """,
            did,
            handle,
            email,
            password_hash,
            now,
            deactivated_at,
            did,
            did,
        )
    )


def make_external(tx: Transaction, did: str, now: int) -> bool:
    """Make the row of an account that a PDS keeps; False if there is one.

    Raises ServiceBusy while an earlier account of the DID is being deleted.
    """
    _refuse_while_deleted(tx, did)
    return bool(
        tx.run(
            """
            INSERT INTO account (did, created_at, takedown_at, takedown_ref)
            VALUES (?, ?,
                    (SELECT created_at FROM taken_down_account WHERE did = ?),
                    (SELECT ref FROM taken_down_account WHERE did = ?))
                ON CONFLICT (did) DO NOTHING
            """,
            did,
            now,
            did,
            did,
        )
    )


def find(tx: Transaction, did: str) -> Account | None:
    """The account of *did*."""
    return _find(tx, did=did)


def find_by_handle(tx: Transaction, handle: str) -> Account | None:
    """The local account with *handle*, in lower case."""
    return _find(tx, handle=handle)


def find_by_email(tx: Transaction, email: str) -> Account | None:
    """The local account with *email*, in lower case."""
    return _find(tx, email=email)


def find_by_name(tx: Transaction, name: str) -> Account | None:
    """The account whose DID, or handle in any case, is *name*."""
    return find(tx, name) if name.startswith("did:") else find_by_handle(tx, name.lower())


def page(tx: Transaction, after_did: str, limit: int) -> list[Account]:
    """Up to *limit* accounts by DID, after *after_did*; '' is the beginning."""
    rows = tx.all(
        """
        SELECT a.did, a.handle, a.email, a.password_hash, a.created_at, a.deactivated_at,
               a.takedown_at, a.takedown_ref, a.rev, a.quota_bytes, a.uploads_per_day,
               a.blob_count, a.blob_bytes, u.status AS upstream_status
          FROM account a LEFT JOIN upstream_account u ON u.did = a.did
         WHERE a.did > ?
           AND NOT EXISTS (SELECT 1 FROM account_deletion d WHERE d.did = a.did)
         ORDER BY a.did
         LIMIT ?
        """,
        after_did,
        limit,
    )
    return [Account(*row) for row in rows]


def some_dids(tx: Transaction, limit: int) -> list[str]:
    """The first *limit* accounts by DID. The database may be of any version."""
    return [
        did
        for (did,) in tx.all("SELECT did FROM account WHERE did > '' ORDER BY did LIMIT ?", limit)
    ]


def is_known(tx: Transaction, did: str) -> bool:
    """Whether there is an account of *did*, whatever its state. As `some_dids`."""
    return tx.one("SELECT 1 FROM account WHERE did = ?", did) is not None


def largest(tx: Transaction, limit: int) -> list[Account]:
    """The *limit* accounts that own most bytes; reads all accounts."""
    rows = tx.all(
        """
        SELECT a.did, a.handle, a.email, a.password_hash, a.created_at, a.deactivated_at,
               a.takedown_at, a.takedown_ref, a.rev, a.quota_bytes, a.uploads_per_day,
               a.blob_count, a.blob_bytes, u.status AS upstream_status
          FROM account a LEFT JOIN upstream_account u ON u.did = a.did
         WHERE NOT EXISTS (SELECT 1 FROM account_deletion d WHERE d.did = a.did)
         ORDER BY a.blob_bytes DESC, a.did
         LIMIT ?
        """,
        limit,
    )
    return [Account(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Sums:
    """All accounts in numbers, by their counters: sizes in bytes."""

    accounts: int
    blob_count: int
    blob_bytes: int


def sums(tx: Transaction) -> Sums:
    """The sums over all accounts; reads all of them."""
    [row] = tx.all(
        """
        SELECT COUNT(*) AS accounts,
               CAST(COALESCE(SUM(blob_count), 0) AS BIGINT) AS blob_count,
               CAST(COALESCE(SUM(blob_bytes), 0) AS BIGINT) AS blob_bytes
          FROM account a
         WHERE NOT EXISTS (SELECT 1 FROM account_deletion d WHERE d.did = a.did)
        """
    )
    return Sums(*row)


def counts(tx: Transaction, did: str) -> Counts:
    """The records of *did*, the different blobs that they name, and its blobs that are stored."""
    # The second as in `references.count`.
    [(recorded, expected, owned, lost)] = tx.all(
        """
        SELECT (SELECT COUNT(*) FROM record WHERE did = ?),
               (SELECT COUNT(*)
                  FROM (SELECT DISTINCT cid FROM record_blob WHERE did = ?) AS named),
               COALESCE((SELECT blob_count FROM account WHERE did = ?), 0),
               (SELECT COUNT(*)
                  FROM blob b JOIN blob_metadata m ON m.creator_did = ? AND m.cid = b.cid
                 WHERE b.stored_at IS NULL)
        """,
        did,
        did,
        did,
        did,
    )
    return Counts(recorded, expected, owned - lost)


def set_deactivated(tx: Transaction, did: str, since: int | None, by: Author = PROGRAM) -> bool:
    """Deactivate *did* as of *since*, or activate it with None; False without such an account.

    An account that was moving in has done so when it is activated.
    """
    if since is None:
        tx.keep_others_out()
        migrations.close(tx, did)
    else:
        tx.hide(did)
    account = find(tx, did)
    if account is None:
        return False
    old = account.deactivated_at
    if old != since:
        action: audit.Action = "activate" if since is None else "deactivate"
        audit.add(tx, by, action, did=did, old=moment(old), new=moment(since))
    tx.run(
        """
        UPDATE account
           SET deactivated_at = ?
         WHERE did = ?
        """,
        since,
        did,
    )
    return True


def take_down(tx: Transaction, did: str, since: int, ref: str, by: Author = PROGRAM) -> bool:
    """Take *did* down as of *since*. *ref* is the admin's. False if there is no such account.

    One that is taken down under that *ref* stays so since it was.
    """
    tx.hide(did)
    # Also of one that is being deleted: it is remembered then.
    row = tx.one("SELECT takedown_ref FROM account WHERE did = ?", did)
    if row is None:
        return False
    if row[0] == ref:
        return True
    audit.add(tx, by, "takedown", did=did, old=row[0], new=ref)
    tx.run(
        """
        UPDATE account
           SET takedown_at = ?, takedown_ref = ?
         WHERE did = ?
        """,
        since,
        ref,
        did,
    )
    return True


def lift_takedown(tx: Transaction, did: str, by: Author = PROGRAM) -> bool:
    """Lift the takedown of *did*, which may be deleted by now; False if there is none."""
    tx.keep_others_out()
    row = tx.one(
        """
        SELECT COALESCE(takedown_ref, '') AS ref
          FROM account
         WHERE did = ? AND takedown_at IS NOT NULL
         UNION ALL
        SELECT ref
          FROM taken_down_account
         WHERE did = ?
         LIMIT 1
        """,
        did,
        did,
    )
    if row is None:
        return False
    audit.add(tx, by, "lift", did=did, old=row[0])
    tx.run(
        """
        UPDATE account
           SET takedown_at = NULL, takedown_ref = NULL
         WHERE did = ? AND takedown_at IS NOT NULL
        """,
        did,
    )
    tx.run("DELETE FROM taken_down_account WHERE did = ?", did)
    return True


def find_takedown_ref(tx: Transaction, did: str) -> str | None:
    """The ref under which *did* was taken down before it was deleted."""
    row = tx.one("SELECT ref FROM taken_down_account WHERE did = ?", did)
    return None if row is None else row[0]


def set_password(tx: Transaction, did: str, password_hash: str, by: Author = PROGRAM) -> None:
    """Let *did* log in with another password."""
    audit.add(tx, by, "password", did=did)
    tx.run(
        """
        UPDATE account
           SET password_hash = ?
         WHERE did = ?
        """,
        password_hash,
        did,
    )


def set_quota(tx: Transaction, did: str, quota_bytes: int | None, by: Author = PROGRAM) -> bool:
    """Let *did* own *quota_bytes*: 0 is no limit, None the service's default.

    False if there is no such account.
    """
    account = find(tx, did)
    if account is None:
        return False
    _note_limit(tx, by, "quota", did, account.quota_bytes, quota_bytes)
    tx.run(
        """
        UPDATE account
           SET quota_bytes = ?
         WHERE did = ?
        """,
        quota_bytes,
        did,
    )
    return True


def set_uploads_per_day(
    tx: Transaction, did: str, uploads: int | None, by: Author = PROGRAM
) -> bool:
    """Let *did* make *uploads* a day: 0 is no limit, None the service's default.

    False if there is no such account.
    """
    account = find(tx, did)
    if account is None:
        return False
    _note_limit(tx, by, "uploads per day", did, account.uploads_per_day, uploads)
    tx.run(
        """
        UPDATE account
           SET uploads_per_day = ?
         WHERE did = ?
        """,
        uploads,
        did,
    )
    return True


def _note_limit(
    tx: Transaction, by: Author, action: audit.Action, did: str, old: int | None, new: int | None
) -> None:
    if old != new:
        texts = ["default" if limit is None else str(limit) for limit in (old, new)]
        audit.add(tx, by, action, did=did, old=texts[0], new=texts[1])


def begin_deletion(tx: Transaction, did: str, now: int, by: Author | None = PROGRAM) -> bool:
    """Take *did* out of everybody's sight; its handle and email are free. False without it.

    The account's rows stay. No function that looks for an account finds it any more. A takedown of
    the account is remembered. *by* is None where nobody ordered it.
    """
    account = find(tx, did)
    if account is None:
        return False
    if by is not None:
        held = f"{account.blob_count} blobs, {account.blob_bytes} bytes"
        audit.add(tx, by, "delete", did=did, old=held)
    tx.keep_others_out()
    tx.hide(did)
    _remember_takedown(tx, did)
    tx.run(
        """
        UPDATE account
           SET handle = NULL, email = NULL, password_hash = NULL, deactivated_at = ?
         WHERE did = ?
        """,
        now,
        did,
    )
    tx.run("INSERT INTO account_deletion (did, started_at) VALUES (?, ?)", did, now)
    return True


def find_deletions(tx: Transaction, after: str, limit: int) -> list[tuple[str, int]]:
    """Up to *limit* accounts after *after* that are being deleted: DID, and since when."""
    rows = tx.all(
        """
        SELECT did, started_at
          FROM account_deletion
         WHERE did > ?
         ORDER BY did
         LIMIT ?
        """,
        after,
        limit,
    )
    return [(did, started_at) for did, started_at in rows]


def is_being_deleted(tx: Transaction, did: str) -> bool:
    """Whether the deletion of *did* has begun and is not finished."""
    return tx.one("SELECT 1 FROM account_deletion WHERE did = ?", did) is not None


def delete(tx: Transaction, did: str) -> bool:
    """Delete *did* with its sessions, records, references and entries, however many there are.

    A takedown of the account is remembered. False if there is no such account.
    """
    tx.hide(did)
    _remember_takedown(tx, did)
    return bool(
        tx.run(
            """
            DELETE FROM account
             WHERE did = ?
            """,
            did,
        )
    )


def remember_deletion(tx: Transaction, did: str, now: int, until: int) -> None:
    """Remember until *until* that *did* was deleted at *now* (both in microseconds)."""
    tx.run(
        """
        INSERT INTO deleted_account (did, deleted_at, expires_at)
        VALUES (?, ?, ?)
            ON CONFLICT (did) DO UPDATE
           SET deleted_at = excluded.deleted_at,
               expires_at = excluded.expires_at
        """,
        did,
        now,
        until,
    )


def _remember_takedown(tx: Transaction, did: str) -> None:
    tx.run(
        """
        INSERT INTO taken_down_account (did, ref, created_at)
        SELECT did, COALESCE(takedown_ref, ''), takedown_at
          FROM account
         WHERE did = ? AND takedown_at IS NOT NULL
            ON CONFLICT (did) DO NOTHING
        """,
        did,
    )


def _refuse_while_deleted(tx: Transaction, did: str) -> None:
    if is_being_deleted(tx, did):
        raise ServiceBusy("An account of this DID is being deleted, please try again.")


def _find(
    tx: Transaction, *, did: str | None = None, handle: str | None = None, email: str | None = None
) -> Account | None:
    # Only the given name counts: nothing equals NULL. Each is looked up in its own index.
    row = tx.one(
        """
        SELECT a.did, a.handle, a.email, a.password_hash, a.created_at, a.deactivated_at,
               a.takedown_at, a.takedown_ref, a.rev, a.quota_bytes, a.uploads_per_day,
               a.blob_count, a.blob_bytes, u.status AS upstream_status
          FROM account a LEFT JOIN upstream_account u ON u.did = a.did
         WHERE (a.did = ? OR a.handle = ? OR a.email = ?)
           AND NOT EXISTS (SELECT 1 FROM account_deletion d WHERE d.did = a.did)
        """,
        did,
        handle,
        email,
    )
    return None if row is None else Account(*row)
