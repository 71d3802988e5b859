"""Decides who is asking, and refuses who may not: one function for what a method requires, one for what it allows."""

import logging
from collections.abc import Callable

from aurora_blobs.auth.admin import require_admin
from aurora_blobs.auth.identity import Identities
from aurora_blobs.auth.jwts import Token, parse_jwt
from aurora_blobs.auth.oauth import OAuthTokens
from aurora_blobs.auth.requester import Credentials, Requester, parse_authorization
from aurora_blobs.auth.service import ServiceTokens
from aurora_blobs.auth.session import ACCESS_SCOPES, TAKENDOWN_SCOPE, RefreshClaims, SessionTokens
from aurora_blobs.catalog import accounts
from aurora_blobs.catalog.account_status import AccountStatus, find_account_status
from aurora_blobs.config import Config
from aurora_blobs.db import Database
from aurora_blobs.errors import (
    AccountNotFound,
    AccountTakedown,
    AuthenticationRequired,
    AuthMissing,
    BadJwt,
    ExpiredToken,
    InvalidToken,
    SubjectNotFound,
)
from aurora_blobs.rate_limits import Limits

log = logging.getLogger(__name__)

_ADMIN = frozenset({"admin"})
_OWNERS = frozenset({"session", "oauth"})
_OPTIONAL = frozenset({"session", "oauth", "admin"})


