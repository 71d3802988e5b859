"""Imports the blobs of a reference PDS, or of an early Aurora Locus, from a folder or a bucket.

The layouts are ``<did>/<cid>`` and ``blocks/<did>/<cid>`` of the reference PDS, and
``<2 characters>/<cid>`` of early Aurora Locus, which does not say whose a blob is.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.together import MOST_TOGETHER, TOGETHER_BYTES, Together
from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.catalog import (
    accounts,
    blobs,
    record_usage,
    reference_pds,
    references,
    takedowns,
)
from aurora_blobs.catalog.audit import PROGRAM, Author
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.catalog.reference_pds import KeptBlob
from aurora_blobs.db import STEP_ROWS, Database, Transaction
from aurora_blobs.db.foreign import ForeignDatabase, ForeignDatabaseError
from aurora_blobs.errors import (
    STORE_AWAY,
    BlobNotFound,
    BlobServiceError,
    InsufficientStorage,
    InvalidRequest,
)
from aurora_blobs.maintenance.parallel import in_order
from aurora_blobs.maintenance.walk import Finding
from aurora_blobs.protocol.blob_refs import Reference
from aurora_blobs.protocol.cid import parse_blob_cid
from aurora_blobs.protocol.syntax import parse_did
from aurora_blobs.regular_files import open_regular
from aurora_blobs.storage.s3_bucket import Bucket

FATAL = (*STORE_AWAY, InsufficientStorage)  # these end the run, because all the rest would fail
_TEMPORARY = {"tempt", "tmp"}  # folders of uploads that no record of the reference PDS ever named


Place = TypeVar("Place")


@dataclass(frozen=True, slots=True)
class Found(Generic[Place]):
    """A file or object, and what its name says. `modified` is in microseconds since the epoch."""

    name: str
    place: Place
    size: int
    modified: int
    open: Callable[[], BinaryIO]


Read = Callable[[str], Place | None]
Owned = tuple[str | None, str]  # DID, None if the place does not say it, and CID


@dataclass(slots=True, eq=False)
class _Step:
    """A blob that was found, whose it is to be, and what the account's own database says of it.

    `did` is None where it does not come. `outcome` is whether it came, or was here; or why it did
    not come, None where nothing is to be said of that.
    """

    found: Found[Owned]
    did: str | None
    row: KeptBlob | None = None
    outcome: Finding | bool | None = None

    def refuse(self, reason: str) -> None:
        self.outcome = Finding("not imported", self.found.name, reason)


def in_folder(folder: Path, read: Read[Place]) -> Iterator[Found[Place]]:
    """Each file below *folder* whose name *read* takes, in the order of the names.

    Raises ValueError for a bad folder.
    """
    # Texts, not Paths: those took a fifth of an import's CPU for small blobs (measured).
    for place, names in _folders_below(folder):
        below = os.path.relpath(place, folder)
        for name in names:
            below_name = name if below == "." else f"{below}/{name}"
            if (found := read(below_name)) is not None:
                path = f"{place}/{name}"
                yield Found(below_name, found, *_facts(path), partial(_open, path))


def in_bucket(bucket: Bucket, prefix: str, read: Read[Place]) -> Iterator[Found[Place]]:
    """Each object in *bucket* below *prefix* whose key *read* takes, in the order of the keys."""
    for listed in bucket.objects(prefix):
        if (place := read(listed.key)) is not None:
            opened = partial(bucket.open, listed.key)
            yield Found(listed.key, place, listed.size, listed.modified, opened)


def _folders_below(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """*folder* and each folder below it, one after the other, and the names of all else in it.

    Raises ValueError for a folder that cannot be read: what is in it would be left out in silence.
    """
    for place, folders, names in os.walk(folder, onerror=_refuse_folder):
        folders.sort()
        yield place, sorted(names)


def _refuse_folder(error: OSError) -> None:
    raise ValueError(f"{error.filename}: this folder cannot be read: {error.strerror}")


def _facts(path: str) -> tuple[int, int]:
    """Size in bytes, and time of the last change in microseconds."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0  # to open it says why
    return found.st_size, found.st_mtime_ns // 1000


def _open(path: str) -> BinaryIO:
    try:
        return open_regular(path)
    except OSError as error:
        kind = BlobNotFound if isinstance(error, FileNotFoundError) else InvalidRequest
        raise kind(f"it cannot be read: {error.strerror}") from None


def read_name(name: str) -> Owned | None:
    """The DID and the CID in *name*; None if it is not a blob's name."""
    parts = name.split("/")
    if _TEMPORARY.intersection(parts[:-1]):
        return None
    try:
        cid = parse_blob_cid(parts[-1])
    except ValueError:
        return None
    try:
        return parse_did(parts[-2]) if len(parts) > 1 else None, cid
    except ValueError:
        return None, cid


