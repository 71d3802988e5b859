"""Session tokens: the access and refresh tokens of an account, as the reference PDS has them."""

import hmac
import secrets as random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from aurora_blobs.auth.jwts import Key, parse_jwt, seconds_claim, secret_key
from aurora_blobs.auth.keys import parse_public_key
from aurora_blobs.config import Config
from aurora_blobs.config_values import MIN_SECRET_BYTES
from aurora_blobs.errors import ExpiredToken, InvalidToken
from aurora_blobs.intake.stale_files import locked_file
from aurora_blobs.protocol.syntax import parse_did
from aurora_blobs.storage.group_fsync import make_folder, sync_file, sync_folder

ACCESS_SECONDS = 120 * 60
REFRESH_SECONDS = 90 * 24 * 60 * 60
# The longest life of an access token of any issuer. Those of the reference PDS have two hours, its
# OAuth tokens one. A deletion of an account is remembered for as long.
MAX_ACCESS_SECONDS = 24 * 60 * 60
SKEW_SECONDS = 180  # how far an issuer's clock may be ahead, as for DPoP
ACCESS_SCOPE = "com.atproto.access"
ACCESS_SCOPES = frozenset({ACCESS_SCOPE, "com.atproto.appPass", "com.atproto.appPassPrivileged"})
TAKENDOWN_SCOPE = "com.atproto.takendown"  # with which a taken-down account may fetch its data
_REFRESH_SCOPE = "com.atproto.refresh"
_ACCESS_TYPE, _REFRESH_TYPE = "at+jwt", "refresh+jwt"
_SECRET_SECONDS = 10  # that a process waits for another one to make the secret; a guess
_REMEMBERED = 4096  # tokens whose signature is not checked again; about 2 KB each


@dataclass(frozen=True, slots=True)
class SessionClaims:
    """The claims of an access token. *session_id* is None in a token of a PDS.

    Times are in seconds since the epoch.
    """

    did: str
    scope: str
    session_id: str | None
    issued_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class RefreshClaims:
    """The claims of a refresh token."""

    did: str
    session_id: str
    jti: str


class SessionTokens:
    """Makes and checks session tokens.

    The first of *secrets* signs by HS256, each verifies. *entryway_key* verifies the access tokens
    of an entryway, by ES256K or ES256. A valid signature of an access token is remembered.
    """

    def __init__(
        self,
        secrets: tuple[str, ...],
        service_did: str,
        clock: Callable[[], int],
        *,
        entryway_key: Key | None = None,
    ) -> None:
        self._keys = tuple(secret_key(secret) for secret in secrets)
        self.verifying_keys = self._keys if entryway_key is None else (*self._keys, entryway_key)
        self._service_did = service_did
        self._clock = clock
        self._access_claims = lru_cache(_REMEMBERED)(self._read_access)

    def access(self, did: str, *, session_id: str | None, scope: str = ACCESS_SCOPE) -> str:
        """An access token for *did*, good for two hours or until the session ends."""
        claims = self._claims(did, scope, ACCESS_SECONDS)
        if session_id is not None:
            claims["sid"] = session_id
        return self._keys[0].sign(_ACCESS_TYPE, claims)

    def refresh(self, did: str, *, session_id: str, jti: str) -> str:
        """A refresh token for *did* with the name *jti*, good once within 90 days."""
        claims = self._claims(did, _REFRESH_SCOPE, REFRESH_SECONDS) | {
            "jti": jti,
            "sid": session_id,
        }
        return self._keys[0].sign(_REFRESH_TYPE, claims)

    def verify_access(self, token: str, scopes: frozenset[str] = ACCESS_SCOPES) -> SessionClaims:
        """The claims of *token*, an access token with one of *scopes*.

        Raises InvalidToken, ExpiredToken.
        """
        claims, not_before = self._access_claims(token)
        self._check_times(claims.issued_at, claims.expires_at, not_before, MAX_ACCESS_SECONDS)
        # Of a session, the database knows whether it holds, whatever its token says.
        if claims.session_id is None and claims.issued_at > self._now() + SKEW_SECONDS:
            raise _unverified()
        if claims.scope not in scopes:
            raise InvalidToken("Bad token scope")
        return claims

    def verify_refresh(self, token: str) -> RefreshClaims:
        """The claims of *token*, a refresh token made here. Raises InvalidToken, ExpiredToken."""
        claims = self._verified(token, _REFRESH_TYPE, self._keys)
        self._check_times(*_times(claims), REFRESH_SECONDS)
        if claims.get("scope") != _REFRESH_SCOPE:
            raise InvalidToken("Bad token scope")
        session_id, jti = claims.get("sid"), claims.get("jti")
        if not isinstance(session_id, str) or not isinstance(jti, str):
            raise InvalidToken("Malformed token")
        return RefreshClaims(claims["sub"], session_id, jti)

    def derived_secret(self, purpose: str) -> bytes:
        """A secret for *purpose*, the same in every process of this service."""
        return hmac.digest(self._keys[0].material, purpose.encode(), "sha256")

    def _claims(self, did: str, scope: str, life_seconds: int) -> dict[str, Any]:
        now = self._now()
        return {
            "scope": scope,
            "sub": did,
            "aud": self._service_did,
            "iat": now,
            "exp": now + life_seconds,
        }

    def _read_access(self, token: str) -> tuple[SessionClaims, int]:
        claims = self._verified(token, _ACCESS_TYPE, self.verifying_keys)
        issued_at, expires_at, not_before = _times(claims)
        scope, session_id = claims.get("scope"), claims.get("sid")
        if not isinstance(scope, str):
            raise InvalidToken("Bad token scope")
        if not isinstance(session_id, str | None):
            raise InvalidToken("Malformed token")
        return SessionClaims(claims["sub"], scope, session_id, issued_at, expires_at), not_before

    def _verified(self, token: str, typ: str, keys: tuple[Key, ...]) -> dict[str, Any]:
        try:
            parsed = parse_jwt(token)
        except ValueError:
            raise _unverified() from None
        claims = parsed.claims
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if (
            parsed.type != typ
            or self._service_did not in audiences
            or not any(key.verifies(parsed) for key in keys)
        ):
            raise _unverified()
        # cnf makes a token OAuth's, lxm makes it a service token: neither belongs to a session.
        if audience != self._service_did or "cnf" in claims or claims.get("lxm") is not None:
            raise InvalidToken("Malformed token")
        try:
            parse_did(str(claims.get("sub")))
        except ValueError:
            raise InvalidToken("Malformed token") from None
        return claims

    def _check_times(
        self, issued_at: int, expires_at: int, not_before: int, max_life_seconds: int
    ) -> None:
        now = self._now()
        if now >= expires_at:
            raise ExpiredToken()
        if now < not_before:
            raise _unverified()
        if lives_too_long(issued_at, expires_at, now, max_life_seconds):
            raise InvalidToken(f"Token lives longer than {max_life_seconds} seconds")

    def _now(self) -> int:
        return self._clock() // 1_000_000


