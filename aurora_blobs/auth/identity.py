"""DID resolution: documents and keys, fetched as the DID's method says, cached in the database."""

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
# As on the reference PDS: a document is used for an hour without asking, for a day if asking fails.
_FRESH = 3600 * _SECOND
_STALE = 24 * 3600 * _SECOND
_RETRY = 60 * _SECOND  # between two attempts to resolve a DID that could not be resolved
# Between two refreshes after a bad signature, which anybody can send. Six may come at once, so that
# a stranger's does not keep out the owner of a new key.
_REFRESH, _REFRESHES_AT_ONCE = 10 * _SECOND, 6
_FETCHES_AT_ONCE = 4  # of a process; each holds a thread that could serve
_PLC = re.compile(r"did:plc:[a-z2-7]{24}")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LOOPBACK_HOST = re.compile(r"(?:localhost|127\.0\.0\.1)(?::[0-9]{1,5})?")

Fetch = Callable[..., bytes]


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
        self._lock = threading.Lock()
        self._fetches: dict[str, Future[str | None]] = {}
        self._free_fetches = threading.BoundedSemaphore(_FETCHES_AT_ONCE)
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
        """The DID document of *did*; None if it cannot be resolved. Raises ServiceBusy."""
        text = self._text(did, refresh)
        return None if text is None else json.loads(text)

    def _text(self, did: str, refresh: bool) -> str | None:
        with self._database.read() as tx:
            known = identity.find(tx, did)
        now = self._clock()
        if known is not None and known.fetched_at > now:
            known = None  # by a clock that was ahead: its age cannot be told
        if known is not None and not (refresh and self._refreshes.take(did, now)):
            age = now - known.fetched_at
            if age < (_RETRY if known.document is None else _FRESH):
                return known.document
            if age < _STALE and self._failures.is_used_up(did, now):
                return known.document
        fetched = self._fetched_once(did)
        if fetched is not None:
            return fetched
        self._failures.take(did, now)
        return known.document if known is not None and now - known.fetched_at < _STALE else None

    def _fetched_once(self, did: str) -> str | None:
        """The document of *did* from the network. Calls at the same time share one fetch."""
        with self._lock:
            fetch_under_way = self._fetches.get(did)
            fetched = fetch_under_way or self._fetches.setdefault(did, Future())
        if fetch_under_way is None:
            try:
                fetched.set_result(self._fetched(did))
            except BaseException as error:
                fetched.set_exception(error)
            finally:
                with self._lock:
                    del self._fetches[did]
        return fetched.result()

    def _fetched(self, did: str) -> str | None:
        if not self._free_fetches.acquire(timeout=1):
            raise ServiceBusy("Too many identities are being resolved, please try again.")
        try:
            text = self._resolved(did)
        except (FetchFailed, ValueError, RecursionError):
            text = None
        finally:
            self._free_fetches.release()
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
            # Its host is ours: a request would come back to us.
            endpoint = self._public_url or f"https://{account.handle}"
            return json.dumps(account_document(did, account.handle, endpoint))
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
        # The operator chose the directory. It may be anywhere, on this machine too.
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


class _Throttle:
    """A token bucket per name: *times* at once, then one per *span* (microseconds)."""

    def __init__(self, span: int, times: int = 1) -> None:
        self._span = span
        self._tolerance = span * (times - 1)
        self._full_at: dict[str, int] = {}  # when each bucket that is not full will be
        self._lock = threading.Lock()

    def is_used_up(self, name: str, now: int) -> bool:
        return self._full_at.get(name, now) - now > self._tolerance

    def take(self, name: str, now: int) -> bool:
        """Take one of *name*; False if it is used up."""
        with self._lock:
            if self.is_used_up(name, now):
                return False
            self._full_at = {other: at for other, at in self._full_at.items() if at > now}
            self._full_at[name] = self._full_at.get(name, now) + self._span
        return True
