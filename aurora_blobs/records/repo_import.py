"""Imports a repository: its records are written to the index, and older ones are dropped."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from aurora_blobs.catalog import records, references
from aurora_blobs.catalog.records import AFTER_EVERY_KEY, Record, record_uri
from aurora_blobs.db import Database, Transaction
from aurora_blobs.errors import InvalidRequest, ServiceBusy
from aurora_blobs.intake.body import Reader
from aurora_blobs.intake.spool import spooled
from aurora_blobs.intake.stale_files import exclusive
from aurora_blobs.protocol.blob_refs import find_references
from aurora_blobs.protocol.car import CarRecord, Repository
from aurora_blobs.protocol.syntax import new_tid
from aurora_blobs.records.data_model import record_text
from aurora_blobs.records.index import require_account

CAR_TYPE = "application/vnd.ipld.car"
# Per transaction: other writers do not wait for long, and large records do not fill the memory.
_BATCH_RECORDS = 200
_BATCH_BYTES = 4 * 2**20
_EVERY_COLLECTION = 2**31


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, in numbers of records; `unchanged` ones were there already."""

    written: int = 0
    unchanged: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    """All records of a collection whose key is greater than `after` and at most `until`."""

    collection: str
    after: str
    until: str
    records: list[CarRecord]


class RepoImporter:
    """Imports CAR files of at most *max_bytes*, which pass through the folder *spool*.

    With 0 bytes no imports are accepted. *clock* gives microseconds since the epoch, UTC.
    """

    def __init__(
        self, database: Database, *, spool: Path, max_bytes: int, clock: Callable[[], int]
    ) -> None:
        self._database = database
        self._spool = spool
        self._max_bytes = max_bytes
        self._clock = clock

    def receive(
        self,
        stream: Reader,
        *,
        admit: Callable[[str], None],
        declared_size: int | None = None,
        encodings: tuple[str, ...] = (),
    ) -> Imported:
        """Import the CAR file in *stream*. *admit* gets the repository's DID, and may raise.

        *declared_size* is in bytes, None for a chunked body. *encodings* are those of
        `decoding.parse_encodings`.
        Raises what `run` raises, BlobTooLarge, UploadIncomplete, InsufficientStorage.
        """
        if not self._max_bytes:
            raise InvalidRequest("Service is not accepting repo imports")
        with (
            spooled(
                stream,
                folder=self._spool,
                inspect=lambda head: CAR_TYPE,
                max_bytes=self._max_bytes,
                declared_size=declared_size,
                encodings=encodings,
            ) as car,
            car.open() as file,
        ):
            repository = Repository(file)
            admit(repository.did)
            return self.run(repository)

    def run(self, repository: Repository) -> Imported:
        """Replace the records of its account by those of *repository*; blobs may come later.

        The repository is first read to its end, so a bad one changes nothing. Records that a
        client writes during the import stay. An import that failed half way can be repeated.
        Raises InvalidRequest as `Repository.records` does, RepoNotFound, and ServiceBusy while
        another import of the repository is under way.
        """
        with exclusive(
            self._spool, f"import.{sha256(repository.did.encode()).hexdigest()}"
        ) as is_alone:
            if not is_alone:
                raise ServiceBusy(
                    "Another import of this repository is under way, please try again."
                )
            return self._run(repository)

    def _run(self, repository: Repository) -> Imported:
        rev = self._next_rev(repository.did)
        for _ in repository.records(self._max_bytes):
            pass  # a bad repository raises here, before anything is written
        with self._database.write() as tx:
            records.raise_rev(tx, repository.did, rev)
        written = unchanged = dropped = 0
        seen = set()
        for batch in _batches(repository.records(self._max_bytes)):
            seen.add(batch.collection)
            changed = self._write_batch(repository.did, batch, rev)
            written += changed
            unchanged += len(batch.records) - changed
            dropped += self._drop_absent(repository.did, batch, rev)
        with self._database.read() as tx:
            gone = [
                collection
                for collection in records.collections(tx, repository.did, _EVERY_COLLECTION)
                if collection not in seen
            ]
        for collection in gone:
            nothing = _Batch(collection, "", AFTER_EVERY_KEY, [])
            dropped += self._drop_absent(repository.did, nothing, rev)
        return Imported(written, unchanged, dropped)

    def _next_rev(self, did: str) -> str:
        with self._database.read() as tx:
            return new_tid(self._clock(), require_account(tx, did).rev)

    def _write_batch(self, did: str, batch: _Batch, rev: str) -> int:
        """Write the records of *batch*; how many were not there already."""
        with self._database.write() as tx:
            require_account(tx, did)  # it may have been deleted since the last batch
            count = 0
            for record in batch.records:
                if self._write(tx, did, record, rev):
                    count += 1
            return count

    def _write(self, tx: Transaction, did: str, found: CarRecord, rev: str) -> bool:
        before = records.find(tx, did, found.collection, found.rkey)
        # Unchanged, or written by a client since the import began.
        if before is not None and (before.cid == found.cid or before.rev > rev):
            return False
        text = record_text(found.value)
        record = Record(did, found.collection, found.rkey, found.cid, text, rev)
        named_before = references.drop_record(tx, did, record.uri)
        records.put(tx, record)
        for reference in find_references(found.value):
            references.add(tx, did, record.uri, reference, rev)
            references.publish(tx, did, reference.cid)
        for cid in named_before:
            references.retire(tx, did, cid, self._clock())
        return True

    def _drop_absent(self, did: str, batch: _Batch, rev: str) -> int:
        """Drop records in the range of *batch*, of before *rev*, that *batch* lacks; how many."""
        kept = {record.rkey for record in batch.records}
        count, after = 0, batch.after
        while True:
            with self._database.write() as tx:
                step = records.keys_before(
                    tx, did, batch.collection, after, batch.until, rev, _BATCH_RECORDS
                )
                for rkey in step:
                    if rkey not in kept:
                        self._drop(tx, did, batch.collection, rkey)
                        count += 1
            if len(step) < _BATCH_RECORDS:
                return count
            after = step[-1]

    def _drop(self, tx: Transaction, did: str, collection: str, rkey: str) -> None:
        records.delete(tx, did, collection, rkey)
        for cid in references.drop_record(tx, did, record_uri(did, collection, rkey)):
            references.retire(tx, did, cid, self._clock())


def _batches(found: Iterable[CarRecord]) -> Iterator[_Batch]:
    """*found*, in the order of its keys, as batches that together cover each collection."""
    batch: list[CarRecord] = []
    after, size = "", 0
    for record in found:
        if batch and record.collection != batch[0].collection:
            yield _Batch(batch[0].collection, after, AFTER_EVERY_KEY, batch)
            batch, after, size = [], "", 0
        elif len(batch) == _BATCH_RECORDS or size > _BATCH_BYTES:
            yield _Batch(record.collection, after, batch[-1].rkey, batch)
            batch, after, size = [], batch[-1].rkey, 0
        batch.append(record)
        size += record.size
    if batch:
        yield _Batch(batch[0].collection, after, AFTER_EVERY_KEY, batch)
