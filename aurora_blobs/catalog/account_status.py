"""What a request needs to know of its account, in one look; the rows are those of catalog/accounts.py."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """The state of an account; *session* is whether the log-in that was asked for still holds.

    *deleted_at* is when an account of the same DID was deleted, None if that is long ago.
    """

    deactivated: bool
    taken_down: bool
    session: bool
    deleted_at: int | None


def find_account_status(tx: Transaction, did: str, session_id: str | None) -> AccountStatus | None:
    """How *did* and its log-in *session_id* stand; None if the account is not here."""
    row = tx.one(
        """
        SELECT a.deactivated_at IS NOT NULL, a.takedown_at IS NOT NULL,
               EXISTS (SELECT 1 FROM session s WHERE s.id = ? AND s.did = a.did),
               (SELECT d.deleted_at FROM deleted_account d WHERE d.did = a.did)
          FROM account a
         WHERE a.did = ?
        """,
        session_id,
        did,
    )
    return None if row is None else AccountStatus(bool(row[0]), bool(row[1]), bool(row[2]), row[3])
