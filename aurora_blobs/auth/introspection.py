"""The scope of an access token that carries none: by introspection, RFC 7662, or from settings."""

import json
import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote_plus, urlencode

from aurora_blobs.auth.fetch import FetchFailed
from aurora_blobs.auth.flights import Flights
from aurora_blobs.auth.jwts import seconds_claim
from aurora_blobs.config import Config
from aurora_blobs.errors import OAuthRefused, ServiceBusy

# How long each answer is used, in microseconds. The first is how long a token outlives its
# revocation. Refusals are short, because a server may not know yet of a token that it just made.
_ACTIVE = 60 * 1_000_000
_REFUSED = 10 * 1_000_000
_AWAY = 5 * 1_000_000
_REMEMBERED = 4096  # answers about as many tokens
# Of a process, guesses. Who waits has shown a token that the server signed.
_AT_ONCE, _WAITING = 8, 256
_BUSY = "The authorization server does not answer, please try again."

Fetch = Callable[..., bytes]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was answered at *known_at*, used for *lasts*: a *scope*, or a *refusal* to raise."""

    known_at: int
    lasts: int
    scope: str = ""
    refusal: Callable[[], Exception] | None = None


class Introspection:
    """Asks once for all who show the same token meanwhile, and remembers what was answered."""

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
        self._service_did = config.service_did
        self._clock = clock
        self._fetch = fetch_url
        self._flights: Flights[_Answer] = Flights(at_once=_AT_ONCE, waiting=_WAITING, refusal=_BUSY)
        self._lock = threading.Lock()
        self._answers: dict[str, _Answer] = {}  # the oldest first

    def scope(self, token: str, claims: dict[str, Any]) -> str:
        """The scope of *token*, whose *claims* are verified. Raises OAuthRefused, ServiceBusy."""
        if self._url is None:
            return self._unscoped
        name = sha256(token.encode()).hexdigest()
        answer = self._remembered(name)
        if answer is None:
            answer = self._flights.share(name, lambda: self._answer(name, token, claims))
        if answer.refusal is not None:
            raise answer.refusal()
        return answer.scope

    def _remembered(self, name: str) -> _Answer | None:
        with self._lock:
            answer = self._answers.get(name)
        if answer is None or not 0 <= self._clock() - answer.known_at < answer.lasts:
            return None
        return answer

    def _answer(self, name: str, token: str, claims: dict[str, Any]) -> _Answer:
        # Somebody may have asked between the look and the turn of this call.
        answer = self._remembered(name) or self._asked(token, claims)
        with self._lock:
            self._answers.pop(name, None)
            self._answers[name] = answer
            if len(self._answers) > _REMEMBERED:
                del self._answers[next(iter(self._answers))]
        return answer

    def _asked(self, token: str, claims: dict[str, Any]) -> _Answer:
        body = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        now = self._clock()
        try:
            found = json.loads(
                self._fetch(self._url, allowed=None, body=body, headers=self._headers)
            )
        except (FetchFailed, ValueError, RecursionError):
            return _Answer(now, _AWAY, refusal=lambda: ServiceBusy(_BUSY))
        if not isinstance(found, dict) or found.get("active") is not True:
            return _refused(now, "Token is not active")
        other = self._contradiction(found, claims)
        if other is not None:
            return _refused(now, f'The authorization server knows the token with another "{other}"')
        scope = found.get("scope")
        return _Answer(now, _ACTIVE, scope if isinstance(scope, str) else self._unscoped)

    def _contradiction(self, found: dict[str, Any], claims: dict[str, Any]) -> str | None:
        """The first name under which *found* says another thing than *claims*; None without one.

        What is not stated contradicts nothing.
        """
        for name in ("iss", "sub", "client_id", "jti", "exp", "cnf"):
            stated, claimed = found.get(name), claims.get(name)
            if stated is None or (claimed is None and name in ("client_id", "jti")):
                continue
            if _comparable(name, stated) != _comparable(name, claimed):
                return name
        audience = found.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if audience is not None and self._service_did not in audiences:
            return "aud"
        return None


def _comparable(name: str, value: Any) -> Any:
    """*value* without what does not matter: parts of a second, other ways to bind to a key."""
    if name == "exp":
        try:
            return seconds_claim({"exp": value}, "exp")
        except ValueError:
            return value
    return value.get("jkt") if name == "cnf" and isinstance(value, dict) else value


def _refused(now: int, message: str) -> _Answer:
    return _Answer(now, _REFUSED, refusal=lambda: OAuthRefused("invalid_token", message))
