"""Who may sign up: anybody, nobody, or whoever has an invite code."""

import re
import secrets
from base64 import b32encode
from collections.abc import Callable, Iterator

from aurora_blobs.catalog import audit, invites
from aurora_blobs.catalog.audit import PROGRAM, Author
from aurora_blobs.catalog.invites import Invite
from aurora_blobs.config import Config
from aurora_blobs.db import Database, Key, account_key, row_key
from aurora_blobs.errors import InvalidInviteCode, InvalidRequest
from aurora_blobs.rate_limits import Limits

MAX_USES = 1_000_000  # of one code; a guess
_CODE_BYTES = 10  # 80 bits: with 30 guesses in 5 minutes nobody finds one
_CODE = re.compile(r"[a-z2-7]{4}(-[a-z2-7]{4}){3}")
_MAX_TEXT = 64  # characters of what is read as a code; blanks around it are forgiven
_PAGE = 500  # codes per statement when all are listed


def invite_key(code: str) -> Key:
    """That of the invite *code*."""
    return row_key("invite_code", code)


class SignUps:
    """Lets people sign up, as the settings say, and makes invite codes.

    *policy* is ``open``, ``invite`` or ``closed``. A server that is bound to another address than
    the settings say sets it anew.
    """

    def __init__(
        self, config: Config, database: Database, limits: Limits, clock: Callable[[], int]
    ) -> None:
        self.policy = config.signup_policy
        self._database = database
        self._limits = limits
        self._clock = clock

    def admit(self, text: str | None, address: str) -> str | None:
        """The code that a new account has to use, None if it needs none.

        *text* is the code as it was given, empty or None if none was. A wrong one counts for
        *address* like a wrong password.

        Raises InvalidRequest, InvalidInviteCode, RateLimitExceeded.
        """
        if self.policy == "open":
            return None
        if self.policy == "closed":
            raise InvalidRequest("Sign-up is closed: the operator of this service makes accounts")
        if not text:
            raise InvalidInviteCode("An account here wants an invite code: none was given")
        with self._limits.password_attempt(address):
            return self._good_code(text)

    def invite(
        self,
        *,
        uses: int,
        seconds: int | None = None,
        for_account: str | None = None,
        by: Author = PROGRAM,
    ) -> str:
        """Make a code for *uses* accounts, which expires after *seconds*; None: it does not."""
        text = b32encode(secrets.token_bytes(_CODE_BYTES)).decode().lower()
        code = "-".join(text[start : start + 4] for start in range(0, len(text), 4))
        now = self._clock()
        ends_at = None if seconds is None else now + seconds * 1_000_000
        of_audit = account_key(for_account or "")
        with self._database.write(keys=(invite_key(code), of_audit)) as tx:
            audit.add(tx, by, "invite", did=for_account or "", new=f"{uses} uses")
            invites.add(tx, Invite(code, for_account, uses, uses, now, ends_at))
        return code

    def invites(self) -> Iterator[Invite]:
        """Every code, oldest first, also those that were over not long ago."""
        return self._database.in_pages(
            invites.page, (0, ""), lambda last: (last.created_at, last.code), limit=_PAGE
        )

    def _good_code(self, text: str) -> str:
        code = text.strip().lower() if len(text) <= _MAX_TEXT else ""
        found = None
        if _CODE.fullmatch(code):
            with self._database.read() as tx:
                found = invites.find(tx, code)
        if found is None or not found.is_good(self._clock()):
            raise InvalidInviteCode()
        return code
