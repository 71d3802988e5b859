"""The accounts: the rows of `account`, and what an account has in numbers."""

from dataclasses import dataclass, field

from aurora_blobs.db import Transaction


@dataclass(frozen=True, slots=True)
class Account:
    """A row of `account`; what None means stands in schema.sql."""

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

    @property
    def active(self) -> bool:
        return self.status is None

    @property
    def status(self) -> str | None:
        """Why it is not active, in the lexicons' words; None if it is."""
        if self.takedown_at is not None:
            return "takendown"
        return None if self.deactivated_at is None else "deactivated"


@dataclass(frozen=True, slots=True)
class Counts:
    """What an account's index holds, for com.atproto.server.checkAccountStatus."""

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
    """Make a local account; False where the DID, the handle or the email is in use already."""
    return bool(
        tx.run(
            """
            INSERT INTO account (did, handle, email, password_hash, created_at, deactivated_at)
            VALUES (?, ?, ?, ?, ?, ?)
                ON CONFLICT DO NOTHING
            """,
            did,
            handle,
            email,
            password_hash,
            now,
            deactivated_at,
        )
    )


def make_external(tx: Transaction, did: str, now: int) -> bool:
    """Make the row of an account that a PDS keeps; False where there is one."""
    return bool(
        tx.run(
            """
            INSERT INTO account (did, created_at)
            VALUES (?, ?)
                ON CONFLICT (did) DO NOTHING
            """,
            did,
            now,
        )
    )


def find(tx: Transaction, did: str) -> Account | None:
    """The account of *did*."""
    return _find(tx, did=did)


def find_by_handle(tx: Transaction, handle: str) -> Account | None:
    """The local account of *handle*, which is in lower case."""
    return _find(tx, handle=handle)


def find_by_email(tx: Transaction, email: str) -> Account | None:
    """The local account of *email*, which is in lower case."""
    return _find(tx, email=email)


def find_by_name(tx: Transaction, name: str) -> Account | None:
    """The account that *name* names: a DID, or a handle in any case."""
    return find(tx, name) if name.startswith("did:") else find_by_handle(tx, name.lower())


def page(tx: Transaction, after_did: str, limit: int) -> list[Account]:
    """The first *limit* accounts whose DID sorts after *after_did*, in that order; '' begins."""
    rows = tx.all(
        """
        SELECT did, handle, email, password_hash, created_at, deactivated_at, takedown_at, takedown_ref,
               rev, quota_bytes, uploads_per_day, blob_count, blob_bytes
          FROM account
         WHERE did > ?
         ORDER BY did
         LIMIT ?
        """,
        after_did,
        limit,
    )
    return [Account(*row) for row in rows]


def counts(tx: Transaction, did: str) -> Counts:
    """Records, distinct blobs that they reference, and blobs whose bytes are here, of *did*."""
    row = tx.one(
        """
        SELECT (SELECT count(*) FROM record WHERE did = ?),
               (SELECT count(DISTINCT cid) FROM record_blob WHERE did = ?),
               (SELECT blob_count FROM account WHERE did = ?),
               (SELECT count(*)
                  FROM blob b JOIN blob_metadata m ON m.creator_did = ? AND m.cid = b.cid
                 WHERE b.stored_at IS NULL)
        """,
        did,
        did,
        did,
        did,
    )
    assert row is not None  # an aggregate always answers
    recorded, expected, held, lost = row
    return Counts(recorded, expected, (held or 0) - lost)


def set_deactivated(tx: Transaction, did: str, since: int | None) -> bool:
    """Deactivate *did* as of *since*, or activate it with None; False where there is no such account."""
    if since is not None:
        tx.hide(did)
    return bool(
        tx.run(
            """
            UPDATE account
               SET deactivated_at = ?
             WHERE did = ?
            """,
            since,
            did,
        )
    )


def set_takedown(tx: Transaction, did: str, since: int | None, ref: str | None) -> bool:
    """Take *did* down as of *since* under *ref*, or lift it with two Nones; False where there is no such account."""
    if since is not None:
        tx.hide(did)
    return bool(
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
    )


def set_quota(tx: Transaction, did: str, quota_bytes: int | None) -> bool:
    """Let *did* hold *quota_bytes* (0: no limit, None: the service's default); False where there is no such account."""
    return bool(
        tx.run(
            """
            UPDATE account
               SET quota_bytes = ?
             WHERE did = ?
            """,
            quota_bytes,
            did,
        )
    )


def set_uploads_per_day(tx: Transaction, did: str, uploads: int | None) -> bool:
    """Let *did* upload that often in a day (0: no limit, None: the service's default); False where there is none."""
    return bool(
        tx.run(
            """
            UPDATE account
               SET uploads_per_day = ?
             WHERE did = ?
            """,
            uploads,
            did,
        )
    )


def delete(tx: Transaction, did: str) -> bool:
    """Remove *did* with its sessions, records, references and blob rows; False where there is no such account."""
    tx.hide(did)
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
    """Know *until* then that *did* was deleted *now*."""
    tx.run(
        """
        INSERT INTO deleted_account (did, deleted_at, expires_at)
        VALUES (?, ?, ?)
            ON CONFLICT (did) DO UPDATE SET deleted_at = excluded.deleted_at, expires_at = excluded.expires_at
        """,
        did,
        now,
        until,
    )


def _find(
    tx: Transaction, *, did: str | None = None, handle: str | None = None, email: str | None = None
) -> Account | None:
    # By the one that is given: nothing equals NULL. Each is looked up in its own index.
    row = tx.one(
        """
        SELECT did, handle, email, password_hash, created_at, deactivated_at, takedown_at, takedown_ref,
               rev, quota_bytes, uploads_per_day, blob_count, blob_bytes
          FROM account
         WHERE did = ? OR handle = ? OR email = ?
        """,
        did,
        handle,
        email,
    )
    return None if row is None else Account(*row)
