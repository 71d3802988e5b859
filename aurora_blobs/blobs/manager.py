"""What happens to a blob: uploaded, described, opened, listed, forgotten.

blobs = BlobManager(backend, database, spool=Path("data/spool"), rules=UploadRules(), clock=clock)
with Path("cat.jpg").open("rb") as photo:
    entry = blobs.upload(photo, did="did:web:alice.test", declared_type="image/jpeg")
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from aurora_blobs.accounts.queries import check_available
from aurora_blobs.blobs.deletion import delete_account, delete_unowned
from aurora_blobs.blobs.verify import VerifyingReader, quarantine
from aurora_blobs.catalog import blobs, inventory, references, takedowns
from aurora_blobs.catalog.blobs import AccountUsage, Entry, UploadState
from aurora_blobs.catalog.inventory import Totals
from aurora_blobs.catalog.references import Named
from aurora_blobs.config import Config
from aurora_blobs.config_values import Limit
from aurora_blobs.db import Database, Transaction
from aurora_blobs.errors import (
    AccountNotFound,
    BlobNotFound,
    BlobServiceError,
    InvalidRequest,
    LocationMetadata,
    QuotaExceeded,
    RepoNotFound,
    ServiceBusy,
)
from aurora_blobs.intake.body import Reader
from aurora_blobs.intake.spool import Spooled, spooled
from aurora_blobs.intake.stale_files import stale_files
from aurora_blobs.media.location import has_location
from aurora_blobs.media.mime import choose_mime_type, is_consistent, mime_type_of_filename
from aurora_blobs.media.probe import PROBED_TYPES, Facts, probe
from aurora_blobs.rate_limits import DAY_SECONDS, UPLOADS, check, count_use, network_of
from aurora_blobs.storage.base import BlobBackend

log = logging.getLogger(__name__)

_ATTEMPTS = 5  # to store bytes that a collector takes away in the same moment; two were never seen
_SETTLED = 60_000_000  # microseconds after which a row that can be read is on the disk; a guess, far above any flush
_LIST_STEP = 1000  # rows looked at per statement while looking for lost bytes


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known of one content. `size` is None where no row has it, `stored_size` where no bytes are here.

    `records` are DID and URI of those that name it; `takedowns` are DID ("" for every account), reference and time.
    """

    size: int | None
    stored_size: int | None
    holders: list[Entry]
    records: list[tuple[str, str]]
    takedowns: list[tuple[str, str, int]]


@dataclass(frozen=True, slots=True)
class UploadRules:
    """What may be uploaded. Sizes in bytes, the grace time in seconds; 0 is no limit for quota and uploads per day."""

    max_bytes: int = 5_242_880
    allowed_mime_types: tuple[str, ...] = ("*/*",)
    mime_policy: str = "strict"
    quota_bytes: int = 0
    uploads_per_day: int = 0
    uploads_per_address: Limit | None = None
    grace_seconds: float = 86_400
    refuse_location: bool = False

    @classmethod
    def of(cls, config: Config) -> "UploadRules":
        """The rules that the settings make."""
        return cls(
            config.max_blob_size,
            config.allowed_mime_types,
            config.mime_policy,
            config.quota,
            config.uploads_per_day,
            config.uploads_per_address,
            config.unreferenced_grace,
            config.location_metadata == "refuse",
        )


