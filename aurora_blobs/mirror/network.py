"""Blobs of any account, fetched when somebody asks for them, if a public record names them.

`getBlob` of a PDS gives out more than what is public, so an account's list of blobs comes first.
"""

import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aurora_blobs.auth.connections import Connections
from aurora_blobs.auth.fetch import FetchFailed, is_public
from aurora_blobs.auth.flights import Flights
from aurora_blobs.auth.identity import Identities
from aurora_blobs.auth.resolver import Resolver
from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.catalog import blobs as blob_rows
from aurora_blobs.catalog import upstream as catalog
from aurora_blobs.catalog.blobs import UploadState
from aurora_blobs.config import Config
from aurora_blobs.config_values import Limit, parse_origin
from aurora_blobs.db import Database, account_key, row_key
from aurora_blobs.errors import (
    STORE_AWAY,
    BlobServiceError,
    InsufficientStorage,
    RateLimitExceeded,
    ServiceBusy,
    UpstreamAway,
)
from aurora_blobs.intake.stale_files import exclusive
from aurora_blobs.mirror.fetcher import AT_ONCE, FETCHES_AT_ONCE, fetch_blob
from aurora_blobs.mirror.listed import Listings, Unlisted
from aurora_blobs.mirror.pauses import NOT_HAD, pause_seconds
from aurora_blobs.mirror.room import Room
from aurora_blobs.mirror.upstream import Refused, Upstream
from aurora_blobs.protocol.cid import parse_blob_cid
from aurora_blobs.protocol.did_document import names_host, pds_endpoint
from aurora_blobs.rate_limits import check, count_use
from aurora_blobs.server.addresses import network_of
from aurora_blobs.server.shared_tally import SharedTally

log = logging.getLogger("aurora_blobs")

# Blobs that are asked for and not to be had, of one address. A guess: a page of a feed that is
# full of deleted pictures has some dozens.
MISSES = Limit(300, 300)
_MISSES = "misses"  # the name of their counters
# An account that was just listed is not asked for what is new: a page of pictures comes at once.
_LOOK_PAUSE = 2 * 1_000_000
_PLACE_SECONDS = 5.0  # that a fetch waits for a place
_PLACE_STEP = 0.02
# That a client waits for a fetch of another one, while half of the threads wait, and beyond that:
# then the others have to serve what is here. Guesses.
_LONGEST_SECONDS, _CROWD_SECONDS = 60.0, 10.0
_MAX_REASON = 300  # characters that are kept
_MAX_HOSTS = 1000  # of which is remembered that they want to be left alone


