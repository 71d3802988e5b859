"""Keeps true what a mirror of the network has: each account is listed again every hour.

And each blob is asked for within a day, as `recheck` says.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from aurora_blobs.auth.fetch import FetchFailed
from aurora_blobs.auth.identity import Identities
from aurora_blobs.blobs.deletion import delete_account
from aurora_blobs.catalog import accounts, refusals
from aurora_blobs.catalog import upstream as catalog
from aurora_blobs.catalog.upstream import BARRED, UpstreamAccount
from aurora_blobs.config import Config
from aurora_blobs.db import STEP_ROWS, Database, Transaction, account_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import BlobServiceError
from aurora_blobs.mirror.follower import run_together
from aurora_blobs.mirror.listed import Listings, Unlisted
from aurora_blobs.mirror.network import Sources
from aurora_blobs.mirror.recheck import Recheck, round_key
from aurora_blobs.mirror.upstream import Refused, Upstream
from aurora_blobs.storage.base import BlobBackend

log = logging.getLogger("aurora_blobs")

_AT_ONCE = 4  # accounts, and PDSes that are asked for their blobs
# Between two steps of one PDS, in which some blobs of it are asked for, and of a step.
_ASK_SECONDS = 60.0
_POLL_SECONDS = 1.0
_SWEEP_SECONDS = 600.0
# µs in which an account is listed or a step is done, or another process does it again.
_CLAIM = 300 * 1_000_000
_MOST_MISSES = 100_000  # blobs, and accounts, that were not to be had and are remembered; a guess
_UNUSED = 86_400 * 1_000_000  # µs after which an account goes of which nothing is here


class Keeper:
    """Lists accounts again when they are due. Any number of processes, on any nodes, share that.

    *clock* gives microseconds since the epoch, UTC; *on_gone* gets the CIDs of bytes that go.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        backend: BlobBackend,
        identities: Identities,
        clock: Callable[[], int],
        on_gone: Callable[[list[str]], None],
    ) -> None:
        self._max_bytes = config.max_blob_size
        self._database = database
        self._backend = backend
        self._clock = clock
        self._on_gone = on_gone
        self._sources = Sources(config, identities)
        self._listings = Listings(database, clock)

    def run(self, stop: threading.Event) -> None:
        """Keep all accounts until *stop*."""
        run_together([*[self._list] * _AT_ONCE, *[self._ask] * _AT_ONCE, self._sweep], stop)

    def apply_settings(self) -> None:
        """Hide the accounts that the settings do not allow any more, and show those that they do.

        What is hidden is collected as what its PDS has deleted is.
        """
        for known in self._database.in_pages(
            catalog.accounts, "", lambda last: last.did, limit=STEP_ROWS
        ):
            if known.rev is not None or known.status is not None:
                self._bar(known)

    def keep_next(self) -> bool:
        """List one account that is due, or forget it if it is of no use; False if none is due."""
        did = self._claimed()
        if did is None:
            return False
        if not self._is_unused(did) or not self._forget(did):
            self._refresh(did)
        return True

    def ask_next(self, stop: threading.Event) -> bool:
        """Ask one PDS that is due for some of its blobs, until *stop*; False if none is due."""
        host = self._claimed_host()
        if host is None:
            return False
        source = self._sources.at(host)
        if source is not None:
            Recheck(
                source,
                self._database,
                clock=self._clock,
                max_bytes=self._max_bytes,
                every_seconds=_ASK_SECONDS,
                update=partial(self._update, source, self._clock()),
            ).step(stop, _ASK_SECONDS)
        with self._round(host) as tx:
            if catalog.page(tx, host, "", 1):
                refusals.set_due(tx, host, self._clock() + int(_ASK_SECONDS * 1_000_000))
            else:
                refusals.forget_round(tx, host)
        return True

    def sweep(self) -> None:
        """Have each PDS asked for its blobs, of which accounts are here; forget old misses."""
        self._begin_rounds()
        self._forget_misses()

    def _begin_rounds(self) -> None:
        host = catalog.next_host(self._database.one_shot(), "")
        while host is not None:
            found = refusals.find_round(self._database.one_shot(), host)
            if found is None or found.due_at is None:
                with self._round(host) as tx:
                    refusals.begin_round(tx, host, self._clock())
                    refusals.set_due(tx, host, self._clock())
            host = catalog.next_host(self._database.one_shot(), host)

    def _forget_misses(self) -> None:
        """Forget what was not to be had, and nobody has asked for since."""
        for forget, nth in (
            (catalog.forget_refused, catalog.nth_refused),
            (catalog.forget_unlisted, catalog.nth_unlisted),
        ):
            excess = nth(self._database.one_shot(), _MOST_MISSES)
            before = max(self._clock() - _UNUSED, 0 if excess is None else excess + 1)
            self._database.in_steps(partial(_is_full_step, forget, before), Spend.HALF)

    def _list(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                if not self.keep_next():
                    stop.wait(_POLL_SECONDS)
            except BlobServiceError as error:  # of our own database or store
                log.warning("accounts cannot be listed now: %s", error.message)
                stop.wait(_POLL_SECONDS)

    def _ask(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                if not self.ask_next(stop):
                    stop.wait(_POLL_SECONDS)
            except BlobServiceError as error:
                log.warning("blobs cannot be asked for again now: %s", error.message)
                stop.wait(_POLL_SECONDS)

    def _sweep(self, stop: threading.Event) -> None:
        is_applied = False
        while not stop.is_set():
            try:
                if not is_applied:
                    self.apply_settings()
                    is_applied = True
                self.sweep()
            except BlobServiceError as error:
                log.warning("the accounts cannot be looked through now: %s", error.message)
            stop.wait(_SWEEP_SECONDS)

    def _claimed(self) -> str | None:
        now = self._clock()
        with self._database.read() as tx:
            due = catalog.due_to_list(tx, now, _AT_ONCE)
        for did in due:
            with self._database.write(keys=(account_key(did),)) as tx:
                if catalog.claim(tx, did, now, now + _CLAIM):
                    return did
        return None

    def _claimed_host(self) -> str | None:
        now = self._clock()
        with self._database.read() as tx:
            due = refusals.due_hosts(tx, now, _AT_ONCE)
        for host in due:
            with self._round(host) as tx:
                if refusals.claim(tx, host, now, now + _CLAIM):
                    return host
        return None

    def _round(self, host: str) -> AbstractContextManager[Transaction]:
        return self._database.write(keys=(round_key(host),))

    def _update(self, source: Upstream, began_at: int, did: str) -> bool:
        """Have *did* listed since *began_at*; whether it is active, and still at *source*.

        A record may be gone that has named the blob.
        """
        known = catalog.find(self._database.one_shot(), did)
        if known is None or known.host != source.url:
            return False
        if known.listed_at >= began_at:
            return known.status is None
        try:
            self._listings.refresh(source, did)
        except Unlisted as error:
            log.info("%s: %s", did, error)
            return False
        return True

    def _refresh(self, did: str) -> None:
        known = catalog.find(self._database.one_shot(), did)
        if known is None:
            return
        if self._bar(known):
            self._listings.failed(did, known.host, "the settings do not allow it any more")
            return
        source = self._sources.find(did)
        if source is None:
            self._fail(did, known.host, "its identity names no PDS that may be asked")
            return
        if source.is_resting:
            return
        try:
            self._listings.refresh(source, did)
        except Unlisted as error:
            log.info("%s: %s", did, error)
        except Refused as error:
            if error.is_about_us:
                source.rest(error.retry_seconds)
            self._fail(did, source.url, str(error))
        except FetchFailed as error:
            source.rest()
            self._fail(did, source.url, str(error))

    def _bar(self, known: UpstreamAccount) -> bool:
        """Hide the account if the settings do not allow it; whether they do not.

        One that they allow again is shown when it was listed.
        """
        bars, is_barred = self._sources.bars(known.did, known.host), known.status == BARRED
        if bars != is_barred:
            now = self._clock()
            with self._database.write(Spend.HALF, keys=(account_key(known.did),)) as tx:
                if bars:
                    catalog.set_status(tx, known.did, BARRED, now)
                else:
                    catalog.list_anew(tx, known.did, now)
            if bars:
                log.info("%s is hidden: the settings do not allow it any more", known.did)
        return bars

    def _fail(self, did: str, host: str, reason: str) -> None:
        log.info("%s cannot be listed, what is here of it is served: %s", did, reason)
        self._listings.failed(did, host, reason)

    def _is_unused(self, did: str) -> bool:
        account = accounts.find(self._database.one_shot(), did)
        return account is not None and self._may_go(account)

    def _may_go(self, account: accounts.Account) -> bool:
        return account.blob_count == 0 and self._clock() - account.created_at > _UNUSED

    def _forget(self, did: str) -> bool:
        """Forget the account, if nothing of it is here."""

        def check(tx: Transaction) -> bool:
            account = accounts.find(tx, did)
            if account is None or not self._may_go(account):
                return False
            catalog.forget(tx, did)
            return True

        return delete_account(self._database, self._backend, did, self._clock, self._on_gone, check)


def _is_full_step(
    forget: Callable[[Transaction, int, int], int], before: int, tx: Transaction
) -> bool:
    return forget(tx, before, STEP_ROWS) == STEP_ROWS