class BlobManager:
    """The blobs of all accounts: bytes in *backend*, everything else in *database*, uploads on their way in *spool*.

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
        verify: bool = False,
    ) -> None:
        """*verify*: a blob is hashed while it is read whole."""
        self.backend = backend
        self.rules = rules
        self._database = database
        self._spool = spool
        self._clock = clock
        self._verify = verify
        # A repeated upload restarts the grace time, which is a write; within this time it may as well not.
        self._fresh = int(rules.grace_seconds * 1_000_000) // 1000
        spool.mkdir(parents=True, exist_ok=True)

    def upload(
        self,
        stream: Reader,
        *,
        did: str,
        declared_type: str | None = None,
        declared_size: int | None = None,
        encodings: tuple[str, ...] = (),
        filename: str | None = None,
        address: str | None = None,
        check_type: Callable[[str], None] = lambda mime_type: None,
        cid: str | None = None,
    ) -> Entry:
        """Store the bytes of *stream*, read to its end, for *did*; durable when it returns.

        *declared_size* is in bytes, None for a chunked body. *encodings* are of `decoding.parse_encodings`.
        *filename* declares the type where *declared_type* does not. *address* is the client's, for limits; None has
        none. *check_type* may refuse, by raising, the type that was settled on. *cid* names the only bytes that are
        wanted. The same bytes again restart the grace time and answer as the first time.

        Raises BlobTooLarge, InvalidMimeType, UploadIncomplete, QuotaExceeded, RateLimitExceeded, InvalidRequest
        for a blob that was taken down or is not *cid*, LocationMetadata, AccountNotFound, InsufficientStorage,
        BackendUnavailable, ServiceBusy.
        """
        if declared_type is None and filename is not None:
            declared_type = mime_type_of_filename(filename)

        def inspect(head: bytes) -> str:
            mime_type = choose_mime_type(
                declared_type,
                head,
                policy=self.rules.mime_policy,
                allowed=self.rules.allowed_mime_types,
            )
            check_type(mime_type)
            return mime_type

        with spooled(
            stream,
            folder=self._spool,
            inspect=inspect,
            max_bytes=self.rules.max_bytes,
            declared_size=declared_size,
            encodings=encodings,
            early_writeback=lambda start: (
                self.backend.is_local_disk
                and not blobs.has_fingerprint(self._database.one_shot(), start)
            ),
        ) as blob:
            if cid not in (None, blob.cid):
                raise InvalidRequest(f"The bytes are those of {blob.cid}")
            return self._keep(did, blob, address)

    def _keep(self, did: str, blob: Spooled, address: str | None) -> Entry:
        if self.rules.refuse_location:
            with blob.view() as data:
                if has_location(data, blob.mime_type):
                    raise LocationMetadata()
        # Not one state of the database, each only a first look: what counts is found out again when the rows are made.
        state = self._admitted(self._database.one_shot(), did, blob)
        for name, subject, limit in self._limits(did, state, address):
            check(self._database.one_shot(), name, subject, limit, self._clock())
        whole = state.stored and self.backend.size(blob.cid) == blob.size
        if whole and state.entry is not None and self._is_fresh(state.entry):
            if self._clock() - state.entry.created_at < _SETTLED:
                self._database.flush_log()
            return state.entry
        facts = _facts(blob)
        for _ in range(_ATTEMPTS):
            row = None if self.backend.stat_is_cheap else self._pin(blob)
            # A row made by this very pin: the one that said "stored" was collected, and the bytes with it.
            whole = whole and row in (None, state.blob_created_at)
            if not whole:
                self.backend.put(blob)
            entry = self._confirm(did, blob, facts, row, address)
            if entry is not None:
                return entry
            whole = False
        # The bytes were sent once more, and the row that would lead a collector to them is gone.
        self._undo_or_leave(blob)
        raise ServiceBusy("The blob was collected while it was uploaded, please try again.")

    def _pin(self, blob: Spooled) -> int:
        with self._database.write() as tx:
            return blobs.pin(tx, blob.cid, blob.size, self._clock())

    def _confirm(
        self, did: str, blob: Spooled, facts: Facts, row: int | None, address: str | None
    ) -> Entry | None:
        """Write the rows; None if the bytes were collected in the meantime. *row* is what `_pin` gave."""
        now = self._clock()
        try:
            with self._database.write() as tx:
                state = self._admitted(tx, did, blob)
                if row is None:
                    if self.backend.size(blob.cid) != blob.size:
                        return None
                elif state.blob_created_at != row:
                    return None
                if not state.stored:
                    blobs.mark_stored(tx, blob.cid, blob.size, now)
                    if blob.fingerprint is not None:
                        blobs.add_fingerprint(tx, blob.cid, blob.fingerprint)
                if state.entry is not None:
                    blobs.restart_grace(tx, did, blob.cid, now)
                    return replace(
                        state.entry, unreferenced_since=state.entry.unreferenced_since and now
                    )
                entry = self._new_entry(did, blob, facts, state, now)
                blobs.add_owner(tx, entry)
                for name, subject, limit in self._limits(did, state, address):
                    count_use(tx, name, subject, limit, now)
                return entry
        except BaseException:
            # Refused after the bytes were stored: another upload took the last of the quota, say.
            self._undo_or_leave(blob)
            raise

    def _new_entry(
        self, did: str, blob: Spooled, facts: Facts, state: UploadState, now: int
    ) -> Entry:
        mime_type = blob.mime_type
        if state.expected_type is not None and is_consistent(state.expected_type, blob.head):
            mime_type = state.expected_type
        return Entry(
            did,
            blob.cid,
            mime_type,
            blob.size,
            now,
            None if state.expected_by_record else now,
            *facts,
        )

    def _admitted(self, tx: Transaction, did: str, blob: Spooled) -> UploadState:
        state = blobs.find_upload_state(tx, did, blob.cid)
        if state is None:
            raise AccountNotFound()
        if state.taken_down:
            raise InvalidRequest("Blob has been takendown, cannot re-upload")
        quota = self.rules.quota_bytes if state.quota_bytes is None else state.quota_bytes
        if state.entry is None and quota and state.blob_bytes + blob.size > quota:
            raise QuotaExceeded(
                f"the account uses {state.blob_bytes} of {quota} bytes, the blob has {blob.size} bytes"
            )
        return state

    def _limits(
        self, did: str, state: UploadState, address: str | None
    ) -> Iterator[tuple[str, str, Limit]]:
        # What is here already costs nothing, and what a record waits for must be able to come, however much it is.
        if state.entry is not None or state.expected_by_record:
            return
        per_day = (
            self.rules.uploads_per_day if state.uploads_per_day is None else state.uploads_per_day
        )
        if per_day:
            yield UPLOADS, did, Limit(per_day, DAY_SECONDS)
        if self.rules.uploads_per_address is not None and address is not None:
            yield UPLOADS, network_of(address), self.rules.uploads_per_address

    def _is_fresh(self, entry: Entry) -> bool:
        return (
            entry.unreferenced_since is None
            or self._clock() - entry.unreferenced_since < self._fresh
        )

    def _undo_or_leave(self, blob: Spooled) -> None:
        if not self._undo(blob.cid):
            blob.keep_for_recovery()

    def _undo(self, cid: str) -> bool:
        """Remove what an upload that failed stored; False, and a line in the log, where that cannot be done now."""
        try:
            delete_unowned(self._database, self.backend, [cid], self._clock)
        except BlobServiceError as error:
            log.warning("an upload of %s failed, and cannot be undone now: %s", cid, error.message)
            return False
        return True

    def recover(self) -> int:
        """Undo what uploads that died in the middle left behind; how many files there were.

        What a store that is away does not let go of stays for the collector.
        """
        count = 0
        for path, cid in stale_files(self._spool):
            if cid is not None and not self._undo(cid):
                break
            path.unlink(missing_ok=True)
            count += 1
        return count

    def describe(
        self, did: str, cid: str, *, viewer: str | None = None, admin: bool = False
    ) -> Entry:
        """The blob as *viewer* (a DID, None for everybody) or an admin may see it.

        Raises RepoNotFound, RepoTakendown, RepoDeactivated, BlobNotFound.
        """
        found = blobs.find_availability(self._database.one_shot(), did, cid)
        if found is None:
            raise RepoNotFound(f"Could not find repo for DID: {did}")
        if not admin and viewer != did:
            check_available(
                did, taken_down=found.account_taken_down, deactivated=found.account_deactivated
            )
        entry = found.entry
        if entry is None or not found.stored or found.taken_down:
            raise BlobNotFound()
        if entry.unreferenced_since is not None and viewer != did:
            raise BlobNotFound()
        return entry

    def open(
        self, entry: Entry, start: int = 0, stop: int | None = None, *, verify: bool = False
    ) -> BinaryIO:
        """The bytes ``[start, stop)`` of what `describe` gave. Raises BlobNotFound, and remembers the loss.

        With *verify*, or where all are verified, so does the last read of a blob whose bytes are wrong.
        """
        try:
            file = self.backend.open(entry.cid, start, stop)
        except BlobNotFound:
            self.mark_lost(entry.cid)
            raise
        if (verify or self._verify) and start == 0 and stop in (None, entry.size):
            return cast(
                BinaryIO,
                VerifyingReader(file, entry.cid, entry.size, partial(self._quarantine, entry.cid)),
            )
        return file

    def _quarantine(self, cid: str) -> None:
        with self._database.read() as tx:
            row = inventory.find_row(tx, cid)
        if row is not None and quarantine(self._database, self.backend, row, self._clock):
            log.warning(
                "the bytes of %s were wrong or short: set aside, and the blob counts as missing",
                cid,
            )

    def check_held(self, entry: Entry) -> None:
        """Whether the bytes of *entry* are there, all of them. Raises BlobNotFound, and remembers the loss."""
        if self.backend.size(entry.cid) != entry.size:
            self.mark_lost(entry.cid)
            raise BlobNotFound()

    def mark_lost(self, cid: str) -> None:
        """The bytes of *cid* are gone, or not all there: it counts as missing until an upload heals it."""
        with self._database.write() as tx:
            if self.backend.size(cid) != blobs.find_size(tx, cid):
                blobs.mark_lost(tx, cid, self._clock())

    def list_missing(self, did: str, after: str, limit: int) -> list[Named]:
        """Up to *limit* blobs that records of *did* name and whose bytes are not here, by CID, after *after*."""
        missing: list[Named] = []
        while len(missing) < limit:
            with self._database.read() as tx:
                step = references.named(tx, did, after, _LIST_STEP)
            missing.extend(named for named in step if not self._is_whole(named))
            if len(step) < _LIST_STEP:
                break
            after = step[-1].cid
        return missing[:limit]

    def _is_whole(self, named: Named) -> bool:
        if named.stored_size is None:
            return False
        # A network store is not asked for each: fsck and reads note what it lost.
        return not self.backend.stat_is_cheap or self.backend.size(named.cid) == named.stored_size

    def usage(self, did: str) -> AccountUsage:
        """What *did* holds; the quota is the one in force, 0 for none. Raises AccountNotFound."""
        with self._database.read() as tx:
            found = blobs.usage(tx, did)
        if found is None:
            raise AccountNotFound()
        return (
            found
            if found.quota_bytes is not None
            else replace(found, quota_bytes=self.rules.quota_bytes)
        )

    def entries(self, did: str | None = None) -> Iterator[Entry]:
        """What *did*, or every account, holds, by DID and CID."""
        after = ("", "") if did is None else (did, "")
        while True:
            with self._database.read() as tx:
                step = blobs.page(tx, after, _LIST_STEP)
            for entry in step:
                if did not in (None, entry.did):
                    return
                yield entry
            if len(step) < _LIST_STEP:
                return
            after = (step[-1].did, step[-1].cid)

    def totals(self) -> Totals:
        """The whole store in numbers."""
        with self._database.read() as tx:
            return inventory.totals(tx)

    def inspect(self, cid: str) -> Inspection | None:
        """All there is to know of *cid*; None if there is nothing."""
        with self._database.read() as tx:
            held = blobs.owners(tx, cid)
            downs = takedowns.of_blob(tx, cid)
            named = references.of_blob(tx, cid, _LIST_STEP)
            size = blobs.find_size(tx, cid)
        if size is None and not downs and not named:
            return None
        return Inspection(size, self.backend.size(cid), held, named, downs)

    def delete_account(self, did: str) -> list[str]:
        """Remove *did* and what it holds; the CIDs of the bytes that are gone with it."""
        return delete_account(self._database, self.backend, did, self._clock)


def _facts(blob: Spooled) -> Facts:
    if blob.mime_type not in PROBED_TYPES:
        return Facts()
    with blob.view() as data:
        return probe(data, blob.mime_type)
