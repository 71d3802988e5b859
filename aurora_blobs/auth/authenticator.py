"""Authentication of API calls: a method for each kind of caller that an API method accepts."""

import logging
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Literal

from aurora_blobs.auth.admin import check_admin_password
from aurora_blobs.auth.identity import Identities
from aurora_blobs.auth.jwts import Token, parse_jwt
from aurora_blobs.auth.oauth import OAuthTokens
from aurora_blobs.auth.requester import (
    Administrator,
    Credentials,
    Person,
    Requester,
    parse_authorization,
)
from aurora_blobs.auth.service import ServiceTokens
from aurora_blobs.auth.session import ACCESS_SCOPES, TAKENDOWN_SCOPE, RefreshClaims, SessionTokens
from aurora_blobs.catalog import accounts
from aurora_blobs.catalog.account_status import AccountStatus, find_account_status
from aurora_blobs.config import Config
from aurora_blobs.db import Database, account_key
from aurora_blobs.errors import (
    AccountNotFound,
    AccountTakedown,
    AuthenticationRequired,
    BadJwt,
    ExpiredToken,
    InvalidToken,
    SubjectNotFound,
)
from aurora_blobs.rate_limits import Limits

log = logging.getLogger(__name__)

_CLOCK_SKEW = 3_600_000_000  # microseconds; a guess, far above the skew of synchronised clocks

