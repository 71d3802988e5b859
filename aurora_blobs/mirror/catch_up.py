"""Accounts that have to catch up: an identity is to be asked for, or a repository to be fetched.

What may take long happens here, in threads of its own, so that the stream is read meanwhile. Events
of such an account are held until it has caught up, and then handled in their order.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from aurora_blobs.auth.fetch import FetchFailed
from aurora_blobs.catalog import upstream as catalog
from aurora_blobs.catalog.upstream import MISSING
from aurora_blobs.db import Database
from aurora_blobs.errors import (
    STORE_AWAY,
    BlobServiceError,
    InsufficientStorage,
    InvalidRequest,
)
from aurora_blobs.intake.decoding import parse_encodings
from aurora_blobs.mirror.authority import Authority, Doubted, NotItsHost
from aurora_blobs.mirror.commits import BadCommit
from aurora_blobs.mirror.frames import Commit, Event, Identity, Status, Sync, Unusable
from aurora_blobs.mirror.pauses import ACCOUNT, pause_seconds
from aurora_blobs.mirror.upstream import Refused, Upstream
from aurora_blobs.mirror.writer import Position, Writer
from aurora_blobs.protocol.car import Repository
from aurora_blobs.protocol.commits import SignedCommit, parse_commit
from aurora_blobs.protocol.quoting import shown
from aurora_blobs.records.repo_import import RepoImporter

log = logging.getLogger("aurora_blobs")

# Guesses: of an account that writes while its repository is fetched, a few events come meanwhile.
_MAX_EVENTS = 100  # held of one account
_MAX_BYTES = 16 * 2**20  # held in all
_MAX_ACCOUNTS = 1000  # at once; more wait in the database
_ROUNDS = 3  # repositories that are fetched before an account waits again
_POLL_SECONDS = 1.0
_REST_SECONDS = 0.2  # between two looks at whether the PDS is asked again
# What getRepo says of an account that is not active.
_STATUSES = {
    "RepoDeactivated": "deactivated",
    "RepoTakendown": "takendown",
    "RepoSuspended": "suspended",
    "RepoNotFound": MISSING,
}


@dataclass(slots=True)
class _Held:
    """An account that catches up. *anew*: its identity may have changed."""

    needs_repository: bool
    anew: bool
    events: deque[Event] = field(default_factory=deque)


class CatchUp:
    """Lets accounts of *upstream* catch up. *wake* is called when there may be blobs to fetch."""

    def __init__(
        self,
        upstream: Upstream,
        writer: Writer,
        authority: Authority,
        importer: RepoImporter,
        database: Database,
        *,
        clock: Callable[[], int],
        max_bytes: int,
        wake: Callable[[], None],
    ) -> None:
        """*max_bytes* are those of a repository."""
        self._upstream = upstream
        self._writer = writer
        self._authority = authority
        self._importer = importer
        self._database = database
        self._clock = clock
        self._max_bytes = max_bytes
        self._wake = wake
        self._changed = threading.Condition()
        self._held: dict[str, _Held] = {}
        self._waiting: deque[str] = deque()
        self._bytes = 0

    def hold(self, event: Event) -> bool:
        """Keep *event* until its account has caught up; False if it has, and for a status.

        What hides does not wait for a repository.
        """
        assert event.did is not None
        with self._changed:
            held = self._held.get(event.did)
            if held is None or isinstance(event, Status):
                return False
            if isinstance(event, Unusable):
                held.needs_repository = True
            else:
                self._keep(held, event)
            return True

    def begin(self, event: Event, at: Position, *, repository: bool, anew: bool) -> None:
        """Let the account of *event* catch up: fetch its *repository*, or ask who it is *anew*.

        Without the repository, the event is handled then.
        """
        assert event.did is not None
        # First in the database: whatever dies, the repository is fetched then.
        self._writer.doubt(event, at)
        with self._changed:
            held = self._held.get(event.did)
            if held is not None:
                held.needs_repository |= repository
                held.anew |= anew
            elif len(self._held) < _MAX_ACCOUNTS:
                held = self._held[event.did] = _Held(repository, anew)
                self._waiting.append(event.did)
                self._changed.notify()
            if held is not None and not repository:
                self._keep(held, event)

    def wake(self) -> None:
        """There may be an account that is due, or an end."""
        with self._changed:
            self._changed.notify_all()

    def run(self, stop: threading.Event) -> None:
        """Let one account after the other catch up, until *stop*. For any number of threads."""
        while not stop.is_set():
            did = self._claimed()
            if did is None:
                continue
            held = self._held[did]
            try:
                self._catch_up(did, held)
            except BlobServiceError as error:  # of our own database: the account stays due
                log.warning("%s cannot catch up now: %s", did, error.message)
                stop.wait(_POLL_SECONDS)
            finally:
                self._release(did, held)

    def _claimed(self) -> str | None:
        """An account for this thread; None if there was none for a while."""
        is_resting = self._upstream.is_resting
        with self._changed:
            if is_resting:  # else each event would cost a try, and lead to a longer pause
                self._changed.wait(_REST_SECONDS)
                return None
            if self._waiting:
                return self._waiting.popleft()
            busy = len(self._held)
        with self._database.read() as tx:
            due = catalog.due(tx, self._upstream.url, self._clock(), busy + 1)
        with self._changed:
            for did in due:
                if did not in self._held:
                    self._held[did] = _Held(needs_repository=True, anew=False)
                    return did
            if not self._waiting:
                self._changed.wait(_POLL_SECONDS)
        return None

    def _catch_up(self, did: str, held: _Held) -> None:
        self._database.space.require()
        asked_at = self._clock()
        try:
            self._authority.ask(did, anew=held.anew)
            held.needs_repository |= self._is_new(did)
            for _ in range(_ROUNDS):
                if held.needs_repository:
                    held.needs_repository = False
                    self._fetch(did)
                if self._is_drained(did, held):
                    return
            raise BadCommit("its events do not follow its repository")
        except NotItsHost as error:
            log.info("%s", error)
            self._writer.disown(did)
        except Refused as error:
            if error.name in _STATUSES:
                self._writer.learn_status(did, _STATUSES[error.name], asked_at)
                return
            if error.is_about_us:
                self._upstream.rest(error.retry_seconds)
            self._fail(did, str(error))
        except FetchFailed as error:
            self._upstream.rest()
            self._fail(did, str(error))
        except (Doubted, ValueError) as error:
            self._fail(did, str(error))
        except (*STORE_AWAY, InsufficientStorage):
            raise
        except BlobServiceError as error:
            self._fail(did, error.message)

    def _is_new(self, did: str) -> bool:
        known = catalog.find(self._database.one_shot(), did)
        return known is None or known.host != self._upstream.url or known.rev is None

    def _fetch(self, did: str) -> None:
        """Take over the repository of *did*."""
        commits: list[SignedCommit] = []

        def admit(repository: Repository) -> None:
            commit = parse_commit(repository.commit)
            try:
                self._writer.welcome(commit)
            except Doubted:
                self._authority.ask(did, anew=True)
                self._writer.welcome(commit)
            commits.append(commit)

        with self._upstream.repository(did, self._max_bytes) as answer:
            done = self._importer.receive(
                answer,
                did=did,
                check=partial(_check_owner, did),
                admit=admit,
                declared_size=answer.length,
                encodings=parse_encodings(answer.headers.get("Content-Encoding", "")),
            )
        self._writer.imported(commits[0])
        self._wake()
        log.info(
            "fetched the repository of %s: %d records are new, %d are gone",
            did,
            done.written,
            done.dropped,
        )

    def _is_drained(self, did: str, held: _Held) -> bool:
        """Handle the events that were held; False if the repository has to be fetched for it."""
        while not held.needs_repository:
            with self._changed:
                event = self._taken(held) if held.events else None
            if event is not None:
                try:
                    self._handle(event)
                except (Doubted, BadCommit) as error:
                    log.info("an event of %s does not fit: %s", did, error)
                    held.needs_repository = True
                continue
            with self._changed:
                if not held.events and not held.needs_repository:
                    # Inside: an event that came between would be neither held nor due.
                    self._writer.current(did)
                    del self._held[did]
                    return True
        return False

    def _handle(self, event: Event) -> None:
        if isinstance(event, Identity):
            self._authority.ask(_did_of(event), anew=True)
        elif isinstance(event, Sync):
            self._writer.sync(event, None)
        elif isinstance(event, Commit) and self._writer.commit(event, None):
            self._wake()

    def _fail(self, did: str, reason: str) -> None:
        known = catalog.find(self._database.one_shot(), did)
        if known is not None:
            pause = pause_seconds(ACCOUNT, known.tries)
            # A PDS may list any number of accounts that are none.
            level = logging.INFO if known.rev is None else logging.WARNING
            log.log(level, "%s cannot catch up, next try in %d s: %s", did, pause, reason)
            self._writer.failed(did, pause, reason)

    def _release(self, did: str, held: _Held) -> None:
        with self._changed:
            while held.events:
                self._taken(held)
            if self._held.get(did) is held:
                del self._held[did]

    def _keep(self, held: _Held, event: Event) -> None:
        if len(held.events) == _MAX_EVENTS or self._bytes + _size_of(event) > _MAX_BYTES:
            while held.events:
                self._taken(held)
            held.needs_repository = True
        else:
            held.events.append(event)
            self._bytes += _size_of(event)

    def _taken(self, held: _Held) -> Event:
        event = held.events.popleft()
        self._bytes -= _size_of(event)
        return event


def _did_of(event: Event) -> str:
    assert event.did is not None
    return event.did


def _size_of(event: Event) -> int:
    return len(event.blocks) if isinstance(event, Commit | Sync) else 0


def _check_owner(did: str, found: str) -> None:
    if found != did:
        raise InvalidRequest(f"the repository is of {shown(found)}")
