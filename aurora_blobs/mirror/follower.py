"""Follows a PDS, its stream, its accounts, its repositories and its blobs, until it is stopped."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from pathlib import Path

from aurora_blobs.auth.fetch import FetchFailed
from aurora_blobs.auth.identity import Identities
from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.catalog import refusals
from aurora_blobs.catalog import upstream as catalog
from aurora_blobs.config import Config
from aurora_blobs.db import Database
from aurora_blobs.errors import BlobServiceError, InsufficientStorage, LeaseLost, ServiceBusy
from aurora_blobs.intake.stale_files import exclusive
from aurora_blobs.leases import Leases
from aurora_blobs.mirror.authority import Authority, Doubted
from aurora_blobs.mirror.catch_up import CatchUp
from aurora_blobs.mirror.commits import BadCommit
from aurora_blobs.mirror.fetcher import FETCHES_AT_ONCE, THREADS, Fetcher
from aurora_blobs.mirror.frames import (
    BadFrame,
    Commit,
    Event,
    Identity,
    Status,
    Sync,
    Unusable,
    parse_frame,
)
from aurora_blobs.mirror.listing import Listing
from aurora_blobs.mirror.recheck import Recheck, round_key
from aurora_blobs.mirror.stream import StreamBroken, frames
from aurora_blobs.mirror.upstream import Refused, Upstream
from aurora_blobs.mirror.writer import Position, Writer, host_key
from aurora_blobs.records.changes import RecordLimits
from aurora_blobs.records.repo_import import RepoImporter

log = logging.getLogger("aurora_blobs")

_CATCH_UPS_AT_ONCE = 4  # of one PDS
_NOTE_SECONDS = 10.0  # between two notes that the stream works, while nothing comes
_LAZY_SECONDS = 1.0  # after which an event that changed nothing is noted
# A stream that breaks so often at one place has something there that cannot be read.
_MAX_BREAKS = 3
_TURN_SECONDS = 5.0  # between two looks whether a PDS is still followed by another process
_KEEP_SECONDS = 1.0
_RECONNECT = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds, ever longer
# Of the stream itself: the cursor is of no use, so the stream begins anew.
_CURSOR_IS_USELESS = ("OutdatedCursor", "FutureCursor")


class Follower:
    """Follows the PDS at *url*. *places* bounds what is fetched from all PDSes at once."""

    def __init__(
        self,
        url: str,
        *,
        config: Config,
        database: Database,
        blobs: BlobManager,
        identities: Identities,
        leases: Leases,
        clock: Callable[[], int],
        places: threading.BoundedSemaphore,
    ) -> None:
        self._url = url
        self._config = config
        self._database = database
        self._clock = clock
        self._upstream = Upstream(url, admin_password=config.follow_admin_password)
        authority = Authority(self._upstream, identities)
        limits = RecordLimits.of(config)
        self._writer = Writer(url, authority, database, clock, limits)
        self._fetcher = Fetcher(
            self._upstream,
            blobs,
            database,
            clock=clock,
            max_bytes=config.max_blob_size,
            places=places,
        )
        self._catch_up = CatchUp(
            self._upstream,
            self._writer,
            authority,
            RepoImporter(
                database,
                spool=config.data_folder.spool,
                max_bytes=config.max_import_size,
                clock=clock,
                limits=limits,
                at_once=_CATCH_UPS_AT_ONCE,
                leases=leases,
            ),
            database,
            clock=clock,
            max_bytes=config.max_import_size,
            wake=self._fetcher.wake,
        )
        self._listing = Listing(
            self._upstream, self._writer, database, clock=clock, wake=self._catch_up.wake
        )
        self._recheck = Recheck(
            self._upstream, database, clock=clock, max_bytes=config.max_blob_size
        )
        self._is_open = threading.Event()
        self._has_name = threading.Event()  # of the PDS: else each account would have moved away
        self._lazy: Position | None = None
        self._noted_at = 0.0
        self._handled = 0

    def run(self, keep: Callable[[], None], stop: threading.Event) -> None:
        """Follow until *stop*, or until *keep*, which is called each second, raises LeaseLost."""
        over = threading.Event()
        self._upstream.is_stopped = over.is_set
        with self._database.write(keys=(host_key(self._url), round_key(self._url))) as tx:
            catalog.add_host(tx, self._url)
            if refusals.find_round(tx, self._url) is None:
                refusals.begin_round(tx, self._url, self._clock())
        run_together(
            [
                partial(_keep, keep, stop),
                self._end,
                self._stream,
                partial(self._listing.run, self._is_open),
                self._recheck.run,
                self._fetcher.feed,
                *[partial(_after, self._has_name, self._catch_up.run)] * _CATCH_UPS_AT_ONCE,
                *[self._fetcher.run] * THREADS,
            ],
            over,
        )

    def _end(self, over: threading.Event) -> None:
        """Let nobody wait when it is *over*."""
        over.wait()
        self._fetcher.wake()
        self._catch_up.wake()

    def _stream(self, stop: threading.Event) -> None:
        failures = breaks = 0
        while not stop.is_set():
            self._handled = 0
            was_open = False
            try:
                self._follow(stop)
                failures = breaks = 0
                continue
            except (StreamBroken, FetchFailed, Refused) as error:
                log.warning("the stream of %s has ended: %s", self._url, error)
            except BadFrame as error:
                log.error("%s sends what cannot be read: %s", self._url, error)
            except BlobServiceError as error:
                log.warning("%s cannot be followed now: %s", self._url, error.message)
            finally:
                was_open = self._is_open.is_set()
                self._is_open.clear()
            breaks = breaks + 1 if was_open and not self._handled else 0
            failures = 0 if self._handled else failures + 1
            if breaks == _MAX_BREAKS:
                breaks = 0
                log.error("the stream of %s breaks at one place, which is left out", self._url)
                self._begin_anew()
            stop.wait(_RECONNECT[min(failures, len(_RECONNECT) - 1)])

    def _follow(self, stop: threading.Event) -> None:
        """Handle what comes until the stream ends."""
        self._lazy = None
        self._upstream.learn_name()
        self._has_name.set()
        host = catalog.find_host(self._database.one_shot(), self._url)
        cursor = None if host is None else host.cursor
        if cursor is None:
            self._begin_anew()
        for data in frames(self._url, cursor, stop):
            self._is_open.set()
            if data is None:
                self._note()
                continue
            frame = parse_frame(data)
            if isinstance(frame, Event):
                self._handle(frame)
                self._handled += 1
            elif cursor is not None and frame.name in _CURSOR_IS_USELESS:
                log.warning("%s: %s, so its accounts are listed anew", self._url, frame.name)
                self._begin_anew()
                return
            elif frame.is_error:
                raise StreamBroken(f"{frame.name} {frame.message}")
            else:
                log.info("%s says %s %s", self._url, frame.name, frame.message)
        self._note(now=True)

    def _begin_anew(self) -> None:
        with self._database.write(keys=(host_key(self._url),)) as tx:
            catalog.forget_cursor(tx, self._url)

    def _handle(self, event: Event) -> None:
        at = self._lazy = Position.of(event)
        try:
            if event.did is None or self._catch_up.hold(event):
                pass
            elif isinstance(event, Commit):
                if self._writer.commit(event, at):
                    self._fetcher.wake()
            elif isinstance(event, Sync):
                self._writer.sync(event, at)
            elif isinstance(event, Status):
                self._writer.status(event, at)
                self._fetcher.wake()
            elif isinstance(event, Identity):
                self._catch_up.begin(event, at, repository=False, anew=False)
            elif isinstance(event, Unusable):
                raise BadCommit(event.reason)
        except Doubted as doubt:
            log.info("%s", doubt)
            self._catch_up.begin(event, at, repository=isinstance(event, Status), anew=True)
        except BadCommit as error:
            log.info("%s has to be fetched whole: %s", event.did, error)
            self._catch_up.begin(event, at, repository=True, anew=False)
        except InsufficientStorage as error:  # what comes next may hide something
            log.warning("%s cannot be followed now: %s", event.did, error.message)
            self._catch_up.begin(event, at, repository=True, anew=False)
        self._note()

    def _note(self, *, now: bool = False) -> None:
        """Note where the stream is, for events that changed nothing, and that it works.

        Not each time. What changes something has noted it already.
        """
        elapsed = time.monotonic() - self._noted_at
        if self._lazy is not None and (now or elapsed > _LAZY_SECONDS):
            self._writer.note(self._lazy)
            self._lazy = None
        elif elapsed > _NOTE_SECONDS:
            with self._database.write(keys=(host_key(self._url),)) as tx:
                catalog.set_seen(tx, self._url, self._clock())
        else:
            return
        self._noted_at = time.monotonic()


def follow(
    config: Config,
    blobs: Callable[[Database], BlobManager],
    identities: Identities,
    leases: Leases,
    clock: Callable[[], int],
    stop: threading.Event,
) -> None:
    """Follow all PDSes of the settings until *stop*. Raises what none of them can go on with.

    *blobs* gives those of a database.
    """
    places = threading.BoundedSemaphore(FETCHES_AT_ONCE)

    def open_follower(url: str, database: Database) -> Follower:
        return Follower(
            url,
            config=config,
            database=database,
            blobs=blobs(database),
            identities=identities,
            leases=leases,
            clock=clock,
            places=places,
        )

    run_together(
        [
            partial(_in_turn, url, config.data_folder.spool, leases, partial(open_follower, url))
            for url in config.follow
        ],
        stop,
    )


def _in_turn(
    url: str,
    spool: Path,
    leases: Leases,
    open_follower: Callable[[Database], Follower],
    stop: threading.Event,
) -> None:
    """Follow *url* until *stop*, while no other process does, here or on another node.

    A follower writes to a database that lets nobody write who has lost the lease.
    """
    name = sha256(url.encode()).hexdigest()
    turn = leases.holder("follow")
    is_told = False
    while not stop.is_set():
        try:
            with ExitStack() as held:
                if held.enter_context(exclusive(spool, f"follow.{name}")) and held.enter_context(
                    turn.having(name)
                ):
                    is_told = False
                    open_follower(turn.guarded(name)).run(turn.keep, stop)
                    continue
            if not is_told:
                log.info("%s is followed by another process", url)
            is_told = True
        except (ServiceBusy, InsufficientStorage) as error:
            log.warning("%s cannot be followed now: %s", url, error.message)
        stop.wait(_TURN_SECONDS)


def _keep(keep: Callable[[], None], stop: threading.Event, over: threading.Event) -> None:
    """Call *keep* each second until *stop*, which sets *over*, or until *over*."""
    while not over.is_set():
        if stop.wait(_KEEP_SECONDS):
            over.set()
            return
        try:
            keep()
        except LeaseLost:
            raise
        except (ServiceBusy, InsufficientStorage):
            pass  # the database is away: whether the lease is lost, it tells when it is back


def _after(
    begun: threading.Event, part: Callable[[threading.Event], None], stop: threading.Event
) -> None:
    """Run *part* from when *begun* is set, until *stop*."""
    while not stop.is_set():
        if begun.wait(_KEEP_SECONDS):
            part(stop)


def run_together(parts: list[Callable[[threading.Event], None]], stop: threading.Event) -> None:
    """Run each of *parts* in a thread, until *stop*; the first that raises stops the others."""
    with ThreadPoolExecutor(len(parts)) as pool:
        running = [pool.submit(part, stop) for part in parts]
        wait(running, return_when=FIRST_EXCEPTION)
        stop.set()
    for done in running:
        done.result()
