"""Compares all accounts of a PDS with those here: what the stream did not tell is found by it."""

import logging
import threading
from collections.abc import Callable

from aurora_blobs.auth.fetch import FetchFailed
from aurora_blobs.catalog import refusals
from aurora_blobs.catalog import upstream as catalog
from aurora_blobs.db import Database, Transaction
from aurora_blobs.errors import BlobServiceError
from aurora_blobs.mirror.pauses import HOST, pause_seconds
from aurora_blobs.mirror.recheck import round_key
from aurora_blobs.mirror.upstream import PAGE, Listed, Refused, Upstream
from aurora_blobs.mirror.writer import Writer, host_key

log = logging.getLogger("aurora_blobs")

_EVERY = 24 * 3600 * 1_000_000  # µs between two listings while nothing else asks for one
# A PDS begins to send a moment after it has accepted the stream. A guess, far above it.
_SETTLE_SECONDS = 0.5
_POLL_SECONDS = 1.0
_MAX_PAGES = 20_000  # of accounts: 10 million; a listing without an end is not followed for ever
_MANY, _MANY_PART = 20, 20  # accounts that are missing at once, and one in so many: look at it


class Listing:
    """Lists the accounts of *upstream*; those that differ are due, and *wake* is called then."""

    def __init__(
        self,
        upstream: Upstream,
        writer: Writer,
        database: Database,
        *,
        clock: Callable[[], int],
        wake: Callable[[], None],
    ) -> None:
        self._wake = wake
        self._upstream = upstream
        self._writer = writer
        self._database = database
        self._clock = clock

    def run(self, is_open: threading.Event, stop: threading.Event) -> None:
        """List whenever it is due and the stream *is_open*, until *stop*."""
        failures = 0
        while not stop.is_set():
            if not is_open.wait(_POLL_SECONDS):
                continue
            if not self._is_due():
                stop.wait(_POLL_SECONDS)
                continue
            # Whatever happens from now on comes by the stream.
            if stop.wait(_SETTLE_SECONDS):
                return
            try:
                self._list(stop)
                failures = 0
            except (FetchFailed, Refused, BlobServiceError) as error:
                pause = pause_seconds(HOST, failures)
                log.warning(
                    "%s: its accounts cannot be listed, next try in %d s: %s",
                    self._upstream.url,
                    pause,
                    error,
                )
                failures += 1
                stop.wait(pause)

    def _is_due(self) -> bool:
        host = catalog.find_host(self._database.one_shot(), self._upstream.url)
        if host is None or host.listed_at is None:
            return True
        return not 0 <= self._clock() - host.listed_at < _EVERY

    def _list(self, stop: threading.Event) -> None:
        began = self._clock()
        cursor, count = "", 0
        for _ in range(_MAX_PAGES):
            asked_at = self._clock()
            page, cursor = self._upstream.accounts(cursor)
            count += len(page)
            self._take(page, began, asked_at)
            self._wake()
            if stop.is_set():
                return
            if not cursor:
                break
        missing = self._look_for_unlisted(began, stop)
        self._want_again(stop)
        if stop.is_set():
            return
        with self._database.write(keys=(host_key(self._upstream.url),)) as tx:
            catalog.set_listed(tx, self._upstream.url, began)
        log.info("%s lists %d accounts", self._upstream.url, count)
        if missing > _MANY and missing * _MANY_PART > count:
            with self._database.write(keys=(round_key(self._upstream.url),)) as tx:
                refusals.set_alarm(
                    tx, self._upstream.url, f"{missing} accounts are gone without a word"
                )
            log.error(
                "%s has lost %d accounts without a word: they are hidden, and nothing more is"
                " hidden or collected. `aurora-blobs mirror accept` ends that",
                self._upstream.url,
                missing,
            )

    def _take(self, page: list[Listed], began: int, asked_at: int) -> None:
        for start in range(0, len(page), PAGE):
            with self._database.write() as tx:
                for listed in page[start : start + PAGE]:
                    self._compare(tx, listed, began, asked_at)

    def _compare(self, tx: Transaction, listed: Listed, began: int, asked_at: int) -> None:
        host = self._upstream.url
        known = catalog.find(tx, listed.did)
        if known is None:
            catalog.add(tx, listed.did, host, listed.status, asked_at)
        elif known.host == host:
            catalog.set_listed_account(tx, listed.did, began)
            if known.status != listed.status:
                catalog.learn_status(tx, listed.did, listed.status, asked_at)
            if listed.status is None and listed.rev != known.rev:
                catalog.set_due(tx, listed.did, host, asked_at)

    def _look_for_unlisted(self, began: int, stop: threading.Event) -> int:
        """Ask for each account that was not listed; how many the PDS does not have any more."""
        missing, host = 0, self._upstream.url
        while not stop.is_set():
            with self._database.read() as tx:
                step = catalog.unlisted(tx, host, began, PAGE)
            if not step:
                break
            for did in step:
                if stop.is_set():
                    break
                missing += self._is_missing(did)
            with self._database.write() as tx:
                for did in step:
                    catalog.set_listed_account(tx, did, began)
        return missing

    def _is_missing(self, did: str) -> bool:
        known = catalog.find(self._database.one_shot(), did)
        if known is None or known.status in catalog.GONE:
            return False
        asked_at = self._clock()
        try:
            self._writer.learn_status(did, self._upstream.status(did), asked_at)
        except Refused as error:
            if error.name != "RepoNotFound":
                raise
            self._writer.learn_status(did, catalog.MISSING, asked_at)
            return True
        return False

    def _want_again(self, stop: threading.Event) -> None:
        """Fetch what is not here, also what was here and is lost."""
        host = self._upstream.url
        for did in self._database.in_pages(
            lambda tx, after, limit: catalog.page(tx, host, after, limit),
            "",
            lambda did: did,
            limit=PAGE,
        ):
            if stop.is_set():
                return
            self._writer.want_missing(did)
