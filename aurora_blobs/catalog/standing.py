"""What a request needs to know of its account, in one look; the rows are those of catalog/accounts.py."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of an account; *session* is whether the log-in that was asked for still holds."""

    deactivated: bool
    taken_down: bool
    session: bool


def find_standing(tx: Transaction, did: str, session_id: str | None) -> Standing | None:
    """How *did* and its log-in *session_id* stand; None if the account is not here."""
    row = tx.one(
        """
        SELECT a.deactivated_at IS NOT NULL, a.takedown_at IS NOT NULL,
               EXISTS (SELECT 1 FROM session s WHERE s.id = ? AND s.did = a.did)
          FROM account a
         WHERE a.did = ?
        """,
        session_id,
        did,
    )
    return None if row is None else Standing(*map(bool, row))