Kind = Literal["session", "service", "oauth"]
_OWN: tuple[Kind, ...] = ("session", "oauth")  # what shows that an account calls for itself


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
        limits: Limits | None = None,
    ) -> None:
        self._config = config
        self._database = database
        self._clock = clock
        self._tokens = tokens
        self._limits = limits or Limits(config, database, clock)
        identities = identities or Identities(config, database, clock)
        audiences = frozenset({config.service_did, *config.service_audiences})
        self._service_tokens = ServiceTokens(audiences, identities, database, clock)
        self._oauth = oauth or OAuthTokens(config, tokens, database, clock)
        moderation = config.moderation_did
        self._moderators = frozenset(
            () if moderation is None else (moderation, f"{moderation}#atproto_labeler")
        )

    def headers(self, credentials: Credentials) -> tuple[tuple[str, str], ...]:
        """The headers of every answer to a DPoP client, refused or not: its next nonce."""
        if self._oauth.enabled and (credentials.authorization or "").lower().startswith("dpop "):
            return self._oauth.headers()
        return ()

    def person(
        self,
        credentials: Credentials,
        nsid: str,
        accepts: Collection[Kind],
        *,
        scopes: frozenset[str] = ACCESS_SCOPES,
        allow_taken_down: bool = False,
    ) -> Person:
        """The account that calls the method *nsid* with one of the kinds of tokens in *accepts*.

        *scopes* are those that a session may have. Raises AuthMissing, InvalidToken, ExpiredToken,
        AccountNotFound, AccountTakedown, OAuthRefused, and what `ServiceTokens` raises.
        """
        scheme, text = parse_authorization(credentials.authorization)
        token = _service_token(text) if scheme == "bearer" and "service" in accepts else None
        if token is not None:
            person = self._service_person(token, nsid)
        elif scheme == "bearer" and "session" in accepts:
            person = self._session_person(text, scopes)
        elif scheme == "dpop" and "oauth" in accepts and self._oauth.enabled:
            person = self._oauth_person(text, credentials)
        else:
            raise InvalidToken("Unexpected authorization type")
        if person.taken_down and not allow_taken_down:
            raise AccountTakedown()
        return person

    def owner(self, credentials: Credentials, nsid: str) -> Person:
        """The account that calls *nsid* for what is its own, taken down or not.

        Raises SubjectNotFound for an account that is not here, otherwise as `person`.
        """
        try:
            return self.person(credentials, nsid, _OWN, allow_taken_down=True)
        except AccountNotFound:
            raise SubjectNotFound("Repo not found") from None

    def administrator(self, credentials: Credentials, nsid: str) -> Administrator:
        """The administrator by password, or the moderation service by a token for *nsid*.

        Raises AuthenticationRequired, RateLimitExceeded, InvalidToken, and what `ServiceTokens`
        raises.
        """
        if credentials.authorization is None:
            raise AuthenticationRequired()
        scheme, text = parse_authorization(credentials.authorization)
        if scheme == "basic":
            return self._admin_by_password(text, credentials.address)
        if scheme == "bearer":
            return self._moderation_service(text, nsid)
        raise InvalidToken("Unexpected authorization type")

    def person_or_administrator(
        self,
        credentials: Credentials,
        nsid: str,
        *,
        scopes: frozenset[str] = ACCESS_SCOPES,
        allow_taken_down: bool = False,
    ) -> Requester:
        """The account that calls *nsid* for itself, or the administrator by password.

        Raises AuthenticationRequired, RateLimitExceeded, otherwise as `person`.
        """
        scheme, text = parse_authorization(credentials.authorization)
        if scheme == "basic":
            return self._admin_by_password(text, credentials.address)
        return self.person(
            credentials, nsid, _OWN, scopes=scopes, allow_taken_down=allow_taken_down
        )

    def optional(self, credentials: Credentials, nsid: str) -> Requester | None:
        """The caller of *nsid*, a method that is open to everybody; None without credentials.

        Credentials that are sent must be valid, as for `person_or_administrator`. An account that
        was taken down may still see its own. An account that is not here is None.
        """
        if credentials.authorization is None:
            return None
        try:
            return self.person_or_administrator(
                credentials, nsid, scopes=ACCESS_SCOPES | {TAKENDOWN_SCOPE}, allow_taken_down=True
            )
        except AccountNotFound:
            return None

    def refresh(self, credentials: Credentials) -> RefreshClaims:
        """The claims of a refresh token. Whether it was used before is not checked.

        Raises AuthMissing, InvalidToken, ExpiredToken.
        """
        scheme, text = parse_authorization(credentials.authorization)
        if scheme != "bearer":
            raise InvalidToken("Unexpected authorization type")
        return self._tokens.verify_refresh(text)

    def newcomer(self, credentials: Credentials, nsid: str, did: str) -> bool:
        """Whether the caller shows a service token of *did* for *nsid*. No account need be here.

        Raises InvalidToken, and what `ServiceTokens` raises.
        """
        if credentials.authorization is None:
            return False
        scheme, text = parse_authorization(credentials.authorization)
        token = _service_token(text) if scheme == "bearer" else None
        if token is None:
            raise InvalidToken("Unexpected authorization type")
        claims = self._service_tokens.read(token, nsid)
        if claims.issuer != did:  # before anybody is asked for its key
            return False
        self._service_tokens.verify(token, claims)
        return True

    def _session_person(self, text: str, scopes: frozenset[str]) -> Person:
        claims = self._tokens.verify_access(text, scopes)
        status = self._status_at(claims.did, claims.session_id, claims.issued_at)
        if claims.session_id is not None and not status.session:
            raise ExpiredToken("Token has been revoked")
        return Person(claims.did, deactivated=status.deactivated, taken_down=status.taken_down)

    def _oauth_person(self, text: str, credentials: Credentials) -> Person:
        claims = self._oauth.verify(text, credentials)
        status = self._status_at(claims.did, None, claims.issued_at)
        return Person(claims.did, claims.scope, status.deactivated, status.taken_down)

    def _service_person(self, token: Token, nsid: str) -> Person:
        claims = self._service_tokens.read(token, nsid)
        # Before the signature: only the DIDs of accounts are resolved, so that a stranger's token
        # makes us ask no server.
        status = self._status(claims.issuer, None)
        if status is None:
            raise AccountNotFound()
        self._service_tokens.verify(token, claims)
        return Person(claims.issuer, deactivated=status.deactivated, taken_down=status.taken_down)

    def _admin_by_password(self, encoded: str, address: str) -> Administrator:
        with self._limits.password_attempt(address):
            check_admin_password(encoded, self._config.admin_password)
        return Administrator()

    def _moderation_service(self, text: str, nsid: str) -> Administrator:
        try:
            token = parse_jwt(text)
        except ValueError:
            raise BadJwt("poorly formatted jwt") from None
        claims = self._service_tokens.read(token, nsid)
        self._service_tokens.verify(token, claims, self._moderators)
        return Administrator(claims.issuer)

    def _status(self, did: str, session_id: str | None) -> AccountStatus | None:
        return find_account_status(self._database.one_shot(), did, session_id)

    def _status_at(self, did: str, session_id: str | None, issued_at: int) -> AccountStatus:
        """The status of *did* for a token issued at *issued_at* (seconds since the epoch).

        Beside a PDS, the first token of an account makes the account. Raises AccountNotFound.
        """
        status = self._status(did, session_id)
        if status is None and self._config.accounts == "external":
            with self._database.write(keys=(account_key(did),)) as tx:
                is_new = accounts.make_external(tx, did, self._clock())
                status = find_account_status(tx, did, session_id)
                _check_issued_since_deletion(status, issued_at, self._clock())
            if is_new:
                log.info("the account %s is new here", did)
        if status is None:
            raise AccountNotFound()
        if session_id is None:  # a session ends with its account
            _check_issued_since_deletion(status, issued_at, self._clock())
        return status


def _check_issued_since_deletion(status: AccountStatus | None, issued_at: int, now: int) -> None:
    """Raises AccountNotFound for a token of an earlier account of the same DID, since deleted."""
    deleted_at = None if status is None else status.deleted_at
    # A deletion far in the future was noted by a clock that was ahead. Clocks of machines differ.
    if deleted_at is None or deleted_at > now + _CLOCK_SKEW:
        return
    if issued_at * 1_000_000 <= deleted_at:
        raise AccountNotFound()


# Parsing takes 9 µs (measured), saved for clients that upload many blobs with one token. Few are
# remembered, because anybody can send one.
@lru_cache(128)
def _service_token(text: str) -> Token | None:
    """*text*, if it is a service token: one with an ``lxm``, which no session's token has."""
    try:
        token = parse_jwt(text)
    except ValueError:
        return None
    return None if token.claims.get("lxm") is None else token
