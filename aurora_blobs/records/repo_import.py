"""Takes over the records of a repository: what it has is kept, what it has not any more is dropped."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from aurora_blobs.catalog import accounts, records, references
from aurora_blobs.catalog.accounts import Account
from aurora_blobs.catalog.records import AFTER_EVERY_KEY, Record
from aurora_blobs.db import Database, Transaction
from aurora_blobs.errors import InvalidRequest, RepoNotFound, ServiceBusy
from aurora_blobs.intake.body import Reader
from aurora_blobs.intake.spool import spooled
from aurora_blobs.intake.stale_files import exclusive
from aurora_blobs.protocol.blob_refs import find_references
from aurora_blobs.protocol.car import CarRecord, Repository
from aurora_blobs.protocol.syntax import new_tid
from aurora_blobs.records.index import as_text

CAR_TYPE = "application/vnd.ipld.car"
# Per transaction, so that other writers need not wait for long, nor a few large records fill the memory.
_BATCH_RECORDS = 200
_BATCH_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import came to, in records; `unchanged` ones were there already."""

    written: int = 0
    unchanged: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Records of one collection, and all that the repository has there after the key `after` up to `until`."""

    collection: str
    after: str
    until: str
    records: list[CarRecord]


class RepoImporter:
    """*spool* is a folder for files on their way in, *max_bytes* what one may have; 0 is no imports at all.

    *clock* gives microseconds since the epoch, UTC.
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
        """Import the CAR file in *stream*; *admit* is told whose repository it is, and may refuse by raising.

        *declared_size* is in bytes, None for a chunked body. *encodings* are of `decoding.parse_encodings`.
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
        """Make the records of its account those of *repository*; the blobs that they name may come later.

        The repository is read to its end before anything is written: a bad one changes nothing. What a client writes
        meanwhile stays. Repeated after a failure of ours, it completes what was begun.
        Raises InvalidRequest, as `Repository.records` does, RepoNotFound, and ServiceBusy while another is under way.
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
            pass
        with self._database.write() as tx:
            records.raise_rev(tx, repository.did, rev)
        written = unchanged = dropped = 0
        seen = set()
        for batch in _batches(repository.records(self._max_bytes)):
            seen.add(batch.collection)
            changed = self._keep(repository.did, batch, rev)
            written += changed
            unchanged += len(batch.records) - changed
            dropped += self._drop(repository.did, batch, rev)
        with self._database.read() as tx:
            gone = [
                collection
                for collection in records.collections(tx, repository.did)
                if collection not in seen
            ]
        for collection in gone:
            dropped += self._drop(repository.did, _Batch(collection, "", AFTER_EVERY_KEY, []), rev)
        return Imported(written, unchanged, dropped)

    def _next_rev(self, did: str) -> str:
        with self._database.read() as tx:
            return new_tid(self._clock(), _require(tx, did).rev)

    def _keep(self, did: str, batch: _Batch, rev: str) -> int:
        with self._database.write() as tx:
            _require(tx, did)  # it may have been deleted since the last batch
            return sum(self._put(tx, did, record, rev) for record in batch.records)

    def _put(self, tx: Transaction, did: str, record: CarRecord, rev: str) -> bool:
        before = records.find(tx, did, record.collection, record.rkey)
        if before is not None and (before.cid == record.cid or before.rev > rev):
            return False
        kept = Record(did, record.collection, record.rkey, record.cid, as_text(record.value), rev)
        named_before = references.drop_record(tx, did, kept.uri)
        records.put(tx, kept)
        for reference in find_references(record.value):
            references.add(tx, did, kept.uri, reference, rev)
            references.publish(tx, did, reference.cid)
        for cid in named_before:
            references.retire(tx, did, cid, self._clock())
        return True

    def _drop(self, did: str, batch: _Batch, rev: str) -> int:
        """Drop what the collection has in the range of *batch*, from before *rev*, and *batch* has not."""
        kept = {record.rkey for record in batch.records}
        count, after = 0, batch.after
        while True:
            with self._database.write() as tx:
                step = records.keys_before(
                    tx, did, batch.collection, after, batch.until, rev, _BATCH_RECORDS
                )
                for rkey in step:
                    if rkey not in kept:
                        self._delete(tx, did, batch.collection, rkey)
                        count += 1
            if len(step) < _BATCH_RECORDS:
                return count
            after = step[-1]

    def _delete(self, tx: Transaction, did: str, collection: str, rkey: str) -> None:
        records.delete(tx, did, collection, rkey)
        for cid in references.drop_record(tx, did, f"at://{did}/{collection}/{rkey}"):
            references.retire(tx, did, cid, self._clock())


def _require(tx: Transaction, did: str) -> Account:
    account = accounts.find(tx, did)
    if account is None:
        raise RepoNotFound(f"Could not find repo: {did}")
    return account


def _batches(found: Iterable[CarRecord]) -> Iterator[_Batch]:
    """*found*, by key, so that each collection is in one piece, cut into batches."""
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
