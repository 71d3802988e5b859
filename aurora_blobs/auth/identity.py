"""DID resolution: documents and keys, fetched as the DID's method says, cached in the database."""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from aurora_blobs.auth.connections import Connections
from aurora_blobs.auth.fetch import FetchFailed, fetch, is_public, is_public_or_loopback
from aurora_blobs.auth.flights import Flights
from aurora_blobs.auth.jwts import Key
from aurora_blobs.auth.keys import verification_key
from aurora_blobs.auth.resolver import Resolver
from aurora_blobs.catalog import accounts, expiry, identity
from aurora_blobs.config import Config
from aurora_blobs.db import Database, Transaction, row_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import AuthenticationRequired, ServiceBusy
from aurora_blobs.protocol.did_document import account_document, essential

_SECOND = 1_000_000  # in microseconds
# As on the reference PDS: a document is used for an hour without asking, for a day if asking fails.
_FRESH = 3600 * _SECOND
_STALE = 24 * 3600 * _SECOND
_RETRY = 60 * _SECOND  # between two attempts to resolve a DID that could not be resolved
# Between two refreshes after a bad signature, which anybody can send. Six may come at once, so that
# a stranger's does not keep out the owner of a new key.
_REFRESH, _REFRESHES_AT_ONCE = 10 * _SECOND, 6
# Of a process, guesses. Each holds a thread that could serve, for as long as `fetch` may take.
_ACCOUNTS_AT_ONCE, _STRANGERS_AT_ONCE, _WAITING = 4, 2, 16
_FRAGMENTS = ("atproto", "atproto_label")  # the keys that are used
_MAX_HOST = 253  # characters of a name in DNS
_SWEEP = 1024  # names of a throttle before those that are full are dropped
_PLC = re.compile(r"did:plc:[a-z2-7]{24}")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LOOPBACK_HOST = re.compile(r"(?:localhost|127\.0\.0\.1)(?::[0-9]{1,5})?")

Fetch = Callable[..., bytes]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a DID's document is: its *url*, and the addresses *allowed* there, as of `fetch`."""

    url: str
    allowed: Callable[[str], bool] | None


class _Queue:
    """Requests that wait for each other and for no others, name look-ups included."""

    def __init__(self, at_once: int) -> None:
        self.flights: Flights[str | None] = Flights(
            at_once=at_once,
            waiting=_WAITING,
            refusal="Too many identities are being resolved, please try again.",
        )
        # A look-up may go on after the request that asked for it: twice as many.
        self.resolver = Resolver(2 * at_once)