def open_session_tokens(config: Config, clock: Callable[[], int]) -> SessionTokens:
    """The session tokens of *config*. Raises ConfigError, OSError."""
    key = config.entryway_public_key
    try:
        entryway_key = None if key is None else parse_public_key(key)
    except ValueError as error:
        raise config.refusal(
            "entryway_public_key", f"a public key of secp256k1 or P-256: {error}"
        ) from None
    secrets = open_secrets(config)
    try:
        return SessionTokens(secrets, config.service_did, clock, entryway_key=entryway_key)
    except ValueError as error:
        raise config.refusal("jwt_secret", f"a secret, or a comma list of them: {error}") from None


def open_secrets(config: Config) -> tuple[str, ...]:
    """The secrets of session tokens: the configured ones, or the one in the data folder.

    The first process to need that one makes it. Raises ConfigError, OSError.
    """
    if config.jwt_secret is not None:
        return config.jwt_secret
    path = config.data_folder.session_secret
    if not path.exists():
        _make_secret(path)
    try:
        secret = path.read_text().strip()
    except UnicodeDecodeError:
        secret = ""
    if len(secret.encode()) < MIN_SECRET_BYTES:
        accepted = (
            f"a folder whose {path.name}, if there is one, has {MIN_SECRET_BYTES} bytes or more"
        )
        raise config.refusal("data_dir", f"{accepted}; delete that file to have one made")
    return (secret,)


def _make_secret(path: Path) -> None:
    make_folder(path.parent)
    # One name for all processes, so that what a crash leaves is the next one's to use.
    temporary = path.with_name(f"{path.name}.new")
    with locked_file(temporary, wait_seconds=_SECRET_SECONDS) as is_locked:
        if not is_locked:
            return
        if path.exists():
            temporary.unlink()
            return
        temporary.write_text(f"{random.token_hex(32)}\n")
        sync_file(temporary)
        temporary.rename(path)
        sync_folder(path.parent)


def issue_time(claims: dict[str, Any], expires_at: int) -> int:
    """The time of issue in *claims*, or the earliest possible one, in seconds since the epoch.

    Raises ValueError.
    """
    issued_at = seconds_claim(claims, "iat")
    return expires_at - MAX_ACCESS_SECONDS if issued_at is None else issued_at


def lives_too_long(issued_at: int, expires_at: int, now: int, max_life_seconds: int) -> bool:
    """Whether a token lives longer than *max_life_seconds*, by what it says or from *now* on.

    All are in seconds, times since the epoch.
    """
    return max(expires_at - issued_at, expires_at - now - SKEW_SECONDS) > max_life_seconds


def _times(claims: dict[str, Any]) -> tuple[int, int, int]:
    try:
        expires_at, not_before = seconds_claim(claims, "exp"), seconds_claim(claims, "nbf")
        if expires_at is None:
            raise ValueError("exp is missing")
        return issue_time(claims, expires_at), expires_at, not_before or 0
    except ValueError:
        raise _unverified() from None


def _unverified() -> InvalidToken:
    return InvalidToken("Token could not be verified")
