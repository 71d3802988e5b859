"""Imports a repository: its records are written to the index, and older ones are dropped."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path

from aurora_blobs.catalog import migrations, records, references
from aurora_blobs.catalog.record_usage import record_bytes, reference_bytes
from aurora_blobs.catalog.records import AFTER_EVERY_KEY, record_uri
from aurora_blobs.db import STEP_BYTES, STEP_ROWS, Database, Transaction, account_key
from aurora_blobs.disk_space import disk_errors
from aurora_blobs.errors import InvalidRequest, ServiceBusy, UploadIncomplete
from aurora_blobs.intake.body import Reader
from aurora_blobs.intake.spool import spooled
from aurora_blobs.intake.stale_files import exclusive
from aurora_blobs.leases import Holder, Leases
from aurora_blobs.protocol.blob_refs import Reference, find_references
from aurora_blobs.protocol.car import Repository
from aurora_blobs.protocol.car_index import CarIndex
from aurora_blobs.records.changes import RecordChanges, RecordLimits, require_account
from aurora_blobs.records.data_model import record_text

CAR_TYPE = "application/vnd.ipld.car"
# In memory at once, and the range of keys that is compared at once.
_BATCH_RECORDS = 200
# Bytes of the largest file for each block that it may have. Real repositories have 200 to 400, and
# a block costs memory (`CarIndex`) and 3 µs.
_BYTES_PER_BLOCK = 250
_FEWEST_BLOCKS = 10_000
# A sender holds one of few places. Slower ones than this, once the first minute is over, would keep
# others out for days.
_MIN_BYTES_PER_SECOND = 10_000
_FIRST_SECONDS = 60
_COLLECTIONS = 500  # of an account, looked at per statement
_MAX_COLLECTIONS = 10_000  # of a repository; real ones have some dozens


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, in numbers of records; `unchanged` ones were there already."""

    written: int = 0
    unchanged: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class _Record:
    """A record as it is kept: `text` is JSON. The value itself takes up to 50 times its size."""

    collection: str
    rkey: str
    cid: str
    text: str
    references: list[Reference]


@dataclass(frozen=True, slots=True)
class _Batch:
    """All records of a collection whose key is greater than `after` and at most `until`."""

    collection: str
    after: str
    until: str
    records: list[_Record]


