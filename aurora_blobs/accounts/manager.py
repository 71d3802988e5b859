"""Accounts: creation, passwords and sessions of local ones, states and quotas of all."""

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aurora_blobs.accounts.handle_policy import parse_email, parse_local_handle
from aurora_blobs.accounts.sign_ups import invite_key
from aurora_blobs.auth.passwords import hash_password, is_password
from aurora_blobs.auth.session import REFRESH_SECONDS, TAKENDOWN_SCOPE, RefreshClaims, SessionTokens
from aurora_blobs.catalog import accounts as catalog
from aurora_blobs.catalog import invites, records, sessions
from aurora_blobs.catalog.accounts import Account, Counts, Sums
from aurora_blobs.catalog.audit import PROGRAM, Author
from aurora_blobs.catalog.sessions import Session
from aurora_blobs.config import Config
from aurora_blobs.db import STEP_ROWS, Database, Transaction, account_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import (
    AccountTakedown,
    AuthenticationRequired,
    ExpiredToken,
    HandleNotAvailable,
    InvalidInviteCode,
    InvalidRequest,
    WrongPassword,
)
from aurora_blobs.protocol.quoting import shown

# Characters of a profile's JSON that anybody can have parsed; a guess. The lexicon has room for
# 4,000.
_MAX_PROFILE = 64 * 1024
_PAGE = 500  # accounts per statement when all are listed


@dataclass(frozen=True, slots=True)
class LogIn:
    """A session that was opened or renewed, and its tokens."""

    account: Account
    access_token: str
    refresh_token: str


