"""An OAuth resource server: access tokens that are bound to a key, and their scope."""

import json
import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any
from urllib.parse import quote_plus, urlencode

from aurora_blobs.auth.dpop import REMEMBER_SECONDS, Nonces, check_proof
from aurora_blobs.auth.fetch import FetchFailed, fetch
from aurora_blobs.auth.jwts import Key, Token, parse_jwt, seconds_claim
from aurora_blobs.auth.keys import JWK_ALGORITHMS, jwk_key
from aurora_blobs.auth.requester import Credentials
from aurora_blobs.auth.session import SessionTokens, issue_time
from aurora_blobs.catalog.tokens import use_token
from aurora_blobs.config import Config
from aurora_blobs.db import Database
from aurora_blobs.errors import OAuthRefused, ServiceBusy
from aurora_blobs.protocol.syntax import parse_did

_REMEMBERED = 4096  # tokens whose signature is not checked again
_MAX_SCOPES = 4096  # remembered, of as many tokens
# In microseconds: how long a key set is used without asking, the time between two requests for it,
# and how long a token outlives its revocation where introspection is used.
_KEYS_FRESH = 3600 * 1_000_000
_KEYS_RETRY = 10 * 1_000_000
_SCOPE_FRESH = 60 * 1_000_000

Fetch = Callable[..., bytes]


@dataclass(frozen=True, slots=True)
class OAuthClaims:
    """The claims of a valid access token. *issued_at* is in seconds since the epoch."""

    did: str
    scope: str
    issued_at: int


@dataclass(frozen=True, slots=True)
class _BoundToken:
    """The claims of a verified token. *thumbprint* is that of the key it is bound to."""

    did: str
    scope: str | None
    issued_at: int
    expires_at: int
    not_before: int
    thumbprint: str


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
            else _KeySet(config.oauth_jwks_url, clock, fetch_url)
        )
        self._scopes = _Scopes(config, clock, fetch_url)
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
        return ("DPoP-Nonce", self._nonces.next()), ("Access-Control-Expose-Headers", "DPoP-Nonce")

    def verify(self, token: str, credentials: Credentials) -> OAuthClaims:
        """The claims of *token*, if it is valid and *credentials* prove the key it is bound to.

        Raises OAuthRefused, ServiceBusy.
        """
        now = self._clock() // 1_000_000
        proof = (
            None if credentials.dpop is None else check_proof(credentials, token, self._nonces, now)
        )
        bound = self._bound(token)
        if now >= bound.expires_at:
            raise _invalid("Token expired")
        if now < bound.not_before:
            raise _invalid("Token is not yet valid")
        if proof is None:
            raise OAuthRefused("invalid_dpop_proof", "DPoP proof required")
        if proof.thumbprint != bound.thumbprint:
            raise _invalid("Invalid DPoP key binding")
        scope = bound.scope
        if scope is None or scope.startswith("ref:"):  # a reference that only the issuer resolves
            scope = self._scopes.find(token)
        if "atproto" not in scope.split(" "):
            raise _invalid("Invalid scope")
        with self._database.write() as tx:
            expires_at = (now + REMEMBER_SECONDS) * 1_000_000
            if not use_token(tx, f"dpop:{proof.thumbprint}", proof.name, expires_at, self._clock()):
                raise OAuthRefused("invalid_dpop_proof", "DPoP proof replayed")
        return OAuthClaims(bound.did, scope, bound.issued_at)

    def _read(self, text: str) -> _BoundToken:
        try:
            token = parse_jwt(text)
        except ValueError:
            raise _invalid("Malformed token") from None
        claims = token.claims
        if token.type != "at+jwt" or claims.get("iss") != self._issuer or not self._signed(token):
            raise _invalid("Token could not be verified")
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
        return _BoundToken(did, scope, issued_at, expires_at, not_before or 0, thumbprint)

    def _signed(self, token: Token) -> bool:
        if any(key.verifies(token) for key in self._tokens.verifying_keys):
            return True
        return self._key_set is not None and self._key_set.verifies(token)


