"""The blobs that an account publishes, by the word of its PDS, which lists them."""

from collections.abc import Callable, Iterator
from functools import partial

from aurora_blobs.catalog import accounts, record_usage, references, refusals
from aurora_blobs.catalog import upstream as catalog
from aurora_blobs.catalog.upstream import MISSING, RETURNING, UpstreamAccount
from aurora_blobs.db import Database, Transaction, account_key
from aurora_blobs.errors import RepoNotFound
from aurora_blobs.mirror.pauses import BLOB, NOT_HAD, pause_seconds
from aurora_blobs.mirror.upstream import Refused, Upstream
from aurora_blobs.protocol.blob_refs import Reference
from aurora_blobs.records.changes import RecordChanges

EVERY_SECONDS = 3600  # between two listings of an account
_MAX_PAGES = 500  # of an account: 500,000 blobs; a guess, a listing without an end is not followed
_STEP = 1000  # references that go in one transaction
_MAX_REASON = 300  # characters that are kept
_NOT_FOUND = "RepoNotFound"


class Unlisted(Exception):
    """An account is none that its PDS lists blobs of. The message says why."""


def listed_uri(did: str) -> str:
    """The URI under which `record_blob` has what the PDS lists: that of the repository.

    Which records name the blobs is not said in a list.
    """
    return f"at://{did}"


class Listings:
    """Keeps lists of blobs. *clock* gives microseconds since the epoch, UTC."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock

    def refresh(self, source: Upstream, did: str) -> None:
        """Have the account as *source* has it: its status, and the blobs that its records name.

        Raises Unlisted, and Refused, FetchFailed, ServiceBusy, InsufficientStorage.
        """
        asked_at = self._clock()
        known = catalog.find(self._database.one_shot(), did)
        try:
            status, rev = source.state(did)
        except Refused as error:
            if error.name != _NOT_FOUND:
                raise
            self._note_missing(did, source, known)
            raise Unlisted("its PDS does not have the account") from None
        if status is not None:
            self._hide(did, source, status, asked_at)
            raise Unlisted(f"the account is {status} at its PDS")
        with self._database.write(keys=(account_key(did),)) as tx:
            accounts.make_external(tx, did, asked_at)
            catalog.add(tx, did, source.url, None, asked_at)
            catalog.learn_status(tx, did, None, asked_at)
        if known is None or not rev or rev != known.rev or known.host != source.url:
            self._take_all(source, did)
        with self._database.write(keys=(account_key(did),)) as tx:
            due_at = self._clock() + EVERY_SECONDS * 1_000_000
            catalog.set_blobs_listed(tx, did, source.url, rev or "", asked_at, due_at)
            found = catalog.find(tx, did)
            if found is not None and found.status == RETURNING:
                catalog.set_status(tx, did, None, asked_at)

    def add_new(self, source: Upstream, known: UpstreamAccount) -> None:
        """Learn of blobs that were published since the account *known* was listed.

        Raises as `refresh`.
        """
        for cids in self._pages(source, known.did, known.rev or ""):
            with self._database.write(keys=(account_key(known.did),)) as tx:
                self._take(tx, known.did, cids)

    def failed(self, did: str, host: str, reason: str) -> None:
        """The account could not be listed: it is asked for again later, and later each time."""
        now = self._clock()
        with self._database.write(keys=(account_key(did),)) as tx:
            catalog.add(tx, did, host, None, now)
            self._put_off(tx, did, reason)

    def _put_off(self, tx: Transaction, did: str, reason: str) -> None:
        known = catalog.find(tx, did)
        assert known is not None
        pauses = NOT_HAD if known.rev is None else BLOB
        due_at = self._clock() + pause_seconds(pauses, known.tries) * 1_000_000
        catalog.set_failed(tx, did, due_at, reason[:_MAX_REASON])

    def _hide(self, did: str, source: Upstream, status: str, asked_at: int) -> None:
        with self._database.write(keys=(account_key(did),)) as tx:
            accounts.make_external(tx, did, asked_at)
            catalog.add(tx, did, source.url, status, asked_at)
            catalog.learn_status(tx, did, status, asked_at)
            self._put_off(tx, did, status)

    def _note_missing(self, did: str, source: Upstream, known: UpstreamAccount | None) -> None:
        # One that is being put back says so too: an account is missing when it says so again.
        is_sure = known is not None and known.failure == _NOT_FOUND
        now = self._clock()
        with self._database.write(keys=(account_key(did),)) as tx:
            catalog.add(tx, did, source.url, None, now)
            if is_sure:
                catalog.set_status(tx, did, MISSING, now)
            self._put_off(tx, did, _NOT_FOUND)

    def _take_all(self, source: Upstream, did: str) -> None:
        account = accounts.find(self._database.one_shot(), did)
        before = None if account is None else account.rev
        for cids in self._pages(source, did, ""):
            with self._database.write(keys=(account_key(did),)) as tx:
                self._take(tx, did, cids)
        if before is not None:  # what the listing did not give a newer revision, it did not name
            self._database.in_steps(partial(self._drop_some, did, before), keys=(account_key(did),))

    def _pages(self, source: Upstream, did: str, since: str) -> Iterator[list[str]]:
        cursor = ""
        for _ in range(_MAX_PAGES):
            cids, cursor = source.blobs(did, cursor, since)
            yield cids
            if not cursor:
                return
        reason = "its PDS lists more blobs than are kept of an account"
        self.failed(did, source.url, reason)
        raise Unlisted(reason)

    def _take(self, tx: Transaction, did: str, cids: list[str]) -> None:
        try:
            changes = RecordChanges(tx, did, self._clock())
        except RepoNotFound as error:  # deleted meanwhile, by the administrator
            raise Unlisted(error.message) from None
        uri = listed_uri(did)
        for cid in cids:
            rows = changes.rows
            changes.refer(uri, Reference(cid, None, None))
            if changes.rows == rows:
                references.touch(tx, did, uri, cid, changes.rev)
            else:  # whoever names it again may have it again
                refusals.put_off(tx, did, cid, self._clock())
            references.publish(tx, did, cid)
        changes.finish()

    def _drop_some(self, did: str, before: str, tx: Transaction) -> bool:
        uri, now = listed_uri(did), self._clock()
        gone = references.drop_older(tx, did, uri, before, _STEP)
        for cid in gone:
            references.retire(tx, did, cid, now)
        record_usage.add(tx, did, -sum(record_usage.reference_bytes(uri, cid) for cid in gone))
        return len(gone) == _STEP
