"""One PDS, asked over HTTP: its accounts, a repository, a blob."""

import http.client
import json
import logging
import math
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from aurora_blobs.auth.answers import Answer, Headers
from aurora_blobs.auth.connections import Connections
from aurora_blobs.auth.fetch import SHARED_RESOLVER, FetchFailed, opened_body
from aurora_blobs.auth.resolver import Resolver
from aurora_blobs.config_values import is_loopback
from aurora_blobs.mirror.frames import parse_status
from aurora_blobs.mirror.pauses import HOST, pause_seconds
from aurora_blobs.protocol.cid import parse_blob_cid
from aurora_blobs.protocol.syntax import parse_did, parse_tid

log = logging.getLogger("aurora_blobs")

BLOBS_PAGE = 1000  # the most that the lexicon allows
PAGE = 500  # accounts; a listing of them has some 150 bytes for each
_MAX_ANSWER = 2**20  # bytes of JSON
_SILENCE_SECONDS = 15.0  # a guess: an S3 store behind the PDS answers in a second
_SOON = 2**20  # bytes of a body that are no wait; a guess, a photo has fewer
_REDIRECTS = 3
_PASSWORD_PAUSE = 3600.0  # seconds after which a password that was refused is tried again
_MAX_PAUSE = 3600  # seconds; a PDS that asks for more is asked again nevertheless


@dataclass(frozen=True, slots=True)
class Listed:
    """An account as its PDS lists it. `rev` is None where it states none that is one."""

    did: str
    rev: str | None
    status: str | None


class Refused(Exception):
    """The PDS answered, and not with what it was asked for.

    *name* is that of its error. *retry_seconds* is what it asks for, None if nothing.
    """

    def __init__(self, status: int, name: str, retry_seconds: int | None) -> None:
        super().__init__(f"status {status}{f' {name}' if name else ''}")
        self.status = status
        self.name = name
        self.retry_seconds = retry_seconds

    @property
    def is_about_us(self) -> bool:
        """Whether it says that the PDS, or our place with it, is not as it should be."""
        # Not 500: it is about what was asked for. A PDS on S3 answers it for a temporary blob.
        return self.status in (429, 502, 503, 504)


class Upstream:
    """The PDS at *url*; *allowed* says of an address whether it may be there, None allows any.

    `names` are the hosts that a DID document may call it. When `is_stopped`, no body comes any
    more.
    """

    def __init__(
        self,
        url: str,
        *,
        allowed: Callable[[str], bool] | None = None,
        resolver: Resolver = SHARED_RESOLVER,
        connections: Connections | None = None,
        admin_password: str | None = None,
    ) -> None:
        """*connections* are kept for others as well; None: for this PDS alone.

        With *admin_password*, that of the PDS, `takes_down` is answered.
        """
        self.url = url
        self._allowed = allowed
        self._resolver = resolver
        self._connections = connections or Connections()
        self._admin_password = admin_password
        self._password_rests_until = 0.0
        host = urlsplit(url).hostname or ""
        self.names = frozenset({host})
        self.is_stopped: Callable[[], bool] = lambda: False
        self._rests_until = 0.0
        self._failures = 0
        self._is_ours = url.startswith("http://") or is_loopback(host)

    @property
    def is_resting(self) -> bool:
        """Whether the PDS is better left alone for now."""
        return time.monotonic() < self._rests_until

    @property
    def resting_seconds(self) -> int:
        """The seconds for which it is to be left alone yet, one at least."""
        return max(1, math.ceil(self._rests_until - time.monotonic()))

    def rest(self, seconds: int | None = None) -> None:
        """Leave the PDS alone for *seconds*; None: ever longer while it goes on failing."""
        if not self.is_resting:
            pause = pause_seconds(HOST, self._failures) if seconds is None else seconds
            self._rests_until = time.monotonic() + pause
            self._failures += 1

    def learn_name(self) -> None:
        """Ask a PDS that is on the operator's own network under which name the world knows it.

        Of another one, the name in its URL is all that counts: it might claim any. Raises
        FetchFailed, Refused.
        """
        if self._is_ours:
            did = self._json("com.atproto.server.describeServer").get("did")
            if isinstance(did, str) and did.startswith("did:web:"):
                self.names |= {unquote(did.removeprefix("did:web:"))}

    def accounts(self, cursor: str) -> tuple[list[Listed], str]:
        """A page of all accounts after *cursor*, and the cursor of the next one; '' at the end.

        Raises FetchFailed, Refused.
        """
        given = {"limit": PAGE, "cursor": cursor} if cursor else {"limit": PAGE}
        answer = self._json("com.atproto.sync.listRepos", **given)
        found, after = answer.get("repos"), answer.get("cursor")
        if not isinstance(found, list):
            raise FetchFailed(f"{self.url}: listRepos lists nothing")
        listed = [account for account in map(_listed, found) if account is not None]
        return listed, after if isinstance(after, str) and found else ""

    def status(self, did: str) -> str | None:
        """Why *did* is not active; None if it is. Raises FetchFailed, Refused."""
        return self.state(did)[0]

    def state(self, did: str) -> tuple[str | None, str | None]:
        """The `status` of *did*, and its revision, None where it has none to show.

        Raises FetchFailed, Refused.
        """
        answer = self._json("com.atproto.sync.getRepoStatus", did=did)
        try:
            return parse_status(answer), _rev_in(answer)
        except ValueError as error:
            raise FetchFailed(f"{self.url}: getRepoStatus: {error}") from None

    def blobs(self, did: str, cursor: str, since: str) -> tuple[list[str], str]:
        """A page of the blobs after *cursor* that records of *did* newer than *since* name.

        And the cursor of the next page; '' at the end. Raises FetchFailed, Refused.
        """
        given: dict[str, Any] = {
            "did": did,
            "limit": BLOBS_PAGE,
            "cursor": cursor,
            "since": since,
        }
        answer = self._json(
            "com.atproto.sync.listBlobs", **{name: value for name, value in given.items() if value}
        )
        found, after = answer.get("cids"), answer.get("cursor")
        if not isinstance(found, list):
            raise FetchFailed(f"{self.url}: listBlobs lists nothing")
        return list(_blob_cids(found)), after if isinstance(after, str) and found else ""

    @contextmanager
    def repository(self, did: str, max_bytes: int) -> Iterator["Body"]:
        """The CAR file of *did*. Raises FetchFailed, Refused."""
        with self._answer("com.atproto.sync.getRepo", max_bytes, did=did) as answer:
            yield answer

    @contextmanager
    def blob(self, did: str, cid: str, max_bytes: int) -> Iterator["Body"]:
        """The bytes of a blob, which nobody has checked. Raises FetchFailed, Refused."""
        with self._answer("com.atproto.sync.getBlob", max_bytes, did=did, cid=cid) as answer:
            yield answer

    def takes_down(self, did: str, cid: str) -> bool | None:
        """Whether the PDS has taken the blob down; None where it does not tell us.

        Raises FetchFailed, Refused where that is about us.
        """
        if self._admin_password is None or time.monotonic() < self._password_rests_until:
            return None
        credentials = b64encode(f"admin:{self._admin_password}".encode()).decode()
        try:
            found = self._json(
                "com.atproto.admin.getSubjectStatus",
                {"Authorization": f"Basic {credentials}"},
                did=did,
                blob=cid,
            ).get("takedown")
        except Refused as error:
            if error.is_about_us:
                raise
            if error.status in (401, 403):
                self._password_rests_until = time.monotonic() + _PASSWORD_PAUSE
                log.warning("%s does not take AURORA_BLOBS_FOLLOW_ADMIN_PASSWORD", self.url)
            return None
        applied = found.get("applied") if isinstance(found, dict) else None
        return applied if isinstance(applied, bool) else None

    def _json(
        self, method: str, headers: Mapping[str, str] | None = None, **given: Any
    ) -> dict[str, Any]:
        with self._answer(method, _MAX_ANSWER, headers, **given) as answer:
            found = _parsed(answer)
        if found is None:
            raise FetchFailed(f"{self.url}: {method} is not answered with a JSON object")
        return found

    @contextmanager
    def _answer(
        self,
        method: str,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        **given: Any,
    ) -> Iterator["Body"]:
        query = f"?{urlencode(given)}" if given else ""
        with opened_body(
            f"{self.url}/xrpc/{method}{query}",
            max_bytes=max_bytes,
            allowed=self._allowed,
            silence_seconds=_SILENCE_SECONDS,
            # What is said in headers is for this PDS alone.
            redirects=0 if headers else _REDIRECTS,
            resolver=self._resolver,
            connections=self._connections,
            headers=headers,
        ) as answer:
            if answer.status != 200:
                raise _refusal(answer)
            self._failures = 0
            yield Body(answer, self.is_stopped)


