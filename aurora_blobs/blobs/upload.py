"""One upload: a stream of bytes becomes a blob of an account."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from aurora_blobs.blobs.deletion import delete_unowned
from aurora_blobs.catalog import blobs, migrations, removals
from aurora_blobs.catalog.blobs import Entry, UploadState
from aurora_blobs.config import Config
from aurora_blobs.config_values import Limit
from aurora_blobs.db import Database, Key, Transaction, account_key, blob_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import (
    AccountNotFound,
    BlobServiceError,
    InsufficientStorage,
    InvalidRequest,
    LocationMetadata,
    QuotaExceeded,
    ServiceBusy,
    WrongBytes,
)
from aurora_blobs.intake.body import Reader
from aurora_blobs.intake.spool import Spooled, spooled
from aurora_blobs.intake.spool_budget import Share
from aurora_blobs.media.location import has_location
from aurora_blobs.media.mime import (
    check_allowed,
    choose_mime_type,
    declared_charset,
    is_consistent,
    mime_type_of_filename,
)
from aurora_blobs.media.probe import PROBED_TYPES, Facts, probe
from aurora_blobs.protocol.cid import object_name
from aurora_blobs.protocol.syntax import stated_mime_type
from aurora_blobs.rate_limits import DAY_SECONDS, UPLOADS, check, count_use
from aurora_blobs.server.addresses import network_of
from aurora_blobs.storage.base import BlobBackend

log = logging.getLogger(__name__)

_ATTEMPTS = 5  # to store bytes that a collector removes at the same moment; two were never seen
_FLUSHED_AFTER = 60_000_000  # µs after which a row is on the disk; a guess, far above any flush


def accept_any_type(mime_type: str) -> None:
    """Accept every media type."""


def ignore_limit(uploads: int | None) -> None:
    """Do nothing with the account's own limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A stream, and what is known of its bytes before they are read.

    `declared_size` is in bytes, None for a chunked body. `encodings` are those of
    `decoding.parse_encodings`. `filename` declares the media type where `declared_type` is None.
    `address` is the client's; None is not limited by address. `check_type` gets the media type
    that was chosen and refuses it by raising. `note_limit` gets the account's own limit of uploads
    a day, None for the settings' default. With `expected_cid`, other bytes are refused.
    `upstream_type` is the media type that the blob has where it is copied from: it counts in place
    of the one that a record states.
    `also_write` gets the account's entry, in the transaction that writes it. With `writes_alone`
    that transaction has no keys: it may change a takedown.
    """

    stream: Reader
    did: str
    declared_type: str | None = None
    declared_size: int | None = None
    encodings: tuple[str, ...] = ()
    filename: str | None = None
    address: str | None = None
    check_type: Callable[[str], None] = accept_any_type
    note_limit: Callable[[int | None], None] = ignore_limit
    expected_cid: str | None = None
    upstream_type: str | None = None
    also_write: Callable[[Transaction, Entry], None] | None = None
    writes_alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRules:
    """What may be uploaded. Sizes are in bytes; 0 is no limit for quota and uploads per day."""

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
            max_bytes=config.max_blob_size,
            allowed_mime_types=config.allowed_mime_types,
            mime_policy=config.mime_policy,
            quota_bytes=config.quota,
            uploads_per_day=config.uploads_per_day,
            uploads_per_address=config.uploads_per_address,
            grace_seconds=config.unreferenced_grace,
            refuse_location=config.location_metadata == "refuse",
        )


@dataclass(slots=True, kw_only=True, eq=False)
class Upload:
    """One upload under way. `run` is all of it, and the attributes are its state.

    `Together` calls the parts of `run`, for several at once.

    `state` is what the database last said of account and blob. The bytes lie under `name` then, or
    are to lie there if there is no row. `is_stored` says that the backend has the bytes, as far as
    is known. `put` are the names under which this upload has put them there. `pinned` is created_at
    and number of the `blob` row that was pinned for them, None where none was.
    """

    incoming: Incoming
    backend: BlobBackend
    database: Database
    spool: Path
    rules: UploadRules
    clock: Callable[[], int]
    share: Share
    blob: Spooled = field(init=False)
    state: UploadState = field(init=False)
    name: str = field(init=False)
    facts: Facts = field(init=False)
    is_stored: bool = field(init=False)
    put: set[str] = field(init=False, default_factory=set)
    pinned: tuple[int, int] | None = field(init=False, default=None)

    def run(self) -> Entry:
        """Store the bytes; the account's entry of them. Raises as `BlobManager.upload`."""
        self.backend.confirm()  # before the client has sent its bytes in vain
        with self.share, self.receive() as self.blob:
            return self.look() or self.keep()

    def look(self) -> Entry | None:
        """Refuse early what `write` would refuse; the entry where there is nothing to do."""
        self._refuse_unwanted()
        self._look_up()
        known = self._known_entry()
        if known is None:
            self.facts = _facts_of(self.blob)
        return known

    def keep(self) -> Entry:
        """Store the bytes that are wanted, and write their rows."""
        for _ in range(_ATTEMPTS):
            if self.place():
                self.backend.put(self.blob)
            entry = self._confirm()
            if entry is not None:
                self.tidy(entry)
                return entry
        # The bytes were stored once more, and no row is left to lead a collector to them.
        self.undo()
        raise ServiceBusy("The blob was collected while it was uploaded, please try again.")

    def receive(self) -> AbstractContextManager[Spooled]:
        """Read the stream to its end; the block has what is to be the `blob`."""
        return spooled(
            self.incoming.stream,
            folder=self.spool,
            space=self.database.space,
            inspect=self._choose_type,
            max_bytes=self.rules.max_bytes,
            declared_size=self.incoming.declared_size,
            encodings=self.incoming.encodings,
            early_writeback=self._writes_back_early,
            reserve=self.share.reserve,
        )

    def _choose_type(self, head: bytes) -> str:
        declared_type = self.incoming.declared_type
        if declared_type is None and self.incoming.filename is not None:
            declared_type = mime_type_of_filename(self.incoming.filename)
        mime_type = choose_mime_type(
            declared_type,
            head,
            policy=self.rules.mime_policy,
            allowed=self.rules.allowed_mime_types,
        )
        self.incoming.check_type(mime_type)
        return mime_type

    def _writes_back_early(self, fingerprint: int) -> bool:
        # A blob that looks like one we hold need not get to the disk once more.
        return self.backend.is_local_disk and not blobs.has_fingerprint(
            self.database.one_shot(), fingerprint
        )

    def _refuse_unwanted(self) -> None:
        if self.incoming.expected_cid not in (None, self.blob.cid):
            raise WrongBytes(f"The bytes are those of {self.blob.cid}")
        if self.rules.refuse_location:
            with self.blob.view() as data:
                if has_location(data, self.blob.mime_type):
                    raise LocationMetadata()

    def _look_up(self) -> None:
        """Find out what is known, and whether the bytes are here.

        Each statement sees a state of its own. `write` asks again, in one transaction.
        """
        self._admit(self.database.one_shot())
        self.incoming.note_limit(self.state.uploads_per_day)
        self._check_final_type()
        for name, subject, limit in self._limits():
            check(self.database.one_shot(), name, subject, limit, self.clock())
        self.is_stored = self.state.stored and self.backend.size(self.name) == self.blob.size

    def _admit(self, tx: Transaction) -> None:
        state = blobs.find_upload_state(tx, self.incoming.did, self.blob.cid)
        if state is None:
            raise AccountNotFound()
        if state.taken_down:
            raise InvalidRequest("Blob has been takendown, cannot re-upload")
        quota = self.rules.quota_bytes if state.quota_bytes is None else state.quota_bytes
        if state.entry is None and quota and state.blob_bytes + self.blob.size > quota:
            raise QuotaExceeded(
                f"the account uses {state.blob_bytes} of {quota} bytes,"
                f" the blob has {self.blob.size} bytes"
            )
        self.state = state
        self.name = object_name(self.blob.cid, 0 if state.row is None else state.row[1])

    def _limits(self) -> Iterator[tuple[str, str, Limit]]:
        """Name, subject and limit of each counter that this upload is counted in."""
        # A blob that the account owns costs nothing.
        if self.state.entry is not None or self.state.moves_in:
            return
        per_day = self.state.uploads_per_day
        if per_day is None:
            per_day = self.rules.uploads_per_day
        if per_day:
            yield UPLOADS, self.incoming.did, Limit(per_day, DAY_SECONDS)
        if self.rules.uploads_per_address is not None and self.incoming.address is not None:
            yield UPLOADS, network_of(self.incoming.address), self.rules.uploads_per_address

    def _known_entry(self) -> Entry | None:
        """The account's entry, durable, if the upload would change nothing."""
        entry = self.state.entry
        if entry is None or not self.is_stored or self._restarts_grace(entry):
            return None
        if self.incoming.also_write is not None:
            return None
        if self.clock() - entry.created_at < _FLUSHED_AFTER:
            self.database.flush_log()
        return entry

    def _restarts_grace(self, entry: Entry) -> bool:
        if entry.unreferenced_since is None:
            return False
        # A restart is a write, which is not worth it within a thousandth of the grace time.
        elapsed = self.clock() - entry.unreferenced_since
        # It is negative if the clock was ahead at the last upload.
        return not 0 <= elapsed < self.rules.grace_seconds * 1000

    def place(self) -> bool:
        """Say under which name the bytes are to lie, and whether they have yet to be put there.

        For a network store a row names them first.
        """
        self.blob.name = self.name
        self.pinned = None
        if not self.backend.stat_is_cheap or self._is_name_in_doubt():
            self.pinned = blobs.pin(
                self.database.one_change(keys=(blob_key(self.blob.cid),)),
                self.blob.cid,
                self.blob.size,
                removals.new_number(),
                self.clock(),
            )
            self.blob.name = object_name(self.blob.cid, self.pinned[1])
            if self.pinned != self.state.row:
                # The row that said "stored" was collected, and the bytes with it.
                self.is_stored = False
        if not self.is_stored:
            self.put.add(self.blob.name)
        return not self.is_stored

    def _is_name_in_doubt(self) -> bool:
        """Whether the bytes may not lie under the CID alone: a removal may still come."""
        return self.state.row is None and self.state.is_being_removed

    def _confirm(self) -> Entry | None:
        """As `write`, in a transaction of its own."""
        now = self.clock()
        try:
            # The counters' rows have no keys.
            return self.database.transact(partial(self.write, now), keys=self.keys)
        except ServiceBusy as error:
            self.leave(error)
            raise
        except BaseException:
            # Refused after the bytes were stored: another upload took the last of the quota, say.
            self.undo()
            raise

    def write(self, now: int, tx: Transaction) -> Entry | None:
        """Write the rows; None if the bytes were collected in the meantime."""
        self._admit(tx)
        self._check_final_type()
        self.is_stored = self._is_still_stored()
        if not self.is_stored:
            return None
        entry = self._write_rows(tx, now)
        if self.incoming.also_write is not None:
            self.incoming.also_write(tx, entry)
        return entry

    @property
    def keys(self) -> tuple[Key, ...]:
        """Those of the transaction in which `write` is called."""
        if self.incoming.writes_alone:
            return ()
        return account_key(self.incoming.did), blob_key(self.blob.cid)

    def _is_still_stored(self) -> bool:
        if self.pinned is not None:
            return self.state.row == self.pinned
        # Without a row, bytes are those of another upload, perhaps not on the disk yet.
        is_durable = self.state.stored or (self.name in self.put and not self._is_name_in_doubt())
        return is_durable and self.backend.size(self.name) == self.blob.size

    def _write_rows(self, tx: Transaction, now: int) -> Entry:
        if not self.state.stored or self.name in self.put:
            blobs.mark_stored(tx, self.blob.cid, self.blob.size, now)
            if self.blob.fingerprint is not None:
                blobs.add_fingerprint(tx, self.blob.cid, self.blob.fingerprint)
        if self.state.entry is not None:
            return self._restart_grace(tx, self.state.entry, now)
        entry = self._new_entry(now)
        blobs.add_owner(tx, entry)
        if self.state.moves_in:
            migrations.count_upload(tx, entry.did)
        if entry.mime_type.startswith("text/"):
            charset = declared_charset(self.incoming.declared_type)
            if charset is not None:
                blobs.set_charset(tx, entry.did, entry.cid, charset)
        for name, subject, limit in self._limits():
            count_use(tx, name, subject, limit, now)
        return entry

    def _restart_grace(self, tx: Transaction, entry: Entry, now: int) -> Entry:
        blobs.restart_grace(tx, entry.did, entry.cid, now)
        if entry.unreferenced_since is None:
            return entry
        return replace(entry, unreferenced_since=now)

    def _final_type(self) -> str:
        """The type that a record states, unless the bytes contradict it; else that of the upload.

        Rows of earlier versions may have a text that is no media type.
        """
        expected = stated_mime_type(self.incoming.upstream_type or self.state.expected_type)
        if expected is None or expected == self.blob.mime_type:
            return self.blob.mime_type  # without another look at the bytes
        if not is_consistent(expected, self.blob.head, self.rules.mime_policy):
            return self.blob.mime_type
        return expected

    def _check_final_type(self) -> None:
        """Hold the rules of `_choose_type` against the type that a record states."""
        final = self._final_type()
        if self.state.entry is None and final != self.blob.mime_type:
            check_allowed(final, self.rules.allowed_mime_types)
            self.incoming.check_type(final)

    def _new_entry(self, now: int) -> Entry:
        unreferenced_since = None if self.state.expected_by_record else now
        return Entry(
            self.incoming.did,
            self.blob.cid,
            self._final_type(),
            self.blob.size,
            now,
            unreferenced_since,
            *self.facts,
            number=0 if self.state.row is None else self.state.row[1],
        )

    def tidy(self, entry: Entry) -> None:
        """Remove what was put under other names than that of *entry*, which was written."""
        leftovers = self.put - {entry.name}
        if leftovers:
            self._remove([], leftovers, "has left bytes that cannot be removed now")

    def undo(self) -> None:
        """Remove what was stored. `keep` begins anew then."""
        self._remove([self.blob.cid], self.put, "failed, and cannot be undone now")
        self.put.clear()
        self.is_stored = False

    def leave(self, error: ServiceBusy) -> None:
        """The database has made wait long enough, and the rows may be there: undo it later."""
        self._leave(error, "failed, and is undone later")

    def _remove(self, cids: list[str], leftovers: set[str], what: str) -> None:
        """`delete_unowned`, or `_leave` where that cannot be now."""
        remove = partial(
            delete_unowned, self.database, self.backend, cids, self.clock, leftovers=leftovers
        )
        try:
            try:
                remove(Spend.LEFT)
            except InsufficientStorage:
                remove(Spend.HALF)  # full: better nobody gets this far than that something is left
        except BlobServiceError as error:
            self._leave(error, what)

    def _leave(self, error: BlobServiceError, what: str) -> None:
        """Leave what was stored to `BlobManager.recover`, which removes it if nobody owns it."""
        log.warning("an upload of %s %s: %s", self.blob.cid, what, error.message)
        self.blob.keep_for_recovery()


def _facts_of(blob: Spooled) -> Facts:
    if blob.mime_type not in PROBED_TYPES:
        return Facts()
    with blob.view() as data:
        return probe(data, blob.mime_type)
