"""JSON Web Tokens: strict parsing, and keys that are bound to one algorithm."""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from jwt import PyJWS
from jwt.exceptions import InvalidKeyError

from aurora_blobs.protocol.strict_json import parse_json_text

_MAX_CHARACTERS = 16 * 1024  # twice what gunicorn takes as a header line
_PLAIN_JTI = re.compile(r"[A-Za-z0-9_:~-]{1,64}")
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it was sent. Nothing in it is trusted before a key `verifies` it."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes

    @property
    def type(self) -> str | None:
        """The header's ``typ`` in the form that RFC 8725, 3.11 compares; None if it is no text."""
        typ = self.header.get("typ")
        return typ.lower().removeprefix("application/") if isinstance(typ, str) else None


@dataclass(frozen=True, slots=True)
class Key:
    """A key and its one algorithm, so that the ``alg`` of a token never chooses."""

    algorithm: str
    material: Any

    def verifies(self, token: Token) -> bool:
        """Whether *token* names this key's algorithm and is signed with this key."""
        if token.header.get("alg") != self.algorithm:
            return False
        return self.signed(token.signed, token.signature)

    def signed(self, data: bytes, signature: bytes) -> bool:
        """Whether *signature* is this key's for *data*."""
        return bool(_algorithm(self.algorithm).verify(data, self.material, signature))

    def sign(self, typ: str, claims: dict[str, Any]) -> str:
        """A signed token of the type *typ* with *claims*."""
        header = {"alg": self.algorithm, "typ": typ}
        signed = ".".join(
            base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims)
        )
        return (
            f"{signed}.{base64url(_algorithm(self.algorithm).sign(signed.encode(), self.material))}"
        )


def secret_key(secret: str) -> Key:
    """The HS256 key *secret*. Raises ValueError for a public key or a JWK in its place."""
    try:
        return Key("HS256", _algorithm("HS256").prepare_key(secret))
    except InvalidKeyError as error:
        raise ValueError(str(error)) from None


def parse_jwt(text: str) -> Token:
    """*text* as a token in compact form, RFC 7519: two JSON objects in canonical base64url, signed.

    Raises ValueError for any other text, for one that is too long, and for the header extensions
    ``crit`` and ``b64``, which are not supported.
    """
    if len(text) > _MAX_CHARACTERS:
        raise ValueError("token too long")
    segments = text.split(".")
    if len(segments) != 3:
        raise ValueError("not three segments")
    header, claims, signature = (_decoded(segment) for segment in segments)
    token = Token(
        _json_object(header), _json_object(claims), text.rpartition(".")[0].encode(), signature
    )
    if "crit" in token.header or "b64" in token.header:
        raise ValueError("critical extensions are not supported")
    return token


def seconds_claim(claims: dict[str, Any], name: str) -> int | None:
    """The claim *name* in whole seconds since the epoch, None without it. Raises ValueError."""
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):  # bool is an int to Python
        raise ValueError(f"{name} is not a number")
    try:
        return int(value)
    except OverflowError:  # 1e999 is infinite
        raise ValueError(f"{name} is not a number") from None


def one_time_name(token: Token, jti: str | None) -> str:
    """The name under which *token*, which is good once, is remembered: its *jti*, or one for it.

    A jti may be missing, or long and of any characters. Its name has 64 characters at most.
    """
    if jti and _PLAIN_JTI.fullmatch(jti):
        return jti
    # A dot is in no plain jti. What is signed, not the signature: another may be as valid.
    return f"sha256.{base64url(sha256(jti.encode() if jti else token.signed).digest())}"


def base64url(data: bytes) -> str:
    """*data* in base64url without padding, RFC 7515."""
    return urlsafe_b64encode(data).decode().rstrip("=")


def _algorithm(name: str) -> Any:
    return _JWS.get_algorithm_by_name(name)


_JWS = PyJWS()


def _decoded(segment: str) -> bytes:
    if not _SEGMENT.fullmatch(segment) or len(segment) % 4 == 1:
        raise ValueError("not base64url")
    data = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    # The last character has unused bits, so that several texts would decode to the same bytes.
    if base64url(data) != segment:
        raise ValueError("not canonical base64url")
    return data


def _json_object(data: bytes) -> dict[str, Any]:
    value = parse_json_text(data.decode())
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value