class Authenticator:
    """Checks credentials against the settings and the accounts in *database*."""

    def __init__(
        self,
        config: Config,
        database: Database,
        clock: Callable[[], int],
        tokens: SessionTokens,
        *,
        identities: Identities | None = None,
        oauth: OAuthTokens | None = None,
    ) -> None:
        self._config = config
        self._database = database
        self._clock = clock
        self._tokens = tokens
        self._limits = Limits(config, database, clock)
        identities = identities or Identities(config, database, clock)
        self._service_tokens = ServiceTokens(config.service_did, identities, database, clock)
        self._oauth = oauth or OAuthTokens(config, tokens, database, clock)
        moderation = config.moderation_did
        self._moderators = frozenset(
            () if moderation is None else (moderation, f"{moderation}#atproto_labeler")
        )

    def headers(self, credentials: Credentials) -> tuple[tuple[str, str], ...]:
        """What the answer to *credentials* carries whether or not they hold: what a client with DPoP looks for."""
        if self._oauth.enabled and (credentials.authorization or "").lower().startswith("dpop "):
            return self._oauth.headers()
        return ()

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

    def owner(self, credentials: Credentials, nsid: str) -> Requester:
        """Who calls *nsid* for what is its own, whatever the state of its account.

        Raises SubjectNotFound for an account that is not here, and else what `requester` raises.
        """
        try:
            return self.requester(credentials, nsid, _OWNERS, taken_down=True)
        except AccountNotFound:
            raise SubjectNotFound("Repo not found") from None

    def optional(self, credentials: Credentials, nsid: str) -> Requester | None:
        """Who calls *nsid*, a method that is open to everybody; None if nothing was sent to say so.

        What was sent must hold. An account that was taken down is let in: what it asks for is its own. One that is
        not here is nobody.
        """
        if credentials.authorization is None:
            return None
        try:
            return self._checked(credentials, nsid, _OPTIONAL, ACCESS_SCOPES | {TAKENDOWN_SCOPE})
        except AccountNotFound:
            return None

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

    def newcomer(self, credentials: Credentials, nsid: str) -> str:
        """The issuer of a service token for *nsid*, who brings an account here: a DID of which nothing is known yet.

        Raises AuthMissing, InvalidToken, and what `ServiceTokens` raises.
        """
        if credentials.authorization is None:
            raise AuthMissing()
        scheme, text = parse_authorization(credentials.authorization)
        token = _service_token(text) if scheme == "bearer" else None
        if token is None:
            raise InvalidToken("Unexpected authorization type")
        claims = self._service_tokens.read(token, nsid)
        self._service_tokens.verify(token, claims)
        return claims.issuer

    def _checked(
        self, credentials: Credentials, nsid: str, accepts: frozenset[str], scopes: frozenset[str]
    ) -> Requester:
        assert credentials.authorization is not None
        scheme, token = parse_authorization(credentials.authorization)
        if scheme == "basic" and "admin" in accepts:
            with self._limits.password_attempt(credentials.address):
                require_admin(token, self._config.admin_password)
            return Requester(None, "admin")
        if scheme == "bearer" and "session" in accepts:
            try:
                return self._session(token, scopes)
            except InvalidToken:
                # A service token is known by its lxm, and lxm makes a session token malformed.
                signed = _service_token(token) if "service" in accepts else None
                if signed is None:
                    raise
            return self._service(signed, nsid)
        if scheme == "dpop" and "oauth" in accepts and self._oauth.enabled:
            return self._bound(token, credentials)
        if scheme == "bearer" and "admin" in accepts:
            return self._moderator(token, nsid)
        raise InvalidToken("Unexpected authorization type")

    def _session(self, token: str, scopes: frozenset[str]) -> Requester:
        claims = self._tokens.verify_access(token, scopes)
        standing = self._standing_or_welcome(claims.did, claims.session_id, claims.issued_at)
        if claims.session_id is not None and not standing.session:
            raise ExpiredToken("Token has been revoked")
        return Requester(
            claims.did,
            "session",
            claims.scope,
            claims.expires_at,
            claims.session_id,
            standing.deactivated,
            standing.taken_down,
        )

    def _bound(self, token: str, credentials: Credentials) -> Requester:
        claims = self._oauth.verify(token, credentials)
        standing = self._standing_or_welcome(claims.did, None, claims.issued_at)
        return Requester(
            claims.did,
            "oauth",
            claims.scope,
            claims.expires_at,
            deactivated=standing.deactivated,
            taken_down=standing.taken_down,
        )

    def _service(self, token: Token, nsid: str) -> Requester:
        claims = self._service_tokens.read(token, nsid)
        # Before the signature: only the DIDs of accounts are ever resolved, so a stranger sends us nowhere.
        standing = self._standing(claims.issuer, None)
        if standing is None:
            raise AccountNotFound()
        self._service_tokens.verify(token, claims)
        return Requester(
            claims.issuer,
            "service",
            expires_at=claims.expires_at,
            deactivated=standing.deactivated,
            taken_down=standing.taken_down,
        )

    def _moderator(self, token: str, nsid: str) -> Requester:
        try:
            signed = parse_jwt(token)
        except ValueError:
            raise BadJwt("poorly formatted jwt") from None
        claims = self._service_tokens.read(signed, nsid)
        self._service_tokens.verify(signed, claims, self._moderators)
        return Requester(None, "admin", expires_at=claims.expires_at)

    def _standing(self, did: str, session_id: str | None) -> AccountStatus | None:
        return find_account_status(self._database.one_shot(), did, session_id)

    def _standing_or_welcome(
        self, did: str, session_id: str | None, issued_at: int
    ) -> AccountStatus:
        """How *did* stands by a token made at *issued_at*, in seconds; the first one that a PDS makes brings it."""
        standing = self._standing(did, session_id)
        if standing is None and self._config.accounts == "external":
            with self._database.write() as tx:
                is_new = accounts.make_external(tx, did, self._clock())
                standing = find_account_status(tx, did, session_id)
                _refuse_predecessor(standing, issued_at)
            if is_new:
                log.info("the account %s is new here", did)
        if standing is None:
            raise AccountNotFound()
        if session_id is None:  # a log-in has ended with its account
            _refuse_predecessor(standing, issued_at)
        return standing


def _refuse_predecessor(standing: AccountStatus | None, issued_at: int) -> None:
    """Raises AccountNotFound for a token that was made for an account which was deleted since."""
    deleted_at = None if standing is None else standing.deleted_at
    if deleted_at is not None and issued_at * 1_000_000 <= deleted_at:
        raise AccountNotFound()


def _service_token(text: str) -> Token | None:
    try:
        token = parse_jwt(text)
    except ValueError:
        return None
    return None if token.claims.get("lxm") is None else token
