"""Tells caches in front of the service what was hidden: a POST to ``AURORA_BLOBS_PURGE_URL``."""

import json
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from urllib.parse import quote

from aurora_blobs.auth.fetch import FetchFailed, opened
from aurora_blobs.catalog import purges
from aurora_blobs.catalog.purges import Purge
from aurora_blobs.config import Config
from aurora_blobs.db import CommitHook, Database, Transaction, row_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import BlobServiceError, DatabaseError
from aurora_blobs.thumbnails.presets import WRITABLE, presets

log = logging.getLogger("aurora_blobs")

_POLL_SECONDS = 1.0
_AT_ONCE = 20  # of one process, one after the other
_ANSWER_SECONDS = 5.0
_MAX_RECEIVED = 64 * 1024  # bytes of an answer, of which the status counts
# Seconds until the next try; after them it is given up. Caches are asked to keep a blob for 300.
_PAUSES = (10, 30, 120, 600, 3600, 6 * 3600)
_LAST_SECONDS = 60  # until a last try that broke off is done again


def noting(hook: CommitHook, clock: Callable[[], int]) -> CommitHook:
    """*hook*, and what a transaction hides is noted in it, to be told."""

    def before_commit(tx: Transaction) -> AbstractContextManager[None]:
        now = clock()
        told = [purges.add(tx, did, cid or "", now) for did, cid in tx.withdrawn]
        if not all(told):
            log.warning("%d hidden blobs are not told: too many are waiting", told.count(False))
        return hook(tx)

    return before_commit


class Purges:
    """Tells the ``purge_url`` of *config*; any number of processes may."""

    def __init__(self, config: Config, database: Database, clock: Callable[[], int]) -> None:
        self._url = config.purge_url
        self._database = database
        self._clock = clock
        self._origin = config.public_url or ""
        self._presets = list(presets(config.image_presets))

    def start(self) -> None:
        """Tell what is noted, in a thread, for as long as the process lives."""
        if self._url is not None:
            threading.Thread(
                target=self.run, args=(threading.Event(),), name="purges", daemon=True
            ).start()

    def run(self, stop: threading.Event) -> None:
        """Tell what is noted, until *stop*."""
        while not stop.wait(_POLL_SECONDS):
            try:
                while self._tell_some() and not stop.is_set():
                    pass
            except (BlobServiceError, DatabaseError) as error:
                log.warning("caches cannot be told now: %s", error)

    def _tell_some(self) -> bool:
        """Tell some of what is due; whether there was anything, and all of it was taken."""
        with self._database.read() as tx:
            due = purges.due(tx, self._clock(), _AT_ONCE)
        return bool(due) and all(self._tell(purge) for purge in due)

    def _tell(self, purge: Purge) -> bool:
        last = purge.tries >= len(_PAUSES)
        pause = _LAST_SECONDS if last else _PAUSES[purge.tries]
        with self._writing() as tx:
            if not purges.claim(tx, purge, self._clock() + pause * 1_000_000):
                return True
        failure = self._post(purge)
        if failure is not None:
            log.log(
                logging.ERROR if last else logging.WARNING,
                "the purge of %s of %s failed%s: %s",
                purge.cid or "everything",
                purge.did,
                " for the last time" if last else "",
                failure,
            )
            if not last:
                return False
        with self._writing() as tx:
            purges.drop(tx, purge)
        return True

    def _writing(self) -> AbstractContextManager[Transaction]:
        return self._database.write(Spend.HALF, keys=(row_key("purge"),))

    def _post(self, purge: Purge) -> str | None:
        """Why it was not taken; None if it was."""
        assert self._url is not None
        said = {"did": purge.did, "cid": purge.cid or None, "urls": self.urls(purge.did, purge.cid)}
        try:
            with opened(
                self._url,
                allowed=None,
                timeout_seconds=_ANSWER_SECONDS,
                max_received=_MAX_RECEIVED,
                body=json.dumps(said).encode(),
                headers={"Content-Type": "application/json"},
            ) as answer:
                return None if 200 <= answer.status < 300 else f"status {answer.status}"
        except FetchFailed as error:
            return str(error)

    def urls(self, did: str, cid: str) -> list[str]:
        """Where the blob was to be had; of a whole account, '' for *cid*, nothing."""
        if not cid:
            return []
        get_blob = f"{self._origin}/xrpc/com.atproto.sync.getBlob"
        pictures = [
            f"{self._origin}/img/{preset}/plain/{did}/{cid}{form}"
            for preset in self._presets
            for form in ("", *(f"@{name}" for name in WRITABLE))
        ]
        quoted = quote(did, safe="")
        return [f"{get_blob}?did={name}&cid={cid}" for name in (did, quoted)] + pictures
