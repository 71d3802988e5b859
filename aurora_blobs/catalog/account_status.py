"""The state of an account and of its session, in one statement for each request."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """The state of an account; `session` says whether the log-in that was asked for still holds.

    `deleted_at` is when an earlier account of the DID was deleted (microseconds), None if that is
    not remembered any more.
    """

    deactivated: bool
    taken_down: bool
    session: bool
    deleted_at: int | None


def find_account_status(tx: Transaction, did: str, session_id: str | None) -> AccountStatus | None:
    """The state of *did* and of its log-in *session_id*; None if there is no such account."""
    row = tx.one(
        """
        SELECT a.deactivated_at, a.takedown_at,
               EXISTS (SELECT 1 FROM session s WHERE s.id = ? AND s.did = a.did),
               (SELECT d.deleted_at FROM deleted_account d WHERE d.did = a.did)
          FROM account a
         WHERE a.did = ?
           AND NOT EXISTS (SELECT 1 FROM account_deletion d WHERE d.did = a.did)
        """,
        session_id,
        did,
    )
    if row is None:
        return None
    deactivated_at, takedown_at, session, deleted_at = row
    return AccountStatus(
        deactivated_at is not None, takedown_at is not None, bool(session), deleted_at
    )