class _KeySet:
    """An issuer's public keys, RFC 7517, fetched from *url*."""

    def __init__(self, url: str, clock: Callable[[], int], fetch_url: Fetch) -> None:
        self._url = url
        self._clock = clock
        self._fetch = fetch_url
        self._lock = threading.Lock()
        self._keys: list[dict[str, Any]] | None = None
        self._asked_at = -_KEYS_FRESH

    def verifies(self, token: Token) -> bool:
        """Whether a key of the set signed *token*. For an unknown key the set is fetched again."""
        algorithm, kid = token.header.get("alg"), token.header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in JWK_ALGORITHMS:
            return False
        for refresh in (False, True):
            candidates = [
                jwk for jwk in self._known(refresh) if kid is None or jwk.get("kid") == kid
            ]
            if candidates:
                return any(_verifies(jwk, algorithm, token) for jwk in candidates)
        return False

    def _known(self, refresh: bool) -> list[dict[str, Any]]:
        with self._lock:
            age = self._clock() - self._asked_at
            if age >= _KEYS_FRESH or (age >= _KEYS_RETRY and (refresh or self._keys is None)):
                self._asked_at = self._clock()
                try:
                    found = json.loads(self._fetch(self._url, allowed=None))["keys"]
                    self._keys = [
                        jwk
                        for jwk in found
                        if isinstance(jwk, dict) and jwk.get("use", "sig") == "sig"
                    ]
                except (FetchFailed, ValueError, KeyError, TypeError, RecursionError):
                    pass  # the known keys stay in use
            if self._keys is None:
                raise ServiceBusy(
                    "The keys of the authorization server cannot be had, please try again."
                )
            return self._keys


class _Scopes:
    """The scope of a token that carries none: by introspection, RFC 7662, or from the settings."""

    def __init__(self, config: Config, clock: Callable[[], int], fetch_url: Fetch) -> None:
        self._url = config.oauth_introspection_url
        client_id = quote_plus(config.oauth_client_id or "")
        client_secret = quote_plus(config.oauth_client_secret or "")
        pair = b64encode(f"{client_id}:{client_secret}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {pair}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        self._unscoped = "atproto blob:*/*" if config.oauth_unscoped == "blobs" else "atproto"
        self._clock = clock
        self._fetch = fetch_url
        self._lock = threading.Lock()
        self._known: dict[bytes, tuple[int, str]] = {}

    def find(self, token: str) -> str:
        """The scope of *token*. Raises OAuthRefused, ServiceBusy."""
        if self._url is None:
            return self._unscoped
        name, now = sha256(token.encode()).digest(), self._clock()
        with self._lock:
            known_at, scope = self._known.get(name, (now - _SCOPE_FRESH, ""))
        if now - known_at < _SCOPE_FRESH:
            return scope
        scope = self._asked(token)
        with self._lock:
            if len(self._known) >= _MAX_SCOPES:
                self._known.clear()
            self._known[name] = (now, scope)
        return scope

    def _asked(self, token: str) -> str:
        body = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        try:
            answer = json.loads(
                self._fetch(self._url, allowed=None, body=body, headers=self._headers)
            )
        except (FetchFailed, ValueError, RecursionError):
            raise ServiceBusy(
                "The authorization server does not answer, please try again."
            ) from None
        if not isinstance(answer, dict) or answer.get("active") is not True:
            raise _invalid("Token is not active")
        scope = answer.get("scope")
        return scope if isinstance(scope, str) else self._unscoped


def _verifies(jwk: dict[str, Any], algorithm: str, token: Token) -> bool:
    try:
        key: Key = jwk_key(jwk, algorithm)
    except ValueError:
        return False
    return key.verifies(token)


def _invalid(message: str) -> OAuthRefused:
    return OAuthRefused("invalid_token", message)