class Identities:
    """Resolves DIDs. *fetch_url* is `fetch`; tests give their own."""

    def __init__(
        self, config: Config, database: Database, clock: Callable[[], int], fetch_url: Fetch = fetch
    ) -> None:
        self._plc_url = config.plc_url.rstrip("/")
        self._loopback = config.allow_loopback_identity
        self._public_url = config.public_url
        self._database = database
        self._clock = clock
        self._fetch = fetch_url
        self._moderation_did = config.moderation_did
        self._plc_connections = Connections()
        # A slow host holds up the others of its queue. Nobody chooses the PLC directory.
        self._plc_queue = _Queue(_ACCOUNTS_AT_ONCE)
        self._web_queue = _Queue(_ACCOUNTS_AT_ONCE)
        self._strangers_queue = _Queue(_STRANGERS_AT_ONCE)
        self._refreshes = _Throttle(_REFRESH, _REFRESHES_AT_ONCE)
        self._failures = _Throttle(_RETRY)

    def key(self, did: str, fragment: str, *, refresh: bool = False) -> Key:
        """The key that signs for *did* under the name *fragment*, such as ``atproto``.

        *refresh* asks again for a known document, as often as a limit allows. Raises
        AuthenticationRequired, ServiceBusy.
        """
        document = self.document(did, refresh=refresh)
        if document is None:
            raise AuthenticationRequired("could not resolve iss did")
        key = key_in(document, fragment)
        if key is None:
            raise AuthenticationRequired("missing or bad key in did doc")
        return key

    def known_key(self, did: str, fragment: str) -> Key | None:
        """As `key`, by `known_document`."""
        document = self.known_document(did)
        return None if document is None else key_in(document, fragment)

    def known_document(self, did: str) -> dict[str, Any] | None:
        """The DID document of *did* that is known already; nobody is asked for one."""
        known = identity.find(self._database.one_shot(), did)
        text = None if known is None else _usable(known, self._clock())
        return None if text is None else json.loads(text)

    def document(self, did: str, *, refresh: bool = False) -> dict[str, Any] | None:
        """The DID document of *did*; None if it cannot be resolved. Raises ServiceBusy."""
        text = self._text(did, refresh)
        return None if text is None else json.loads(text)

    def _text(self, did: str, refresh: bool) -> str | None:
        place = self._place(did)
        if place is None:  # costs neither a request nor a row
            return None
        with self._database.read() as tx:
            known = identity.find(tx, did)
        now = self._clock()
        usable = None if known is None else _usable(known, now)
        asks_anew = refresh and known is not None and self._refreshes.take(did, now)
        if not asks_anew:
            if known is not None and _is_fresh(known, now):
                return known.document
            if self._failures.is_used_up(did, now):
                return usable
        with self._database.read() as tx:
            account = accounts.find(tx, did)
        handle = None if account is None else account.handle
        if handle is not None and did == f"did:web:{handle}":
            # Its host is ours: a request would come back to us.
            return json.dumps(
                account_document(did, handle, self._public_url or f"https://{handle}")
            )
        queue = self._queue(did, is_account=account is not None)
        try:
            fetched = queue.flights.share(did, lambda: self._fetched(did, place, queue.resolver))
        except ServiceBusy:
            if usable is None or refresh:
                raise
            return usable
        if fetched is not None:
            return fetched
        self._failures.take(did, now)
        return usable

    def _queue(self, did: str, *, is_account: bool) -> _Queue:
        if not is_account and did != self._moderation_did:
            return self._strangers_queue
        return self._plc_queue if did.startswith("did:plc:") else self._web_queue

    def _fetched(self, did: str, place: _Place, resolver: Resolver) -> str | None:
        try:
            body = self._fetch(
                place.url,
                allowed=place.allowed,
                resolver=resolver,
                connections=self._plc_connections if did.startswith("did:plc:") else None,
            )
            document = json.loads(body)
            if not isinstance(document, dict) or document.get("id") != did:
                raise ValueError("not the document of this DID")
            text = json.dumps(essential(document, _FRAGMENTS))
        except (FetchFailed, ValueError, RecursionError):
            text = None
        now = self._clock()
        spend = Spend.HALF if did == self._moderation_did else Spend.NOTHING

        def remember(tx: Transaction) -> None:
            identity.forget_before(tx, now - _STALE, expiry.HANDFUL)
            if text is None:
                identity.forget_failures(tx, now - _RETRY, expiry.HANDFUL)
                identity.remember_failure(tx, did, now - _STALE, now)
            else:
                identity.remember(tx, did, text, now)

        self._database.transact(remember, spend, keys=(row_key("identity", did),))
        return text

    def _place(self, did: str) -> _Place | None:
        """Where the document of *did* is; None if the protocol does not say.

        https://atproto.com/specs/did
        """
        if _PLC.fullmatch(did):
            # The operator chose the directory. It may be anywhere, on this machine too.
            return _Place(f"{self._plc_url}/{quote(did, safe=':')}", None)
        if not did.startswith("did:web:"):
            return None
        host = unquote(did.removeprefix("did:web:"))
        if self._loopback and _LOOPBACK_HOST.fullmatch(host):
            return _Place(f"http://{host}/.well-known/did.json", is_public_or_loopback)
        # No path and no port.
        if len(host) > _MAX_HOST or not _HOST.fullmatch(host):
            return None
        allowed = is_public_or_loopback if self._loopback else is_public
        return _Place(f"https://{host}/.well-known/did.json", allowed)


def _is_fresh(known: identity.Remembered, now: int) -> bool:
    # A time that lies ahead is of a clock that was set back since.
    return 0 <= now - known.fetched_at < (_RETRY if known.document is None else _FRESH)


def _usable(known: identity.Remembered, now: int) -> str | None:
    """The document of *known*, unless it is too old to be used while its server is away."""
    return known.document if abs(now - known.fetched_at) < _STALE else None


def key_in(document: dict[str, Any], fragment: str) -> Key | None:
    """The key that *document* has under the name *fragment*; None without a usable one."""
    methods = document.get("verificationMethod")
    for method in methods if isinstance(methods, list) else ():
        if isinstance(method, dict) and method.get("id") in (
            f"#{fragment}",
            f"{document.get('id')}#{fragment}",
        ):
            try:
                return verification_key(method)
            except ValueError:
                return None
    return None


class _Throttle:
    """A token bucket per name: *times* at once, then one per *span* (microseconds)."""

    def __init__(self, span: int, times: int = 1) -> None:
        self._span = span
        self._tolerance = span * (times - 1)
        self._full_at: dict[str, int] = {}  # when each bucket that is not full will be
        self._sweep_at = _SWEEP
        self._lock = threading.Lock()

    def is_used_up(self, name: str, now: int) -> bool:
        return self._left(name, now) > self._tolerance

    def take(self, name: str, now: int) -> bool:
        """Take one of *name*; False if it is used up."""
        with self._lock:
            left = self._left(name, now)
            if left > self._tolerance:
                return False
            self._full_at[name] = now + left + self._span
            if len(self._full_at) > self._sweep_at:
                self._full_at = {other: at for other, at in self._full_at.items() if at > now}
                self._sweep_at = max(_SWEEP, 2 * len(self._full_at))
        return True

    def _left(self, name: str, now: int) -> int:
        """Until the bucket of *name* is full."""
        left = self._full_at.get(name, now) - now
        # Of a clock that was set back since, it says nothing.
        return left if 0 < left <= self._tolerance + self._span else 0
