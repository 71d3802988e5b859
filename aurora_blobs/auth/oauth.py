"""An OAuth resource server: access tokens that are bound to a key, and their scope."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from aurora_blobs.auth.dpop import REMEMBER_SECONDS, Nonces, check_proof
from aurora_blobs.auth.fetch import fetch
from aurora_blobs.auth.introspection import Introspection
from aurora_blobs.auth.jwts import Token, parse_jwt, seconds_claim
from aurora_blobs.auth.key_set import Keys, KeySet
from aurora_blobs.auth.requester import Credentials
from aurora_blobs.auth.session import (
    MAX_ACCESS_SECONDS,
    SKEW_SECONDS,
    SessionTokens,
    issue_time,
    lives_too_long,
)
from aurora_blobs.catalog.tokens import token_key, use_token
from aurora_blobs.config import Config
from aurora_blobs.db import Database
from aurora_blobs.errors import OAuthRefused
from aurora_blobs.protocol.syntax import parse_did

_REMEMBERED = 4096  # tokens whose signature is not checked again
_NO_KEYS = Keys(())

Fetch = Callable[..., bytes]


@dataclass(frozen=True, slots=True)
class OAuthClaims:
    """The claims of a valid access token. *issued_at* is in seconds since the epoch."""

    did: str
    scope: str
    issued_at: int


@dataclass(frozen=True, slots=True)
class _BoundToken:
    """The claims of a token. *thumbprint* is that of the key it is bound to.

    *is_of_issuer* says that a key of the issuer's set has to have signed it, none of sessions did.
    """

    did: str
    scope: str | None
    issued_at: int
    expires_at: int
    not_before: int
    thumbprint: str
    is_of_issuer: bool


class _Unsigned(Exception):
    """None of the keys at hand signed *bound*. *lacks_key*: its key is not among them."""

    def __init__(self, bound: _BoundToken, *, lacks_key: bool) -> None:
        super().__init__()
        self.bound = bound
        self.lacks_key = lacks_key


class OAuthTokens:
    """Checks access tokens of one issuer, by the keys of sessions and by the issuer's key set."""

    def __init__(
        self,
        config: Config,
        tokens: SessionTokens,
        database: Database,
        clock: Callable[[], int],
        fetch_url: Fetch = fetch,
    ) -> None:
        self._issuer = config.oauth_issuer
        self._service_did = config.service_did
        self._tokens = tokens
        self._database = database
        self._clock = clock
        self._key_set = (
            None
            if config.oauth_jwks_url is None
            else KeySet(config.oauth_jwks_url, clock, fetch_url)
        )
        self._introspection = Introspection(config, clock, fetch_url)
        secret = (
            tokens.derived_secret("dpop nonce")
            if config.dpop_secret is None
            else bytes.fromhex(config.dpop_secret)
        )
        self._nonces = Nonces(secret, clock)
        self._bound = lru_cache(_REMEMBERED)(self._read)

    @property
    def enabled(self) -> bool:
        """Whether an issuer is configured; without one no token is valid."""
        return self._issuer is not None

    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers of every answer to a DPoP client: the next nonce."""
        return (("DPoP-Nonce", self._nonces.next()),)

    def verify(self, token: str, credentials: Credentials) -> OAuthClaims:
        """The claims of *token*, if it is valid and *credentials* prove the key it is bound to.

        Raises OAuthRefused, ServiceBusy.
        """
        now = self._clock() // 1_000_000
        proof = (
            None if credentials.dpop is None else check_proof(credentials, token, self._nonces, now)
        )
        lacks_key = False
        try:
            bound = self._bound(token, self._known_keys())
        except _Unsigned as unsigned:
            bound, lacks_key = unsigned.bound, unsigned.lacks_key
        _check_times(bound, now)
        if proof is None:
            raise OAuthRefused("invalid_dpop_proof", "DPoP proof required")
        if proof.thumbprint != bound.thumbprint:
            raise _invalid("Invalid DPoP key binding")
        scope = bound.scope
        if scope is not None and scope.startswith("ref:"):  # only the issuer resolves it
            scope = None
        if scope is not None:
            _check_scope(scope)
        # From here on others may be asked: all that can be known without them is proven.
        if self._key_set is not None and bound.is_of_issuer:
            self._check_signature(token, self._key_set.current(needs_another=lacks_key))
        if scope is None:
            scope = self._introspection.scope(token, parse_jwt(token).claims)
            _check_scope(scope)
        expires_at = (now + REMEMBER_SECONDS) * 1_000_000
        issuer = f"dpop:{proof.thumbprint}"
        is_new = self._database.transact(
            lambda tx: use_token(tx, issuer, proof.name, expires_at, self._clock()),
            keys=(token_key(issuer, proof.name),),
        )
        if not is_new:
            raise OAuthRefused("invalid_dpop_proof", "DPoP proof replayed")
        return OAuthClaims(bound.did, scope, bound.issued_at)

    def _known_keys(self) -> Keys:
        return _NO_KEYS if self._key_set is None else self._key_set.known

    def _check_signature(self, token: str, keys: Keys) -> None:
        try:
            self._bound(token, keys)
        except _Unsigned:
            raise _unverified() from None

    def _read(self, text: str, keys: Keys) -> _BoundToken:
        """The claims of *text*, signed by a key of sessions or one of *keys*.

        What was read is remembered for the same *keys*, so a key that is removed takes its tokens
        with it. Raises OAuthRefused, _Unsigned.
        """
        try:
            token = parse_jwt(text)
        except ValueError:
            raise _invalid("Malformed token") from None
        claims = token.claims
        is_of_issuer = not any(key.verifies(token) for key in self._tokens.verifying_keys)
        if (
            token.type != "at+jwt"
            or claims.get("iss") != self._issuer
            or (is_of_issuer and self._key_set is None)
        ):
            raise _unverified()
        bound = self._claims(token, is_of_issuer=is_of_issuer)
        if is_of_issuer and not keys.verify(token):
            raise _Unsigned(bound, lacks_key=keys.lack_key_of(token))
        return bound

    def _claims(self, token: Token, *, is_of_issuer: bool) -> _BoundToken:
        claims = token.claims
        audience = claims.get("aud")
        if self._service_did not in (audience if isinstance(audience, list) else [audience]):
            raise _invalid("Invalid audience")
        binding, scope = claims.get("cnf"), claims.get("scope")
        thumbprint = binding.get("jkt") if isinstance(binding, dict) else None
        if not isinstance(thumbprint, str):
            raise _invalid("Bearer token type must be used without a DPoP proof")
        try:
            did = parse_did(str(claims.get("sub")))
            expires_at, not_before = seconds_claim(claims, "exp"), seconds_claim(claims, "nbf")
            issued_at = issue_time(claims, expires_at or 0)
        except ValueError:
            raise _invalid("Malformed token") from None
        if expires_at is None or not isinstance(scope, str | None) or claims.get("lxm") is not None:
            raise _invalid("Malformed token")
        return _BoundToken(
            did, scope, issued_at, expires_at, not_before or 0, thumbprint, is_of_issuer
        )


def _check_times(bound: _BoundToken, now: int) -> None:
    if now >= bound.expires_at:
        raise _invalid("Token expired")
    if lives_too_long(bound.issued_at, bound.expires_at, now, MAX_ACCESS_SECONDS):
        raise _invalid(f"Token lives longer than {MAX_ACCESS_SECONDS} seconds")
    if now < max(bound.not_before, bound.issued_at - SKEW_SECONDS):
        raise _invalid("Token is not yet valid")


def _check_scope(scope: str) -> None:
    if "atproto" not in scope.split(" "):
        raise _invalid("Invalid scope")


def _unverified() -> OAuthRefused:
    return _invalid("Token could not be verified")


def _invalid(message: str) -> OAuthRefused:
    return OAuthRefused("invalid_token", message)
