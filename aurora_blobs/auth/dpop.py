"""DPoP, RFC 9449: a proof with every request that its sender has the key a token is bound to."""

import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from aurora_blobs.auth.jwts import Token, base64url, one_time_name, parse_jwt, seconds_claim
from aurora_blobs.auth.keys import jwk_key
from aurora_blobs.auth.requester import Credentials
from aurora_blobs.errors import OAuthRefused

_NONCE_SECONDS = 60  # a nonce is valid from the minute before its own to the minute after
_MAX_AGE_SECONDS = 10
_SKEW_SECONDS = 180
# How long a proof can be replayed: from its earliest use to its latest.
REMEMBER_SECONDS = _MAX_AGE_SECONDS + 2 * _SKEW_SECONDS
_THUMBPRINT_MEMBERS = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n")}  # RFC 7638, 3.2


@dataclass(frozen=True, slots=True)
class Proof:
    """A valid proof; *thumbprint* is that of its key, RFC 7638. *name* tells it from others."""

    thumbprint: str
    name: str


class Nonces:
    """The nonces of each minute. A reference PDS with the same *secret* has the same nonces."""

    def __init__(self, secret: bytes, clock: Callable[[], int]) -> None:
        self._secret = secret
        self._clock = clock

    def next(self) -> str:
        """The nonce that stays valid longest."""
        return self._nonce(self._minute() + 1)

    def accepts(self, nonce: str) -> bool:
        """Whether *nonce* is valid now."""
        minute = self._minute()
        return any(
            hmac.compare_digest(nonce.encode(), self._nonce(minute + step).encode())
            for step in (-1, 0, 1)
        )

    def _minute(self) -> int:
        return self._clock() // (_NONCE_SECONDS * 1_000_000)

    def _nonce(self, minute: int) -> str:
        return base64url(hmac.digest(self._secret, minute.to_bytes(8, "big"), "sha256"))


def check_proof(credentials: Credentials, access_token: str, nonces: Nonces, now: int) -> Proof:
    """The proof in *credentials*, checked for this request at *now* (seconds since the epoch).

    Whether it was used before is not checked. Raises OAuthRefused.
    """
    token = _signed(credentials.dpop or "")
    claims = token.claims
    jti = claims.get("jti")
    if not isinstance(jti, str) or not jti:
        raise _refused('DPoP "jti" missing')
    if claims.get("htm") != credentials.method:
        raise _refused('DPoP "htm" mismatch')
    address = _address(claims.get("htu"))
    if address is None or address != _address(credentials.url):
        raise _refused('DPoP "htu" mismatch')
    try:
        issued_at = seconds_claim(claims, "iat")
    except ValueError:
        issued_at = None
    if (
        issued_at is None
        or not now - _MAX_AGE_SECONDS - _SKEW_SECONDS <= issued_at <= now + _SKEW_SECONDS
    ):
        raise _refused('DPoP "iat" missing, too old or in the future')
    nonce = claims.get("nonce")
    if nonce is None:
        raise OAuthRefused("use_dpop_nonce", "Resource server requires nonce in DPoP proof")
    if not isinstance(nonce, str) or not nonces.accepts(nonce):
        raise OAuthRefused("use_dpop_nonce", 'DPoP "nonce" mismatch')
    if claims.get("ath") != base64url(sha256(access_token.encode()).digest()):
        raise _refused('DPoP "ath" mismatch')
    return Proof(_thumbprint(token.header["jwk"]), one_time_name(token, jti))


def _signed(text: str) -> Token:
    """*text* as a token that is signed by the key in its own header. Raises OAuthRefused."""
    try:
        token = parse_jwt(text)
        jwk, algorithm = token.header.get("jwk"), token.header.get("alg")
        if token.type != "dpop+jwt" or not isinstance(jwk, dict) or not isinstance(algorithm, str):
            raise ValueError("no proof")
        if not jwk_key(jwk, algorithm).verifies(token):
            raise ValueError("not signed by its key")
    except ValueError:
        raise _refused("Failed to verify DPoP proof") from None
    return token


def _address(url: object) -> tuple[str, str, int | None, str] | None:
    """*url* without its query and fragment, to be compared; None if it is no HTTP URL."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        default = {"http": 80, "https": 443}[parts.scheme]
        if parts.username is not None or parts.password is not None:
            return None
        return parts.scheme, parts.hostname or "", parts.port or default, parts.path or "/"
    except (ValueError, KeyError):
        return None


def _thumbprint(jwk: dict[str, Any]) -> str:
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS[jwk["kty"]]}
    return base64url(
        sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).digest()
    )


def _refused(message: str) -> OAuthRefused:
    return OAuthRefused("invalid_dpop_proof", message)