class BlobImporter:
    """One import. `imported` and `present` count the blobs that came and that were here before."""

    def __init__(
        self,
        database: Database,
        blobs: BlobManager,
        clock: Callable[[], int],
        *,
        did: str | None,
        databases: Path | None,
        jobs: int,
        by: Author = PROGRAM,
    ) -> None:
        """*did* is the owner of blobs whose place does not say it. *by* takes down what was.

        *databases* is a folder with the accounts' ``store.sqlite``. *jobs* blobs come at a time.
        *clock* gives microseconds since the epoch, UTC. Raises ValueError for a folder that cannot
        be read.
        """
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._did = did
        self._jobs = jobs
        self._by = by
        folders = () if databases is None else _folders_below(databases)
        self._account_databases = {
            Path(place).name: Path(place, "store.sqlite")
            for place, names in folders
            if "store.sqlite" in names
        }
        self._begun: set[str] = set()  # accounts that are here, with their references
        self._refused: set[str] = set()  # accounts whose database cannot be used
        self._current: str | None = None  # the account whose database is open, if it has one
        self._kept: ForeignDatabase | None = None
        self.imported = 0
        self.present = 0

    def run(
        self, found: Iterator[Found[Owned]], progress: Callable[[int], None]
    ) -> Iterator[Finding]:
        """What could not be imported, and why. *progress* gets the size of each blob that is done.

        An account whose database cannot be used is one finding, and none of its blobs is imported:
        nobody knows which of them are taken down.

        Raises BackendUnavailable, BackendTimeout, ServiceBusy, InsufficientStorage.
        """
        try:
            batches = _batches(map(self._step, found))
            for batch, _ in in_order(self._take, batches, self._jobs):
                for step in batch:
                    if isinstance(step.outcome, Finding):
                        yield step.outcome
                    elif step.outcome is not None:
                        self.imported += step.outcome
                        self.present += not step.outcome
                    progress(step.found.size)
        finally:
            self._leave()

    def _step(self, found: Found[Owned]) -> _Step:
        """What is to be done with *found*. One thread reads the accounts' databases."""
        owner, cid = found.place
        did = owner or self._did
        step = _Step(found, None)
        if did is None:
            step.refuse("its place does not say whose it is: give --did")
        elif did not in self._refused:
            try:
                step.row = self._row(did, cid)
                step.did = did
            except ForeignDatabaseError as error:
                self._refused.add(did)
                path = self._account_databases[did]
                reason = f"all of its blobs, because of {path}: {error}"
                step.outcome = Finding("not imported", did, reason)
        return step

    def _take(self, batch: list[_Step]) -> None:
        """Have the outcome of each step of *batch*."""
        received = []
        with self._blobs.together() as together:
            for step in batch:
                if step.did is not None and self._receive(step, step.did, together):
                    received.append(step)
            for step, kept in zip(received, together.keep(), strict=True):
                if isinstance(kept, FATAL):
                    raise kept
                if isinstance(kept, BlobServiceError):
                    step.refuse(kept.message)

    def _receive(self, step: _Step, did: str, together: Together) -> bool:
        """Read the blob; whether it is to be kept."""
        found, row = step.found, step.row
        cid = found.place[1]
        ref = None if row is None else row.takedown_ref
        if ref is None and "quarantine" in found.name.split("/"):
            step.refuse("in quarantine, and no --db says that it is taken down")
            return False
        take_down = None if ref is None else partial(self._take_down, ref)
        state = blobs.find_upload_state(self._database.one_shot(), did, cid)
        here = None if state is None or not state.stored else state.entry
        step.outcome = here is None
        if here is not None:
            if take_down is not None:
                with self._database.write() as tx:
                    take_down(tx, here)
            return False
        try:
            with found.open() as file:
                incoming = Incoming(
                    stream=file,
                    did=did,
                    declared_type=None if row is None else row.mime_type,
                    declared_size=found.size,
                    expected_cid=cid,
                    also_write=take_down,
                    writes_alone=take_down is not None,
                )
                return together.receive(incoming) is None
        except FATAL:
            raise
        except BlobServiceError as error:
            step.refuse(error.message)
            return False

    def _take_down(self, ref: str, tx: Transaction, entry: Entry) -> None:
        takedowns.apply(tx, entry.cid, entry.did, ref, self._clock(), self._by)

    def _row(self, did: str, cid: str) -> KeptBlob | None:
        """What the account's own database says of *cid*; None if nothing, or without a database.

        The first call for *did* makes the account here and imports its references. Raises
        ForeignDatabaseError.
        """
        if did != self._current:
            self._enter(did)
        return None if self._kept is None else reference_pds.find_blob(self._kept, cid)

    def _enter(self, did: str) -> None:
        self._leave()
        if did in self._account_databases:
            self._kept = ForeignDatabase(self._account_databases[did], reference_pds.TABLES)
        if did not in self._begun:
            if self._kept is not None:  # a bad one changes nothing
                reference_pds.check(self._kept, did)
            with self._database.write() as tx:
                accounts.make_external(tx, did, self._clock())
            if self._kept is not None:
                self._import_references(did, self._kept)
            self._begun.add(did)
        self._current = did

    def _leave(self) -> None:
        if self._kept is not None:
            self._kept.close()
        self._kept = self._current = None

    def _import_references(self, did: str, kept: ForeignDatabase) -> None:
        found = reference_pds.references(kept, did)
        while some := list(islice(found, STEP_ROWS)):
            with self._database.write() as tx:
                added = 0
                for named in some:
                    reference = Reference(named.cid, named.mime_type, None)
                    if references.add(tx, did, named.uri, reference, named.rev):
                        added += record_usage.reference_bytes(named.uri, named.cid)
                        references.publish(tx, did, named.cid)
                record_usage.add(tx, did, added)


def _batches(steps: Iterable[_Step]) -> Iterator[list[_Step]]:
    """*steps*, as many at a time as are kept together."""
    batch: list[_Step] = []
    size = 0
    for step in steps:
        if batch and (len(batch) == MOST_TOGETHER or size + step.found.size > TOGETHER_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(step)
        size += step.found.size
    if batch:
        yield batch
