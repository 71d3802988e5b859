"""The blobs of all accounts: uploaded, described, opened, listed, deleted.

blobs = BlobManager(backend, database, spool=Path("data/spool"), rules=UploadRules(), clock=clock)
with Path("cat.jpg").open("rb") as photo:
    entry = blobs.upload(Incoming(stream=photo, did="did:web:alice.test", filename="cat.jpg"))
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO, cast

from aurora_blobs.accounts.hiding import finish_hiding
from aurora_blobs.accounts.queries import PAGE_BYTES, check_available
from aurora_blobs.blobs.deletion import delete_account, delete_unowned
from aurora_blobs.blobs.together import Together
from aurora_blobs.blobs.upload import Incoming, Upload, UploadRules
from aurora_blobs.blobs.verify import VerifyingReader, find_again, is_intact, quarantine
from aurora_blobs.catalog import blobs, inventory, references, takedowns
from aurora_blobs.catalog.audit import PROGRAM, Author
from aurora_blobs.catalog.blobs import AccountUsage, Entry, Holding
from aurora_blobs.catalog.inventory import Totals
from aurora_blobs.catalog.references import Named
from aurora_blobs.db import Database, blob_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import (
    AccountNotFound,
    BlobNotFound,
    BlobServiceError,
    BlobTooLarge,
    InsufficientStorage,
    RepoNotFound,
)
from aurora_blobs.intake.spool_budget import SpoolBudget, no_budget
from aurora_blobs.intake.stale_files import stale_files
from aurora_blobs.protocol.quoting import shown
from aurora_blobs.storage.base import BlobBackend

log = logging.getLogger(__name__)

_STEP = 1000  # rows per statement
_USAGE_PAGE = 100  # accounts per statement, which sums up what is temporary of each
# Lost bytes that a read looks for: more of them take long to hash (0.1 s, measured) and are left to
# fsck. In a store on the network the reads of a process look once in so many µs. Both guessed.
_MAX_LOOK_BYTES = 64 * 1024 * 1024
_LOOK_PAUSE = 1_000_000
# Of a blob that is read because the administrator wants it at once; a guess, some seconds.
_MAX_CHECKED_BYTES = 2**30
_MISSING_STEPS = 10  # in one page of missing blobs; a guess, a step takes some 10 ms on disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """All that is known of one content.

    `size` is None where no row has it, `stored_size` where the backend has no bytes. `records` are
    DID and URI of each record that names it. `takedowns` are DID ("" for every account), reference
    and time.
    """

    size: int | None
    stored_size: int | None
    holders: list[Holding]
    records: list[tuple[str, str]]
    takedowns: list[tuple[str, str, int]]


class BlobManager:
    """Bytes are in *backend*, all else is in *database*, uploads under way are in *spool*.

    *clock* gives microseconds since the epoch, UTC.
    """

    def __init__(
        self,
        backend: BlobBackend,
        database: Database,
        *,
        spool: Path,
        rules: UploadRules,
        clock: Callable[[], int],
        spool_budget: SpoolBudget | None = None,
        verify: bool = False,
        count: Callable[[int | None], None] = lambda size: None,
    ) -> None:
        """*verify*: a blob that is read whole is hashed on the way.

        *count* gets the size of each upload, and None for one that is refused.
        """
        self.backend = backend
        self._rules = rules
        self._database = database
        self._spool = spool
        self._clock = clock
        self._spool_budget = spool_budget or no_budget()
        self._verify = verify
        self._count = count
        self._looking = threading.Lock()
        self._looked_at = 0
        spool.mkdir(parents=True, exist_ok=True)

    def upload(self, incoming: Incoming) -> Entry:
        """Store the bytes of *incoming*, whose stream is read to its end; durable on return.

        The same bytes again restart the grace time and give the entry of the first time.

        Raises BlobTooLarge, InvalidMimeType, UploadIncomplete, QuotaExceeded, RateLimitExceeded,
        LocationMetadata, AccountNotFound, InsufficientStorage, BackendUnavailable, ServiceBusy, and
        InvalidRequest for a blob that was taken down or is not the expected one.
        """
        try:
            entry = self._begin(incoming).run()
        except BlobServiceError as error:
            if error.status < 500:
                self._count(None)
            raise
        self._count(entry.size)
        return entry

    @contextmanager
    def together(self) -> Iterator[Together]:
        """For blobs that are fetched, many at once. They are no uploads of clients: none counts.

        What was received and not kept goes with the block.
        """
        with ExitStack() as held:
            yield Together(self._begin, held)

    def _begin(self, incoming: Incoming) -> Upload:
        return Upload(
            incoming=incoming,
            backend=self.backend,
            database=self._database,
            spool=self._spool,
            rules=self._rules,
            clock=self._clock,
            share=self._spool_budget.share(incoming.did),
        )

    def recover(self) -> int:
        """Undo what uploads that died have left behind; how many files they were.

        A takedown that broke off is finished. Ends at the first file that cannot be undone, which
        is left for another call, or for the collector.

        Raises BackendUnavailable, BackendTimeout, ServiceBusy, InsufficientStorage, OSError.
        """
        finish_hiding(self._database)
        count = 0
        for path, cid in stale_files(self._spool):
            if cid is not None:
                # First a canary: rows must not go by the dozen while the store is away.
                with suppress(InsufficientStorage):  # a full one is there
                    self.backend.probe()
                delete_unowned(
                    self._database, self.backend, [cid], self._clock, Spend.LEFT, leftovers=[cid]
                )
            path.unlink(missing_ok=True)
            count += 1
        return count

    def recover_or_leave(self) -> None:
        """`recover`, where a store that is away is no failure: what is left is logged.

        Raises OSError.
        """
        try:
            self.recover()
        except BlobServiceError as error:
            log.warning("what a dead process has left cannot be undone now: %s", error.message)

    def describe(
        self,
        did: str,
        cid: str,
        *,
        viewer: str | None = None,
        admin: bool = False,
        look_again: bool = False,
    ) -> Entry:
        """The blob as *viewer* (a DID, None for everybody) or an admin may see it.

        With *look_again*, bytes that count as lost are looked for; they may have come back.

        Raises RepoNotFound, RepoTakendown, RepoSuspended, RepoDeactivated, BlobNotFound.
        """
        found = blobs.find_availability(self._database.one_shot(), did, cid)
        if found is None:
            raise RepoNotFound(f"Could not find repo for DID: {shown(did)}")
        if not admin and viewer != did:
            check_available(
                did,
                taken_down=found.account_taken_down,
                deactivated=found.account_deactivated,
                upstream_status=found.upstream_status,
            )
        entry = found.entry
        if entry is None or found.taken_down:
            raise BlobNotFound()
        if entry.unreferenced_since is not None and viewer != did:
            raise BlobNotFound()
        if not found.stored and not (look_again and self._is_here_again(entry)):
            raise BlobNotFound()
        return entry

    def held(self, did: str, cid: str) -> Entry:
        """The blob of *did* as it is held, for the administrator: whatever hides it from others.

        Raises BlobNotFound where *did* does not own it.
        """
        found = blobs.find_availability(self._database.one_shot(), did, cid)
        if found is None or found.entry is None:
            raise BlobNotFound()
        return found.entry

    def is_unknown(self, did: str, cid: str) -> bool:
        """Whether a blob that `describe` does not find is not here yet, or lost, and not hidden."""
        return blobs.is_unknown(self._database.one_shot(), did, cid)

    def content_type(self, entry: Entry) -> str:
        """The Content-Type of *entry*: its media type, of a text with the charset.

        That is the one which was declared at the upload, or UTF-8.
        """
        if not entry.mime_type.startswith("text/"):
            return entry.mime_type
        charset = blobs.find_charset(self._database.one_shot(), entry.did, entry.cid)
        return f"{entry.mime_type}; charset={charset or 'utf-8'}"

    def open(
        self, entry: Entry, start: int = 0, stop: int | None = None, *, verify: bool = False
    ) -> BinaryIO:
        """The bytes ``[start, stop)`` of an entry from `describe`.

        With *verify*, or where the manager verifies, a blob that is read whole is hashed, and the
        last read of wrong bytes raises BlobNotFound.

        Raises BlobNotFound, and the blob counts as missing.
        """
        try:
            file = self.backend.open(entry.name, start, stop)
        except BlobNotFound:
            self.mark_lost(entry.cid)
            raise
        if (verify or self._verify) and start == 0 and stop in (None, entry.size):
            on_wrong = partial(self._quarantine, entry.cid)
            return cast(BinaryIO, VerifyingReader(file, entry.cid, entry.size, on_wrong))
        return file

    def check_stored(self, entry: Entry) -> None:
        """Raise BlobNotFound, and count the blob as missing, if the backend lacks bytes of it."""
        if self.backend.size(entry.name) != entry.size:
            self.mark_lost(entry.cid)
            raise BlobNotFound()

    def mark_lost(self, cid: str) -> None:
        """Count *cid* as missing if the backend lacks bytes of it.

        An upload heals it, and so does a read that finds the bytes again. On a full disk without a
        reserve it is left to the next reader.
        """
        row = inventory.find_row(self._database.one_shot(), cid)
        if row is None or self.backend.size(row.name) == row.size:
            return
        self.backend.check_ours(recently=True)
        with (
            suppress(InsufficientStorage),
            self._database.write(Spend.HALF, keys=(blob_key(cid),)) as tx,
        ):
            if inventory.find_row(tx, cid) == row:
                blobs.mark_lost(tx, cid, self._clock())

    def check_bytes(self, cid: str) -> bool | None:
        """Whether the bytes of *cid*, which are read and hashed, are right; None if there are none.

        The blob counts as what was found: wrong bytes are set aside, right ones are there again.
        Raises BlobNotFound for a blob that nobody knows, and BlobTooLarge.
        """
        row = inventory.find_row(self._database.one_shot(), cid)
        if row is None:
            raise BlobNotFound(f"There is no blob {cid}")
        if row.size > _MAX_CHECKED_BYTES:
            raise BlobTooLarge(f"It has {row.size} bytes: `blobs scrub` reads blobs as large")
        right = is_intact(self.backend, row.name)
        if right is None:
            self.mark_lost(cid)
        elif not right:
            self._quarantine(cid)
        elif row.stored_at is None:
            find_again(self._database, self.backend, row, self._clock)
        else:
            with self._database.write(Spend.ALL, keys=(blob_key(cid),)) as tx:
                inventory.mark_verified(tx, [cid], self._clock())
        return right

    def _is_here_again(self, entry: Entry) -> bool:
        """Whether the bytes of *entry*, which count as lost, are here and right.

        The blob counts as stored then. Wrong bytes are set aside, so nobody makes us read them
        twice. One reader at a time looks; for the others nothing has changed.
        """
        if entry.size > _MAX_LOOK_BYTES or not self._looking.acquire(blocking=False):
            return False
        try:
            return self._is_time_to_look() and self._find_again(entry)
        except InsufficientStorage:  # nothing can be noted now
            return False
        finally:
            self._looking.release()

    def _is_time_to_look(self) -> bool:
        """Whether the store may be asked: on a network it costs a request, which anybody causes."""
        if self.backend.stat_is_cheap:
            return True
        now = self._clock()
        if 0 <= now - self._looked_at < _LOOK_PAUSE:
            return False
        self._looked_at = now
        return True

    def _find_again(self, entry: Entry) -> bool:
        if self.backend.size(entry.name) != entry.size:
            return False
        with self._database.read() as tx:
            row = inventory.find_row(tx, entry.cid)
        if row is None or row.stored_at is not None:
            return row is not None
        if find_again(self._database, self.backend, row, self._clock):
            log.warning("the bytes of %s are here again", entry.cid)
            return True
        self._quarantine(entry.cid)
        return False

    def _quarantine(self, cid: str) -> None:
        with self._database.read() as tx:
            row = inventory.find_row(tx, cid)
        if row is not None and quarantine(self._database, self.backend, row, self._clock):
            log.warning(
                "the bytes of %s were wrong or short: set aside, and the blob counts as missing",
                cid,
            )

    def list_missing(self, did: str, after: str, limit: int) -> list[Named]:
        """The first page of `missing_page`."""
        return self.missing_page(did, after, limit)[0]

    def missing_page(self, did: str, after: str, limit: int) -> tuple[list[Named], str | None]:
        """Up to *limit* blobs that records of *did* name and whose bytes are not here.

        By CID, those greater than *after*; and the CID after which to go on, None at the end. A
        page ends early, even without a blob, after `PAGE_BYTES` and after so many blobs that are
        here.
        """
        missing: list[Named] = []
        bytes_left = PAGE_BYTES
        for _ in range(_MISSING_STEPS):
            with self._database.read() as tx:
                step = references.named(tx, did, after, _STEP)
            for named in step:
                after = named.cid
                if self._is_whole(named):
                    continue
                missing.append(named)
                bytes_left -= len(named.record_uri)
                if len(missing) == limit or bytes_left < 0:
                    return missing, after
            if len(step) < _STEP:
                return missing, after if missing else None
        return missing, after

    def _is_whole(self, named: Named) -> bool:
        if named.stored_size is None:
            return False
        # A network store is not asked for each blob: fsck and reads note what it lost.
        return not self.backend.stat_is_cheap or self.backend.size(named.name) == named.stored_size

    def usage(self, did: str) -> AccountUsage:
        """What *did* holds; `quota_bytes` is the quota in force, 0 for none.

        Raises AccountNotFound.
        """
        with self._database.read() as tx:
            found = blobs.usage(tx, did)
        if found is None:
            raise AccountNotFound()
        return self._in_force(found)

    def usage_page(self, after: str, limit: int) -> list[AccountUsage]:
        """The `usage` of up to *limit* accounts, by DID, those after the DID *after*."""
        with self._database.read() as tx:
            found = blobs.usage_page(tx, after, limit)
        return list(map(self._in_force, found))

    def usages(self) -> Iterator[AccountUsage]:
        """The `usage` of every account, by DID."""
        found = self._database.in_pages(
            blobs.usage_page, "", lambda last: last.did, limit=_USAGE_PAGE
        )
        return map(self._in_force, found)

    def _in_force(self, usage: AccountUsage) -> AccountUsage:
        if usage.quota_bytes is None:
            return replace(usage, quota_bytes=self._rules.quota_bytes)
        return usage

    def holdings(self, did: str | None = None) -> Iterator[Holding]:
        """The entries of *did*, or of every account, by DID and CID, each with its state."""
        after = ("", "") if did is None else (did, "")
        found = self._database.in_pages(
            blobs.page, after, lambda last: (last.entry.did, last.entry.cid), limit=_STEP
        )
        return takewhile(lambda held: did in (None, held.entry.did), found)

    def entries(self, did: str | None = None) -> Iterator[Entry]:
        """The entries of *did*, or of every account, by DID and CID."""
        return (held.entry for held in self.holdings(did))

    def totals(self) -> Totals:
        """The whole store in numbers."""
        with self._database.read() as tx:
            return inventory.totals(tx)

    def inspect(
        self,
        cid: str,
        *,
        after_did: str = "",
        limit: int = blobs.EVERY_ONE,
        of_holders: bool = False,
    ) -> Inspection | None:
        """All that is known of *cid*, up to *limit* holders after *after_did*; None for nothing.

        *of_holders*: where anybody holds it, of records only theirs, without a look at each
        account.
        """
        with self._database.read() as tx:
            holders = blobs.owners(tx, cid, after_did, limit)
            taken_down = takedowns.of_blob(tx, cid)
            find = references.of_holders if of_holders and holders else references.of_blob
            records = find(tx, cid, _STEP)
            row = inventory.find_row(tx, cid)
        if row is None and not taken_down and not records:
            return None
        return Inspection(
            size=None if row is None else row.size,
            stored_size=self.backend.size(cid if row is None else row.name),
            holders=holders,
            records=records,
            takedowns=taken_down,
        )

    def delete_account(
        self,
        did: str,
        on_gone: Callable[[list[str]], None] = lambda cids: None,
        by: Author = PROGRAM,
    ) -> None:
        """Remove *did* and what it holds; *on_gone* gets the CIDs of bytes that go with it."""
        delete_account(self._database, self.backend, did, self._clock, on_gone, by=by)
