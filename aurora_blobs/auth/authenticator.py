"""Decides who is asking, and refuses who may not: one function for what a method requires, one for what it allows."""

from collections.abc import Callable

from aurora_blobs.auth.admin import require_admin
from aurora_blobs.auth.requester import Credentials, Requester, parse_authorization
from aurora_blobs.auth.session import ACCESS_SCOPES, TAKENDOWN_SCOPE, RefreshClaims, SessionClaims, SessionTokens
from aurora_blobs.catalog.standing import Standing, find_standing
from aurora_blobs.config import Config
from aurora_blobs.db import Database
from aurora_blobs.errors import (
    AccountNotFound,
    AccountTakedown,
    AuthenticationRequired,
    AuthMissing,
    ExpiredToken,
    InvalidToken,
)

_ADMIN = frozenset({"admin"})
_OPTIONAL = frozenset({"session", "oauth", "admin"})


class Authenticator:
    """Checks credentials against the settings and the accounts in *database*."""

    def __init__(self, config: Config, database: Database, clock: Callable[[], int], tokens: SessionTokens) -> None:
        self._config = config
        self._database = database
        self._clock = clock
        self._tokens = tokens

    def requester(
        self,
        credentials: Credentials,
        nsid: str,
        accepts: frozenset[str],
        *,
        scopes: frozenset[str] = ACCESS_SCOPES,
        taken_down: bool = False,
    ) -> Requester:
        """Who calls the method *nsid*, by one of the kinds of credentials in *accepts*.

        *scopes* are those a session may have; *taken_down* lets an account that was taken down in.
        Raises AuthMissing, InvalidToken, ExpiredToken, AccountNotFound, AccountTakedown, AuthenticationRequired.
        """
        if credentials.authorization is None:
            raise AuthenticationRequired() if accepts == _ADMIN else AuthMissing()
        found = self._checked(credentials, nsid, accepts, scopes)
        if found.taken_down and not taken_down:
            raise AccountTakedown()
        return found

    def optional(self, credentials: Credentials, nsid: str) -> Requester | None:
        """Who calls *nsid*, a method that is open to everybody; None if nothing was sent to say so.

        What was sent must hold. An account that was taken down is let in: what it asks for is its own.
        """
        if credentials.authorization is None:
            return None
        return self._checked(credentials, nsid, _OPTIONAL, ACCESS_SCOPES | {TAKENDOWN_SCOPE})

    def refresh(self, credentials: Credentials) -> RefreshClaims:
        """The refresh token that was sent; whether it was used before is for the caller to see.

        Raises AuthMissing, InvalidToken, ExpiredToken.
        """
        if credentials.authorization is None:
            raise AuthMissing()
        scheme, token = parse_authorization(credentials.authorization)
        if scheme != "bearer":
            raise InvalidToken("Unexpected authorization type")
        return self._tokens.verify_refresh(token)

    def _checked(
        self, credentials: Credentials, nsid: str, accepts: frozenset[str], scopes: frozenset[str]
    ) -> Requester:
        assert credentials.authorization is not None
        scheme, token = parse_authorization(credentials.authorization)
        if scheme == "basic" and "admin" in accepts:
            require_admin(token, self._config.admin_password)
            return Requester(None, "admin")
        if scheme == "bearer" and "session" in accepts:
            return self._session(token, scopes)
        raise InvalidToken("Unexpected authorization type")

    def _session(self, token: str, scopes: frozenset[str]) -> Requester:
        claims = self._tokens.verify_access(token, scopes)
        standing = self._standing(claims)
        return Requester(
            claims.did,
            "session",
            claims.scope,
            claims.expires_at,
            claims.session_id,
            standing.deactivated,
            standing.taken_down,
        )

    def _standing(self, claims: SessionClaims) -> Standing:
        with self._database.read() as tx:
            standing = find_standing(tx, claims.did, claims.session_id)
        if standing is None:
            raise AccountNotFound()
        if claims.session_id is not None and not standing.session:
            raise ExpiredToken("Token has been revoked")
        return standing