class AccountManager:
    """The accounts of this service. Those of a PDS have the same states but cannot log in here."""

    def __init__(
        self, config: Config, database: Database, tokens: SessionTokens, clock: Callable[[], int]
    ) -> None:
        self._config = config
        self._database = database
        self._tokens = tokens
        self._clock = clock

    def create(
        self,
        *,
        handle: str,
        email: str,
        password: str,
        did: str | None = None,
        invite_code: str | None = None,
        allow_reserved: bool = False,
    ) -> Account:
        """Make an account. Its DID is ``did:web`` of the handle, or *did*.

        The caller has proven *did* to be its own. An account that brings its DID stays deactivated
        until it is activated, after its data is here. The account is one use of *invite_code*, if
        that is given. *allow_reserved* takes reserved handles too.

        Raises InvalidInviteCode, InvalidHandle, UnsupportedDomain, HandleNotAvailable,
        InvalidPassword, InvalidRequest, and AccountTakedown for a DID that was taken down and
        deleted.
        """
        handle = parse_local_handle(
            handle,
            self._config.handle_domains,
            self._config.service_did,
            allow_reserved=allow_reserved,
        )
        email = parse_email(email)
        password_hash = hash_password(password)  # before the transaction: it is slow
        now = self._clock()
        new_did = f"did:web:{handle}" if did is None else did
        keys = () if invite_code is None else (invite_key(invite_code),)
        with self._database.write(keys=(account_key(new_did), *keys)) as tx:
            if invite_code is not None and not invites.use(tx, invite_code, now):
                raise InvalidInviteCode()
            if not catalog.create(
                tx,
                new_did,
                handle=handle,
                email=email,
                password_hash=password_hash,
                now=now,
                deactivated_at=None if did is None else now,
            ):
                raise _conflict(tx, new_did, handle, email)
            account = _require(tx, new_did)
            if account.takedown_at is not None:
                raise AccountTakedown()
            return account

    def open_session(self, account: Account) -> LogIn:
        """Open a session for *account*, unchecked.

        Raises InvalidRequest if it is gone by now, AuthenticationRequired if it has another
        password.
        """
        session_id, jti, now = secrets.token_urlsafe(16), secrets.token_urlsafe(32), self._clock()
        with self._database.write(keys=(account_key(account.did),)) as tx:
            if _require(tx, account.did).password_hash != account.password_hash:
                raise AuthenticationRequired("Invalid identifier or password")
            sessions.add(tx, Session(session_id, account.did, jti, now, _session_end(now)))
        return self._tokens_of(account, session_id, jti)

    def with_password(self, identifier: str, password: str) -> Account:
        """The account with this handle, DID or email and this password.

        Raises AuthenticationRequired.
        """
        with self._database.read() as tx:
            if "@" in identifier:
                account = catalog.find_by_email(tx, identifier.lower())
            else:
                account = catalog.find_by_name(tx, identifier)
        # Checked without an account too, so that the time does not tell whether there is one.
        is_right = is_password(password, None if account is None else account.password_hash)
        if account is None or not is_right:
            did = None if account is None else account.did
            raise WrongPassword("Invalid identifier or password", did)
        return account

    def log_in(self, account: Account, *, allow_taken_down: bool = False) -> LogIn:
        """Open a session for *account*, whose password was checked.

        With *allow_taken_down*, an account that was taken down gets a read-only access token and no
        session. Raises AccountTakedown.
        """
        if account.takedown_at is None:
            return self.open_session(account)
        if not allow_taken_down:
            raise AccountTakedown()
        access_token = self._tokens.access(account.did, session_id=None, scope=TAKENDOWN_SCOPE)
        # The lexicon requires a refresh token. This one names no session, so it renews nothing.
        return LogIn(
            account, access_token, self._tokens.refresh(account.did, session_id="", jti="")
        )

    def renew(self, claims: RefreshClaims) -> LogIn:
        """New tokens for the session of a refresh token, which is used up.

        Raises ExpiredToken if it was used before or its session has ended, AccountTakedown.
        """
        jti = secrets.token_urlsafe(32)
        with self._database.write(Spend.HALF, keys=(account_key(claims.did),)) as tx:
            account = catalog.find(tx, claims.did)
            if account is not None and account.takedown_at is not None:
                raise AccountTakedown()
            expires_at = _session_end(self._clock())
            if account is None or not sessions.rotate(
                tx, claims.session_id, claims.jti, jti, expires_at
            ):
                raise ExpiredToken("Token has been revoked")
        return self._tokens_of(account, claims.session_id, jti)

    def log_out(self, claims: RefreshClaims) -> None:
        """End a session, and with it all of its tokens; nothing happens if it has ended already."""
        with self._database.write(Spend.HALF, keys=(account_key(claims.did),)) as tx:
            sessions.end(tx, claims.session_id)

    def access_token(self, account: Account) -> str:
        """An access token without a session, good for two hours, for the operator."""
        return self._tokens.access(account.did, session_id=None)

    def find(self, name: str) -> Account | None:
        """The account with the DID or handle *name*."""
        with self._database.read() as tx:
            return catalog.find_by_name(tx, name)

    def require(self, did: str) -> Account:
        """The account of *did*. Raises InvalidRequest."""
        with self._database.read() as tx:
            return _require(tx, did)

    def all(self) -> Iterator[Account]:
        """Every account, in the order of DIDs."""
        return self._database.in_pages(catalog.page, "", lambda last: last.did, limit=_PAGE)

    def page(self, after_did: str, limit: int) -> list[Account]:
        """Up to *limit* accounts after *after_did*, in the order of DIDs."""
        with self._database.read() as tx:
            return catalog.page(tx, after_did, limit)

    def largest(self, limit: int) -> list[Account]:
        """The *limit* accounts that hold most bytes."""
        with self._database.read() as tx:
            return catalog.largest(tx, limit)

    def sums(self) -> Sums:
        """All accounts in numbers."""
        with self._database.read() as tx:
            return catalog.sums(tx)

    def sessions(self, did: str, limit: int) -> list[Session]:
        """Up to *limit* sessions of *did*, the newest first."""
        with self._database.read() as tx:
            return sessions.of_account(tx, did, limit)

    def profile(self, did: str) -> dict[str, Any]:
        """The value of the profile record of *did*, {} without one or for a huge one."""
        with self._database.read() as tx:
            record = records.find(tx, did, "app.bsky.actor.profile", "self")
        value: dict[str, Any] = {}
        if record is not None and len(record.value) <= _MAX_PROFILE:
            value = json.loads(record.value)
        return value

    def counts(self, did: str) -> Counts:
        """The numbers of records and blobs of *did*."""
        with self._database.read() as tx:
            return catalog.counts(tx, did)

    def check_password(self, did: str, password: str) -> None:
        """Raises AuthenticationRequired for a wrong *password*, InvalidRequest for no account."""
        if not is_password(password, self.require(did).password_hash):
            raise WrongPassword("Invalid did or password", did)

    def set_password(self, did: str, password: str, by: Author = PROGRAM) -> None:
        """Give *did* a new password, and end its sessions.

        Raises InvalidPassword, and InvalidRequest for no account.
        """
        password_hash = hash_password(password)  # before the transaction: it is slow

        def step(tx: Transaction) -> bool:
            if _require(tx, did).password_hash != password_hash:  # in the first step
                catalog.set_password(tx, did, password_hash, by)
            return sessions.end_some(tx, did, STEP_ROWS) == STEP_ROWS

        self._database.in_steps(step, Spend.ALL, keys=(account_key(did),))

    def deactivate(self, did: str, by: Author = PROGRAM) -> None:
        """Serve and change nothing of *did* until `activate`. A second call keeps the first time.

        Raises InvalidRequest for no account.
        """
        with self._database.write(Spend.HALF, keys=(account_key(did),)) as tx:
            if _require(tx, did).deactivated_at is None:
                catalog.set_deactivated(tx, did, self._clock(), by)

    def activate(self, did: str, by: Author = PROGRAM) -> None:
        """Undo `deactivate`. Raises InvalidRequest for no account."""
        with self._database.write(Spend.HALF, keys=(account_key(did),)) as tx:
            catalog.set_deactivated(tx, _require(tx, did).did, None, by)

    def set_quota(self, did: str, quota_bytes: int | None, by: Author = PROGRAM) -> None:
        """Let *did* hold up to *quota_bytes*; 0 is no limit, None the settings' default."""
        with self._database.write(Spend.ALL, keys=(account_key(did),)) as tx:
            catalog.set_quota(tx, did, quota_bytes, by)

    def set_uploads_per_day(self, did: str, uploads: int | None, by: Author = PROGRAM) -> None:
        """Let *did* upload *uploads* times a day; 0 is no limit, None the settings' default."""
        with self._database.write(Spend.ALL, keys=(account_key(did),)) as tx:
            catalog.set_uploads_per_day(tx, did, uploads, by)

    def _tokens_of(self, account: Account, session_id: str, jti: str) -> LogIn:
        return LogIn(
            account,
            self._tokens.access(account.did, session_id=session_id),
            self._tokens.refresh(account.did, session_id=session_id, jti=jti),
        )


def _require(tx: Transaction, did: str) -> Account:
    account = catalog.find(tx, did)
    if account is None:
        raise InvalidRequest("account not found")
    return account


def _conflict(
    tx: Transaction, did: str, handle: str, email: str
) -> HandleNotAvailable | InvalidRequest:
    if catalog.find_by_handle(tx, handle) is not None:
        return HandleNotAvailable(f"Handle already taken: {handle}")
    if catalog.find_by_email(tx, email) is not None:
        return InvalidRequest(f"Email already taken: {shown(email)}")
    return InvalidRequest(f"Account already exists: {did}")


def _session_end(now: int) -> int:
    return now + REFRESH_SECONDS * 1_000_000