class RepoImporter:
    """Imports CAR files of at most *max_bytes*, which pass through the folder *spool*.

    With 0 bytes no imports are accepted. *at_once* are under way at the same time on a node, one of
    each account over all nodes that *leases* knows of. *clock* gives microseconds since the epoch,
    UTC, *timer* seconds that pass evenly.
    """

    def __init__(
        self,
        database: Database,
        *,
        spool: Path,
        max_bytes: int,
        clock: Callable[[], int],
        limits: RecordLimits | None = None,
        at_once: int = 2,
        leases: Leases | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._spool = spool
        self._max_bytes = max_bytes
        self._clock = clock
        self._limits = limits or RecordLimits()
        self._at_once = at_once
        self._leases = leases or Leases(database)
        self._timer = timer

    def receive(
        self,
        stream: Reader,
        *,
        did: str | None,
        check: Callable[[str], None],
        admit: Callable[[Repository], None] = lambda repository: None,
        by_admin: bool = False,
        declared_size: int | None = None,
        encodings: tuple[str, ...] = (),
    ) -> Imported:
        """Import the CAR file in *stream*, of the account *did*; None: of any account.

        *check* gets the repository's DID as soon as the file tells it, *admit* the repository when
        all of the file is here. Both may raise. Whatever is wrong with the blocks ends the import
        when it arrives. *by_admin* as in `run`.

        *declared_size* is in bytes, None for a chunked body. *encodings* are those of
        `decoding.parse_encodings`.
        Raises what `run` raises, BlobTooLarge, UploadIncomplete, InsufficientStorage.
        """
        if not self._max_bytes:
            raise InvalidRequest("Service is not accepting repo imports")
        self._database.space.require()
        with ExitStack() as held:
            self._take_place(held)
            turn = self._leases.holder("import")
            if did is not None:
                self._lock(held, turn, did)

            def on_owner(found: str) -> None:
                check(found)
                if did is None:
                    self._lock(held, turn, found)

            max_blocks = max(self._max_bytes // _BYTES_PER_BLOCK, _FEWEST_BLOCKS)
            index = CarIndex(max_blocks=max_blocks, on_owner=on_owner)
            car = held.enter_context(
                spooled(
                    _Steady(stream, self._timer, turn),
                    folder=self._spool,
                    space=self._database.space,
                    inspect=lambda head: CAR_TYPE,
                    max_bytes=self._max_bytes,
                    declared_size=declared_size,
                    encodings=encodings,
                    watch=index.feed,
                )
            )
            index.close()
            repository = Repository(held.enter_context(car.open()), index)
            admit(repository)
            return self._run(repository, by_admin, turn)

    def run(self, repository: Repository, *, by_admin: bool = False) -> Imported:
        """Replace the records of its account by those of *repository*; blobs may come later.

        If the account is deactivated, or the import is *by_admin*, it moves in: until it is
        activated, and once in its life, the blobs that its records name are in no limit of uploads.

        The repository is first read to its end, so a bad one changes nothing. Records that a
        client writes during the import stay. An import that failed half way can be repeated.

        Raises InvalidRequest as `Repository.records` does, QuotaExceeded, RepoNotFound, and
        ServiceBusy while another import of the repository is under way.
        """
        with ExitStack() as held:
            turn = self._leases.holder("import")
            self._lock(held, turn, repository.did)
            return self._run(repository, by_admin, turn)

    def _take_place(self, held: ExitStack) -> None:
        # A place is not waited for while another may be free.
        for waits in (False, True):
            for number in range(self._at_once):
                if self._is_locked(held, f"import.place{number}", waits=waits):
                    return
        raise ServiceBusy(
            f"{self._at_once} repositories are being imported, no more at once are accepted:"
            " please try again."
        )

    def _lock(self, held: ExitStack, turn: Holder, did: str) -> None:
        digest = sha256(did.encode()).hexdigest()
        is_ours = self._is_locked(held, f"import.{digest}")
        if not (is_ours and held.enter_context(turn.having(digest))):
            raise ServiceBusy("Another import of this repository is under way, please try again.")

    def _is_locked(self, held: ExitStack, name: str, *, waits: bool = True) -> bool:
        with disk_errors():
            return held.enter_context(exclusive(self._spool, name, waits=waits))

    def _run(self, repository: Repository, by_admin: bool, turn: Holder) -> Imported:
        did = repository.did
        began = self._begin(did, turn)
        found = self._validated(repository, turn)
        written = unchanged = dropped = 0
        seen = set()
        for batch in _batches(found):
            seen.add(batch.collection)
            changed = self._write_batch(did, batch, began, turn)
            written += changed
            unchanged += len(batch.records) - changed
            dropped += self._drop_absent(did, batch, began, turn)
        for collection in self._collections(did):
            if collection not in seen:
                nothing = _Batch(collection, "", AFTER_EVERY_KEY, [])
                dropped += self._drop_absent(did, nothing, began, turn)
        self._move_in(did, by_admin, turn)
        return Imported(written, unchanged, dropped)

    def _collections(self, did: str) -> Iterator[str]:
        return self._database.in_pages(
            lambda tx, after, limit: records.collections(tx, did, limit, after),
            "",
            lambda collection: collection,
            limit=_COLLECTIONS,
        )

    def _begin(self, did: str, turn: Holder) -> str:
        """A revision between what was written before and what is written from now on."""
        with self._database.write(keys=(account_key(did),)) as tx:
            turn.require(tx)
            changes = RecordChanges(tx, did, self._clock())
            changes.finish()
            return changes.rev

    def _move_in(self, did: str, by_admin: bool, turn: Holder) -> None:
        def moves_in(tx: Transaction) -> bool:
            return by_admin or require_account(tx, did).deactivated_at is not None

        with self._database.read() as tx:
            if not moves_in(tx):
                return
            named = references.count(tx, did)
        with self._database.write(keys=(account_key(did),)) as tx:
            turn.require(tx)
            if moves_in(tx):
                migrations.allow(tx, did, named)

    def _validated(self, repository: Repository, turn: Holder) -> Iterable[_Record]:
        """The records of *repository*, which was read to its end; few are not read again."""
        total = collections = 0
        last = ""
        few: list[_Record] | None = []
        for record in self._records(repository, turn):
            collections += record.collection != last
            last = record.collection
            if collections > _MAX_COLLECTIONS:
                raise InvalidRequest(
                    f"Invalid repository: more than {_MAX_COLLECTIONS} collections"
                )
            uri = record_uri(repository.did, record.collection, record.rkey)
            named = {reference.cid for reference in record.references}
            total += record_bytes(uri, record.text)
            total += sum(reference_bytes(uri, cid) for cid in named)
            self._limits.check_bytes(total)
            if few is not None and len(few) < _BATCH_RECORDS and total <= STEP_BYTES:
                few.append(record)
            else:
                few = None
        return self._records(repository, turn) if few is None else few

    def _records(self, repository: Repository, turn: Holder) -> Iterator[_Record]:
        for found in repository.records(self._max_bytes):
            turn.keep()
            named = list(find_references(found.value))
            try:
                self._limits.check_references(len(named))
            except InvalidRequest as error:
                name = f"{found.collection}/{found.rkey}"
                raise InvalidRequest(f"Invalid repository: {name}: {error.message}") from None
            yield _Record(found.collection, found.rkey, found.cid, record_text(found.value), named)

    def _write_batch(self, did: str, batch: _Batch, began: str, turn: Holder) -> int:
        """Write the records of *batch*; how many were not there already."""
        left = deque(batch.records)
        count = 0

        def step(tx: Transaction) -> bool:
            nonlocal count
            turn.require(tx)
            changes = RecordChanges(tx, did, self._clock())  # it may have been deleted by now
            while left and not changes.is_full:
                if self._write(tx, did, changes, left.popleft(), began):
                    count += 1
            if changes.rows:
                changes.finish()
            return bool(left)

        self._database.in_steps(step, keys=(account_key(did),))
        return count

    def _write(
        self, tx: Transaction, did: str, changes: RecordChanges, record: _Record, began: str
    ) -> bool:
        before = changes.find(record.collection, record.rkey)
        # Unchanged, or written by a client since the import began.
        if before is not None and (before.cid == record.cid or before.rev > began):
            return False
        named_before = changes.put(
            record.collection, record.rkey, record.cid, record.text, record.references, before
        )
        for reference in record.references:
            references.publish(tx, did, reference.cid)
        for cid in named_before:
            references.retire(tx, did, cid, self._clock())
        return True

    def _drop_absent(self, did: str, batch: _Batch, began: str, turn: Holder) -> int:
        """Drop records in the range of *batch*, of before *began*, that *batch* lacks; how many."""
        kept = {record.rkey for record in batch.records}
        keys = self._database.in_pages(
            lambda tx, after, limit: records.keys_before(
                tx, did, batch.collection, after, batch.until, began, limit
            ),
            batch.after,
            lambda rkey: rkey,
            limit=_BATCH_RECORDS,
        )
        absent = (rkey for rkey in keys if rkey not in kept)
        count = 0
        while some := deque(islice(absent, _BATCH_RECORDS)):
            turn.keep()
            count += self._drop(did, batch.collection, some, began, turn)
        return count

    def _drop(self, did: str, collection: str, keys: deque[str], began: str, turn: Holder) -> int:
        count = 0

        def step(tx: Transaction) -> bool:
            nonlocal count
            turn.require(tx)
            changes = RecordChanges(tx, did, self._clock())
            while keys and not changes.is_full:
                rkey = keys.popleft()
                before = changes.find(collection, rkey)
                if before is not None and before.rev < began:
                    for cid in changes.drop(collection, rkey, before):
                        references.retire(tx, did, cid, self._clock())
                    count += 1
            changes.finish()
            return bool(keys)

        self._database.in_steps(step, keys=(account_key(did),))
        return count


class _Steady:
    """The body *stream* of a sender who has to be fast enough; *timer* gives seconds.

    *turn* is kept while it comes.
    """

    def __init__(self, stream: Reader, timer: Callable[[], float], turn: Holder) -> None:
        self._stream = stream
        self._turn = turn
        self._timer = timer
        self._began = timer()
        self._received = 0

    def read(self, size: int, /) -> bytes:
        self._turn.keep()
        data = self._stream.read(size)
        self._received += len(data)
        seconds = self._timer() - self._began
        if seconds > _FIRST_SECONDS and self._received < seconds * _MIN_BYTES_PER_SECOND:
            raise UploadIncomplete(
                f"the repository comes too slowly: {self._received} bytes in {seconds:.0f} seconds,"
                f" at least {_MIN_BYTES_PER_SECOND} a second are expected"
            )
        return data


def _batches(found: Iterable[_Record]) -> Iterator[_Batch]:
    """*found*, in the order of its keys, as batches that together cover each collection."""
    batch: list[_Record] = []
    after, size, rows = "", 0, 0
    for record in found:
        if batch and record.collection != batch[0].collection:
            yield _Batch(batch[0].collection, after, AFTER_EVERY_KEY, batch)
            batch, after, size, rows = [], "", 0, 0
        elif len(batch) == _BATCH_RECORDS or size > STEP_BYTES or rows > STEP_ROWS:
            yield _Batch(record.collection, after, batch[-1].rkey, batch)
            batch, after, size, rows = [], batch[-1].rkey, 0, 0
        batch.append(record)
        size += len(record.text)
        rows += 1 + len(record.references)
    if batch:
        yield _Batch(batch[0].collection, after, AFTER_EVERY_KEY, batch)
