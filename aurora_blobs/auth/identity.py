"""From a DID to its document and keys: resolved by the rules of its method, remembered in the database."""

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any
from urllib.parse import quote, unquote

from aurora_blobs.auth.fetch import FetchFailed, fetch, is_public, is_public_or_loopback
from aurora_blobs.auth.jwts import Key
from aurora_blobs.auth.keys import verification_key
from aurora_blobs.catalog import accounts, expiry, identity
from aurora_blobs.config import Config
from aurora_blobs.db import Database
from aurora_blobs.errors import AuthenticationRequired, ServiceBusy
from aurora_blobs.protocol.did_document import account_document

_SECOND = 1_000_000  # in microseconds
_FRESH = 3600 * _SECOND  # as the reference PDS: an hour without asking,
_STALE = 24 * 3600 * _SECOND  # a day if the answer fails to come
_FAILED = 60 * _SECOND  # how long a DID that could not be resolved is not tried again
# Between two refreshes that a bad signature asked for: anybody can send one. A few may come in a row, so that one
# stranger's does not keep out the owner of a new key.
_FORCED, _FORCED_IN_A_ROW = 10 * _SECOND, 6
_AT_ONCE = 4  # requests of a process under way; each holds a thread that could serve
_PLC = re.compile(r"did:plc:[a-z2-7]{24}")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LOOPBACK_HOST = re.compile(r"(?:localhost|127\.0\.0\.1)(?::[0-9]{1,5})?")

Fetch = Callable[..., bytes]


class Identities:
    """Resolves DIDs; *fetch_url* is `fetch`, or what a test puts in its place."""

    def __init__(
        self, config: Config, database: Database, clock: Callable[[], int], fetch_url: Fetch = fetch
    ) -> None:
        self._plc_url = config.plc_url.rstrip("/")
        self._loopback = config.allow_loopback_identity
        self._database = database
        self._clock = clock
        self._fetch = fetch_url
        self._lock = threading.Lock()
        self._flights: dict[str, Future[str | None]] = {}
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        self._forced = _Recently(_FORCED, _FORCED_IN_A_ROW)
        self._failed = _Recently(_FAILED)

    def key(self, did: str, fragment: str, *, refresh: bool = False) -> Key:
        """The key that signs for *did* as *fragment*, like ``atproto``.

        *refresh* asks again although the answer is known, now and then. Raises AuthenticationRequired, ServiceBusy.
        """
        document = self.document(did, refresh=refresh)
        if document is None:
            raise AuthenticationRequired("could not resolve iss did")
        methods = document.get("verificationMethod")
        for method in methods if isinstance(methods, list) else ():
            if isinstance(method, dict) and method.get("id") in (
                f"#{fragment}",
                f"{did}#{fragment}",
            ):
                try:
                    return verification_key(method)
                except ValueError:
                    break
        raise AuthenticationRequired("missing or bad key in did doc")

    def document(self, did: str, *, refresh: bool = False) -> dict[str, Any] | None:
        """The DID document of *did*, None if it cannot be had. Raises ServiceBusy."""
        text = self._text(did, refresh)
        return None if text is None else json.loads(text)

    def _text(self, did: str, refresh: bool) -> str | None:
        with self._database.read() as tx:
            known = identity.find(tx, did)
        now = self._clock()
        if known is not None and not (refresh and self._forced.first(did, now)):
            age = now - known.fetched_at
            if age < (_FAILED if known.document is None else _FRESH):
                return known.document
            if age < _STALE and self._failed.is_recent(did, now):
                return known.document
        fetched = self._fetched_once(did)
        if fetched is not None:
            return fetched
        self._failed.first(did, now)
        return known.document if known is not None and now - known.fetched_at < _STALE else None

    def _fetched_once(self, did: str) -> str | None:
        """What the network says of *did*; who asks while the answer is on its way gets the same one."""
        with self._lock:
            flight = self._flights.get(did)
            leading = flight is None
            if flight is None:
                flight = self._flights[did] = Future()
        if leading:
            try:
                flight.set_result(self._fetched(did))
            except BaseException as error:
                flight.set_exception(error)
            finally:
                with self._lock:
                    del self._flights[did]
        return flight.result()

    def _fetched(self, did: str) -> str | None:
        if not self._free.acquire(timeout=1):
            raise ServiceBusy("Too many identities are being resolved, please try again.")
        try:
            text = self._resolved(did)
        except (FetchFailed, ValueError, RecursionError):
            text = None
        finally:
            self._free.release()
        now = self._clock()
        with self._database.write() as tx:
            identity.forget_before(tx, now - _STALE, expiry.HANDFUL)
            if text is None:
                identity.remember_failure(tx, did, now - _STALE, now)
            else:
                identity.remember(tx, did, text, now)
        return text

    def _resolved(self, did: str) -> str:
        with self._database.read() as tx:
            account = accounts.find(tx, did)
        if (
            account is not None
            and account.handle is not None
            and did == f"did:web:{account.handle}"
        ):
            # The host is ours: to ask it would be to ask ourselves.
            return json.dumps(account_document(did, account.handle, f"https://{account.handle}"))
        if did.startswith("did:plc:"):
            body = self._plc(did)
        elif did.startswith("did:web:"):
            body = self._web(did)
        else:
            raise ValueError("unknown DID method")
        document = json.loads(body)
        if not isinstance(document, dict) or document.get("id") != did:
            raise ValueError("not the document of this DID")
        return json.dumps(document)

    def _plc(self, did: str) -> bytes:
        if not _PLC.fullmatch(did):
            raise ValueError("not a did:plc")
        # The directory is the operator's choice, so it may be anywhere, this machine included.
        return self._fetch(f"{self._plc_url}/{quote(did, safe=':')}", allowed=None)

    def _web(self, did: str) -> bytes:
        host = unquote(did.removeprefix("did:web:"))
        if self._loopback and _LOOPBACK_HOST.fullmatch(host):
            return self._fetch(f"http://{host}/.well-known/did.json", allowed=is_public_or_loopback)
        # No path and no port: https://atproto.com/specs/did
        if not _HOST.fullmatch(host) or len(host) > 253:
            raise ValueError("not a did:web of this protocol")
        allowed = is_public_or_loopback if self._loopback else is_public
        return self._fetch(f"https://{host}/.well-known/did.json", allowed=allowed)


class _Recently:
    """What happened too lately to happen again, by name: *times* in a row, then once in each *span* (microseconds)."""

    def __init__(self, span: int, times: int = 1) -> None:
        self._span = span
        self._borne = span * (times - 1)
        self._paid_at: dict[str, int] = {}
        self._lock = threading.Lock()

    def is_recent(self, name: str, now: int) -> bool:
        return self._paid_at.get(name, now) - now > self._borne

    def first(self, name: str, now: int) -> bool:
        """Whether it may happen; then it has, and counts for one *span*."""
        with self._lock:
            if self.is_recent(name, now):
                return False
            paid_at = max(self._paid_at.get(name, now), now) + self._span
            self._paid_at = {other: at for other, at in self._paid_at.items() if at > now} | {
                name: paid_at
            }
        return True