class Body:
    """The body of an answer, of `length` bytes if it says so, until *is_stopped*.

    `comes_for_long` is called once, when more than `_SOON` bytes have come.
    """

    def __init__(self, answer: Answer, is_stopped: Callable[[], bool]) -> None:
        self.headers = answer.headers
        self.length = answer.length
        self.comes_for_long: Callable[[], None] = lambda: None
        self._soon = _SOON
        self._answer = answer
        self._is_stopped = is_stopped

    def read(self, size: int, /) -> bytes:
        if self._is_stopped():
            raise OSError("the follower is stopped")
        data = self._answer.read(size)
        if self._soon >= 0:
            self._soon -= len(data)
            if self._soon < 0:
                self.comes_for_long()
        return data


def _listed(found: Any) -> Listed | None:
    try:
        did = parse_did(found["did"])
        status = parse_status({"active": True, **found})  # `active` came later than the method
    except (KeyError, TypeError, ValueError):
        return None
    return Listed(did, _rev_in(found), status)


def _rev_in(found: dict[str, Any]) -> str | None:
    try:
        return parse_tid(found["rev"])
    except (KeyError, TypeError, ValueError):
        return None


def _blob_cids(found: list[Any]) -> Iterator[str]:
    for cid in found:
        if isinstance(cid, str):
            with suppress(ValueError):
                yield parse_blob_cid(cid)


def _refusal(answer: Answer) -> Refused:
    named = (_parsed(answer) or {}).get("error")
    name = named if isinstance(named, str) and named.isalnum() and len(named) < 64 else ""
    return Refused(answer.status, name, _pause(answer.headers))


def _pause(headers: Headers) -> int | None:
    """The seconds after which the PDS wants to be asked again; None if it does not say."""
    after, reset = (headers.get(name) for name in ("Retry-After", "RateLimit-Reset"))
    if after.isdecimal() and len(after) < 6:
        return min(int(after), _MAX_PAUSE)
    # The reference PDS says at what time, in seconds since the epoch.
    if reset.isdecimal() and len(reset) < 12:
        return max(1, min(int(reset) - int(time.time()), _MAX_PAUSE))
    return None


def _parsed(answer: Answer | Body) -> dict[str, Any] | None:
    try:
        found = json.loads(answer.read(_MAX_ANSWER))
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
