"""An authorization server's public keys, RFC 7517: fetched, kept fresh, and given up when old."""

import json
from collections.abc import Callable
from typing import Any

from aurora_blobs.auth.fetch import FetchFailed
from aurora_blobs.auth.flights import Flights
from aurora_blobs.auth.jwts import Key, Token
from aurora_blobs.auth.keys import JWK_ALGORITHMS, jwk_key
from aurora_blobs.errors import ServiceBusy

_SECOND = 1_000_000  # in microseconds
_FRESH = 3600 * _SECOND  # how long the keys are used without asking
_STALE = 24 * 3600 * _SECOND  # and how long while the server is away
_RETRY = 10 * _SECOND  # between two requests that tokens with unknown keys cause
# Between two requests of which nobody needs the answer: each makes one caller wait for it.
_REFRESH_RETRY = 60 * _SECOND
_WAITING = 32  # threads of a process that wait for the keys; a guess, an eighth of the default
_AWAY = "The keys of the authorization server cannot be had, please try again."

Fetch = Callable[..., bytes]


class Keys:
    """A generation of the set: the same object for as long as the set does not change."""

    def __init__(self, jwks: tuple[dict[str, Any], ...]) -> None:
        self.jwks = jwks

    def verify(self, token: Token) -> bool:
        """Whether one of the keys signed *token*: the one of its ``kid``, or any without one."""
        algorithm = _algorithm(token)
        return algorithm is not None and any(
            _verifies(jwk, algorithm, token) for jwk in self._of(token)
        )

    def lack_key_of(self, token: Token) -> bool:
        """Whether *token* may be signed by a key that is not among these."""
        return _algorithm(token) is not None and not self._of(token)

    def _of(self, token: Token) -> list[dict[str, Any]]:
        kid = token.header.get("kid")
        return [jwk for jwk in self.jwks if kid is None or jwk.get("kid") == kid]


class KeySet:
    """The keys at *url*. Only one thread at a time asks for them, and no lock is held meanwhile."""

    def __init__(self, url: str, clock: Callable[[], int], fetch_url: Fetch) -> None:
        self._url = url
        self._clock = clock
        self._fetch = fetch_url
        self._flights: Flights[None] = Flights(at_once=1, waiting=_WAITING, refusal=_AWAY)
        self._keys = Keys(())
        self._fetched_at: int | None = None
        self._asked_at: int | None = None

    @property
    def known(self) -> Keys:
        """The keys that were fetched last, none before that. Nobody is asked."""
        return self._keys

    def current(self, *, needs_another: bool) -> Keys:
        """The keys to go by. The server is asked if they are old, and if *needs_another*.

        Whoever needs another key waits for the answer. While one caller asks for fresh ones, the
        known keys serve the others. Raises ServiceBusy if there are none that may be used.
        """
        if needs_another or not self._age_is_below(_STALE):
            self._flights.share("keys", lambda: self._ask(_RETRY))
        elif not self._age_is_below(_FRESH):
            self._flights.lead("keys", lambda: self._ask(_REFRESH_RETRY))
        if not self._age_is_below(_STALE):
            raise ServiceBusy(_AWAY)
        return self._keys

    def _age_is_below(self, limit: int) -> bool:
        return _is_within(self._fetched_at, self._clock(), limit)

    def _ask(self, pause: int) -> None:
        """Fetch the keys, unless that was done within *pause*. If it fails, the known ones stay."""
        now = self._clock()
        if _is_within(self._asked_at, now, pause):
            return
        self._asked_at = now
        try:
            jwks = _parse(self._fetch(self._url, allowed=None))
        except (FetchFailed, ValueError, KeyError, TypeError, RecursionError):
            return
        if jwks != self._keys.jwks:
            self._keys = Keys(jwks)
        self._fetched_at = now


def _is_within(then: int | None, now: int, limit: int) -> bool:
    # A time that lies ahead is of a clock that was set back since.
    return then is not None and 0 <= now - then < limit


def _parse(body: bytes) -> tuple[dict[str, Any], ...]:
    jwks = json.loads(body)["keys"]
    if not isinstance(jwks, list):
        raise TypeError("no list of keys")
    return tuple(jwk for jwk in jwks if isinstance(jwk, dict) and jwk.get("use", "sig") == "sig")


def _algorithm(token: Token) -> str | None:
    algorithm = token.header.get("alg")
    return algorithm if isinstance(algorithm, str) and algorithm in JWK_ALGORITHMS else None


def _verifies(jwk: dict[str, Any], algorithm: str, token: Token) -> bool:
    try:
        key: Key = jwk_key(jwk, algorithm)
    except ValueError:
        return False
    return key.verifies(token)
