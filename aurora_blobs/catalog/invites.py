"""Invite codes: the rows of `invite_code`."""

from dataclasses import dataclass, field

from aurora_blobs.db import Transaction


@dataclass(frozen=True, slots=True)
class Invite:
    """A row of `invite_code`; schema.sql says what NULL means."""

    code: str = field(repr=False)
    for_account: str | None
    uses: int
    uses_left: int
    created_at: int
    ends_at: int | None

    def is_good(self, now: int) -> bool:
        """Whether an account can be made with it at *now* (microseconds since the epoch)."""
        return self.uses_left > 0 and (self.ends_at is None or now < self.ends_at)


def add(tx: Transaction, invite: Invite) -> None:
    """Remember a new code."""
    tx.run(
        """
        INSERT INTO invite_code (code, for_account, uses, uses_left, created_at, ends_at)
        VALUES (?, ?, ?, ?, ?, ?)
        """,
        invite.code,
        invite.for_account,
        invite.uses,
        invite.uses_left,
        invite.created_at,
        invite.ends_at,
    )


def find(tx: Transaction, code: str) -> Invite | None:
    """The invite with *code*, good or over."""
    row = tx.one(
        """
        SELECT code, for_account, uses, uses_left, created_at, ends_at
          FROM invite_code
         WHERE code = ?
        """,
        code,
    )
    return None if row is None else Invite(*row)


def use(tx: Transaction, code: str, now: int) -> bool:
    """Use *code* once; False if it is not good at *now*."""
    return bool(
        tx.run(
            """
            UPDATE invite_code
               SET uses_left = uses_left - 1,
                   ends_at = CASE WHEN uses_left = 1 THEN ? ELSE ends_at END
             WHERE code = ? AND uses_left > 0 AND (ends_at IS NULL OR ends_at > ?)
            """,
            now,
            code,
            now,
        )
    )


def page(tx: Transaction, after: tuple[int, str], limit: int) -> list[Invite]:
    """Up to *limit* invites, oldest first. *after* is (created_at, code) of the last one seen."""
    rows = tx.all(
        """
        SELECT code, for_account, uses, uses_left, created_at, ends_at
          FROM invite_code
         WHERE (created_at, code) > (?, ?)
         ORDER BY created_at, code
         LIMIT ?
        """,
        *after,
        limit,
    )
    return [Invite(*row) for row in rows]
