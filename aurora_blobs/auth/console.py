"""The administrator's session in a browser: a signed cookie, which no row has to remember."""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from aurora_blobs.auth.jwts import Key, base64url, parse_jwt, seconds_claim
from aurora_blobs.catalog.tokens import is_used, token_key, use_token
from aurora_blobs.db import Database
from aurora_blobs.disk_space import Spend

SESSION_SECONDS = 8 * 60 * 60
_TYPE = "console+jwt"
_ISSUER = "console"  # in seen_token; no DID, so nobody else's


@dataclass(frozen=True, slots=True)
class ConsoleSession:
    """A session that holds. *form_token* proves that a form is from one of its own pages.

    *expires_at* is in seconds since the epoch.
    """

    jti: str
    form_token: str
    expires_at: int


class ConsoleSessions:
    """Begins, checks and ends sessions. *clock* gives microseconds since the epoch, UTC.

    The key is made of *secret*, which all processes and nodes share, and of *password*: when
    either changes, every session is over.
    """

    def __init__(
        self, secret: bytes, password: str, database: Database, clock: Callable[[], int]
    ) -> None:
        material = hmac.digest(secret, password.encode(), sha256)
        self._key = Key("HS256", material)
        self._database = database
        self._clock = clock

    def begin(self) -> str:
        """The cookie of a new session, good for `SESSION_SECONDS`."""
        now = self._clock() // 1_000_000
        claims = {"jti": secrets.token_urlsafe(16), "iat": now, "exp": now + SESSION_SECONDS}
        return self._key.sign(_TYPE, claims)

    def find(self, cookie: str) -> ConsoleSession | None:
        """The session of *cookie*; None if it is over, was ended, or is none of ours."""
        try:
            token = parse_jwt(cookie)
            expires_at = seconds_claim(token.claims, "exp")
        except ValueError:
            return None
        jti = token.claims.get("jti")
        if token.type != _TYPE or not self._key.verifies(token):
            return None
        if not isinstance(jti, str) or expires_at is None:
            return None
        if self._clock() >= expires_at * 1_000_000:
            return None
        if is_used(self._database.one_shot(), _ISSUER, jti):
            return None
        form = hmac.digest(self._key.material, f"form {jti}".encode(), sha256)
        return ConsoleSession(jti, base64url(form), expires_at)

    def end(self, session: ConsoleSession) -> None:
        """End *session*, in every process. Raises ServiceBusy, InsufficientStorage."""
        until = session.expires_at * 1_000_000
        with self._database.write(Spend.HALF, keys=(token_key(_ISSUER, session.jti),)) as tx:
            use_token(tx, _ISSUER, session.jti, until, self._clock())