class Network:
    """Fetches for the clients of this process. *parts* are those of a `SharedTally`."""

    def __init__(
        self,
        config: Config,
        database: Database,
        blobs: BlobManager,
        identities: Identities,
        clock: Callable[[], int],
        *,
        room: Room,
        parts: int,
    ) -> None:
        self.room = room
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._spool: Path = config.data_folder.spool
        self._max_bytes = min(config.max_blob_size, room.largest or config.max_blob_size)
        self._listings = Listings(database, clock)
        self._sources = Sources(config, identities)
        self._places = Places(parts)
        self._flights: Flights[bool] = Flights(
            at_once=config.threads,
            waiting=max(1, config.threads // 2),
            refusal="The blob is still being fetched, please try again.",
            longest_seconds=_LONGEST_SECONDS,
            crowd_seconds=_CROWD_SECONDS,
        )
        self._looked_at: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def fetch(self, did: str, cid: str, address: str) -> bool:
        """Have the blob here for the client at *address*; False if it is not to be had.

        All who ask for it meanwhile wait for one fetch. Raises RateLimitExceeded where the client
        has asked for too much that is not to be had, UpstreamAway, ServiceBusy, and what storing
        raises.
        """
        if not _is_blob(cid) or self._is_refused(did, cid):
            return False
        subject = network_of(address)
        check(self._database.one_shot(), _MISSES, subject, MISSES, self._clock())
        is_here = self._flights.share(f"{did} {cid}", lambda: self._alone(did, cid))
        if not is_here:
            self._count_miss(subject)
        return is_here

    def _is_refused(self, did: str, cid: str) -> bool:
        """Whether it is known that the blob is not to be had, and not yet time to ask again."""
        with self._database.read() as tx:
            refused = catalog.find_refused(tx, did, cid)
            known = catalog.find(tx, did)
            state = blob_rows.find_upload_state(tx, did, cid)
        now = self._clock()
        if refused is not None and refused[0] > now:
            return True
        if state is not None and state.taken_down:
            return True
        return (
            known is not None
            and (known.rev is None or known.status is not None)
            and known.due_at is not None
            and known.due_at > now
        )

    def _count_miss(self, subject: str) -> None:
        keys = (row_key("usage_counter", _MISSES, subject),)
        # What cannot be counted is bounded by places.
        with (
            suppress(RateLimitExceeded, ServiceBusy, InsufficientStorage),
            self._database.write(keys=keys) as tx,
        ):
            count_use(tx, _MISSES, subject, MISSES, self._clock())

    def _alone(self, did: str, cid: str) -> bool:
        """`_fetch`, by one process of this machine at a time."""
        name = f"fetch.{sha256(f'{did} {cid}'.encode()).hexdigest()}"
        until = time.monotonic() + _LONGEST_SECONDS
        while time.monotonic() < until:
            with exclusive(self._spool, name) as is_ours:
                if is_ours:
                    return self._is_here(did, cid) or (
                        not self._is_refused(did, cid) and self._fetch(did, cid)
                    )
        raise ServiceBusy("The blob is still being fetched, please try again.")

    def _fetch(self, did: str, cid: str) -> bool:
        source = self._sources.find(did)
        if source is None:
            return False
        if source.is_resting:
            raise UpstreamAway(source.resting_seconds)
        with self._places.taken(source.url):
            try:
                return self._fetch_from(source, did, cid)
            except Unlisted as error:
                log.info("%s of %s is not fetched: %s", cid, did, error)
            except Refused as error:
                if error.is_about_us:
                    source.rest(error.retry_seconds)
                    raise UpstreamAway(source.resting_seconds) from None
                self._refuse(did, cid, source, str(error))
            except FetchFailed as error:
                source.rest()
                log.info("%s of %s is not fetched: %s", cid, did, error)
                raise UpstreamAway(source.resting_seconds) from None
            except (*STORE_AWAY, InsufficientStorage):
                raise
            except BlobServiceError as error:
                self._refuse(did, cid, source, error.message)
        return False

    def _fetch_from(self, source: Upstream, did: str, cid: str) -> bool:
        state = self._listed(source, did, cid)
        if state is None or not state.expected_by_record:
            self._refuse(did, cid, source, "no record names it")
            return False
        if state.taken_down:
            return False
        if state.entry is None or not state.stored:
            entry = fetch_blob(source, self._blobs.upload, did, cid, self._max_bytes)
            self.room.keep(entry)
            log.info("fetched %s of %s from %s", cid, did, source.url)
            with self._database.write(keys=(account_key(did),)) as tx:
                catalog.drop_wanted(tx, did, cid)
        return True

    def _listed(self, source: Upstream, did: str, cid: str) -> UploadState | None:
        """What is known of the blob, after its account was listed where that is due."""
        known = catalog.find(self._database.one_shot(), did)
        is_due = known is None or known.rev is None or (known.due_at or 0) <= self._clock()
        if is_due:
            self._listings.refresh(source, did)
        state = self._state(did, cid)
        if known is None or is_due or state is None or state.expected_by_record:
            return state
        if self._may_look(did):
            self._listings.add_new(source, known)
        return self._state(did, cid)

    def _state(self, did: str, cid: str) -> UploadState | None:
        return blob_rows.find_upload_state(self._database.one_shot(), did, cid)

    def _is_here(self, did: str, cid: str) -> bool:
        state = self._state(did, cid)
        return (
            state is not None
            and state.entry is not None
            and state.entry.unreferenced_since is None
            and state.stored
        )

    def _may_look(self, did: str) -> bool:
        now = self._clock()
        with self._lock:
            if 0 <= now - self._looked_at.get(did, -_LOOK_PAUSE) < _LOOK_PAUSE:
                return False
            self._looked_at[did] = now
            if len(self._looked_at) > _MAX_HOSTS:
                self._looked_at.popitem(last=False)
        return True

    def _refuse(self, did: str, cid: str, source: Upstream, reason: str) -> None:
        """Remember that the blob is not to be had, of an account that its PDS lists blobs of."""
        known = catalog.find(self._database.one_shot(), did)
        if known is None or known.rev is None:
            self._listings.failed(did, source.url, reason)
            return
        with self._database.write(keys=(account_key(did),)) as tx:
            refused = catalog.find_refused(tx, did, cid)
            pause = pause_seconds(NOT_HAD, 0 if refused is None else refused[1])
            due_at = self._clock() + pause * 1_000_000
            catalog.set_refused(tx, did, cid, due_at, reason[:_MAX_REASON])


class Sources:
    """The PDSes of accounts, if the settings allow them."""

    def __init__(self, config: Config, identities: Identities) -> None:
        self._allow = config.mirror_allow
        self._connections = Connections()
        self._ours = {
            url: Upstream(
                url,
                connections=self._connections,
                admin_password=config.follow_admin_password,
            )
            for url in config.follow
        }
        self._named: set[str] = set()  # of ours, those whose names are known
        self._identities = identities
        # Of its own: a name whose look-up hangs holds up no other part. A look-up may outlive its
        # fetch.
        self._resolver = Resolver(2 * FETCHES_AT_ONCE)
        self._known: OrderedDict[str, Upstream] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, did: str) -> Upstream | None:
        """The PDS that the identity of *did* names; None if it names none that may be asked.

        Raises ServiceBusy.
        """
        if not self._may_be(did):
            return None
        document = self._identities.document(did)
        endpoint = None if document is None else pds_endpoint(document)
        try:
            url = parse_origin(endpoint or "")
        except ValueError:
            return None
        if not self._is_allowed(did, url):
            return None
        return self._ours.get(url) or self._ours_by_name(document or {}) or self.at(url)

    def bars(self, did: str, host: str) -> bool:
        """Whether the settings do not allow *did*, which is here and whose PDS is *host*."""
        source = self._ours.get(host)
        if self._is_allowed(did, host) or (source is not None and not self._has_named(source)):
            return False
        return source is None or not source.names & {*self._allow}

    def at(self, url: str) -> Upstream | None:
        """The PDS at *url*; None if it may not be asked."""
        source = self._ours.get(url)
        if source is not None:
            return source
        return self._other(url) if url.startswith("https://") else None

    def _ours_by_name(self, document: dict[str, Any]) -> Upstream | None:
        """The PDS of the settings that *document* calls by its public name."""
        for source in self._ours.values():
            self._has_named(source)
            if any(names_host(document, name) for name in source.names):
                return source
        return None

    def _has_named(self, source: Upstream) -> bool:
        """Whether *source*, one of ours, has said by which name the world knows it."""
        if source.url not in self._named and not source.is_resting:
            try:
                source.learn_name()
                self._named.add(source.url)
            except (FetchFailed, Refused) as error:
                log.warning("%s does not say its name: %s", source.url, error)
                source.rest()
        return source.url in self._named

    def _other(self, url: str) -> Upstream:
        with self._lock:
            source = self._known.pop(url, None)
            if source is None:
                source = Upstream(
                    url,
                    allowed=is_public,
                    resolver=self._resolver,
                    connections=self._connections,
                )
            self._known[url] = source
            if len(self._known) > _MAX_HOSTS:
                self._known.popitem(last=False)
        return source

    def _may_be(self, did: str) -> bool:
        """Whether *did* may be allowed, before anybody is asked for its PDS."""
        return (
            not self._allow
            or did in self._allow
            or any(not allowed.startswith("did:") for allowed in self._allow)
        )

    def _is_allowed(self, did: str, url: str) -> bool:
        parts = urlsplit(url)
        return not self._allow or bool({did, parts.hostname, parts.netloc} & {*self._allow})


class Places:
    """Places to ask for something: few at once of one PDS, and in all, over all processes."""

    def __init__(self, parts: int) -> None:
        self._tally = SharedTally(places=FETCHES_AT_ONCE, parts=parts)

    @contextmanager
    def taken(self, host: str) -> Iterator[None]:
        """Have a place at *host* until the block ends. Raises ServiceBusy."""
        until = time.monotonic() + _PLACE_SECONDS
        while (place := self._take(host)) is None:
            if time.monotonic() > until:
                raise ServiceBusy("Too many blobs are being fetched, please try again.")
            # Not evenly: two that stand in each other's way would do so again.
            time.sleep(random.uniform(0.5, 1.5) * _PLACE_STEP)
        try:
            yield
        finally:
            self._tally.remove(place)

    def _take(self, host: str) -> int | None:
        place = self._tally.add(host)
        if place is not None and (
            self._tally.total(host) > AT_ONCE or self._tally.sum() > FETCHES_AT_ONCE
        ):
            self._tally.remove(place)
            return None
        return place


def _is_blob(cid: str) -> bool:
    try:
        parse_blob_cid(cid)
    except ValueError:
        return False
    return True
