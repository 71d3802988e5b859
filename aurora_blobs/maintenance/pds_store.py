"""The store of a PDS, moved here and back: what is stored, staged and quarantined, under its names.

`Takeover` reads its folder or bucket, `Handover` writes its folder.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby, takewhile
from pathlib import Path

from aurora_blobs.catalog import accounts
from aurora_blobs.catalog.objects import Listed
from aurora_blobs.db import Database
from aurora_blobs.disk_space import disk_errors
from aurora_blobs.errors import BlobNotFound, BlobServiceError
from aurora_blobs.maintenance.blob_import import FATAL, Found
from aurora_blobs.maintenance.export import write_blob
from aurora_blobs.maintenance.parallel import in_order
from aurora_blobs.maintenance.walk import Finding
from aurora_blobs.object_api.layout import LAST, ON_DISK, Key, Kind
from aurora_blobs.object_api.objects import Body, Objects
from aurora_blobs.storage.base import BlobBackend

# A blob is one of the two.
_TWINS = {Kind.STORED: Kind.QUARANTINED, Kind.QUARANTINED: Kind.STORED}


class Takeover:
    """Objects of a PDS come here. `taken` and `present` count those that came and that were here.

    `released` counts those that are none any more, because the PDS has none of them.
    """

    def __init__(
        self,
        database: Database,
        objects: Objects,
        clock: Callable[[], int],
        *,
        grace_seconds: int,
        releases: bool,
        jobs: int,
    ) -> None:
        """*clock* gives microseconds since the epoch, UTC. What is staged stays *grace_seconds*.

        *jobs* objects come at a time. With *releases* what is here and not there is deleted, unless
        it came since this was made.
        """
        self._database = database
        self._objects = objects
        self._began = clock()
        self._oldest = self._began - grace_seconds * 1_000_000
        self._releases = releases
        self._jobs = jobs
        self.taken = self.present = self.released = 0

    def run(
        self, found: Iterator[Found[Key]], progress: Callable[[int], None]
    ) -> Iterator[Finding]:
        """What could not be taken, and why. *progress* gets the size of each object that is done.

        The PDS may run meanwhile: what it has removed since it was found is passed over.

        Raises BackendUnavailable, BackendTimeout, ServiceBusy, InsufficientStorage.
        """
        known: dict[Kind, set[str]] = {kind: set() for kind in _TWINS}
        # One kind after the other: a blob may be of two, and the later one counts.
        for kind, of_kind in groupby(found, lambda one: one.place.kind):
            taken = in_order(self._take, self._with_account(of_kind), self._jobs)
            for did, some in groupby(taken, lambda one: one[0].place.did):
                names = set()
                for one, outcome in some:
                    if isinstance(outcome, Finding):
                        yield outcome
                    elif outcome is not None:
                        self.taken += outcome
                        self.present += not outcome
                    names.add(one.place.name)
                    progress(one.size)
                if kind in known:
                    known[kind].add(did)
                    self._release(self._of_account(kind, did), names)
        for kind, dids in known.items():
            for did in self._accounts(kind):
                if did not in dids:
                    self._release(self._of_account(kind, did), set())

    def _with_account(self, found: Iterator[Found[Key]]) -> Iterator[Found[Key]]:
        """Each of *found*, whose account is here by then."""
        for did, some in groupby(found, lambda one: one.place.did):
            with self._database.write() as tx:
                accounts.make_external(tx, did, self._began)
            yield from some

    def _take(self, found: Found[Key]) -> Finding | bool | None:
        """Whether one object came, or was here; None if it is gone, or why it was not taken."""
        key = found.place
        if key.kind is Kind.STAGED and found.modified < self._oldest:
            return None  # it would be over here
        try:
            if self._is_here(key, found.size):
                return False
            with found.open() as file:
                self._objects.put(key, Body(file, found.size))
        except FATAL:
            raise
        except BlobNotFound:
            return None
        except BlobServiceError as error:
            return Finding("not imported", found.name, error.message)
        return True

    def _is_here(self, key: Key, size: int) -> bool:
        """Whether *key* is an object here, and of *size* bytes; if its blob is, it is from now on.

        An upload that was under way had fewer bytes when it was taken.
        """
        entry = self._objects.find_or_none(key)
        if entry is not None:
            return entry.size == size
        twin = replace(key, kind=_TWINS[key.kind]) if key.kind in _TWINS else None
        if twin is None or self._objects.find_or_none(twin) is None:
            return False
        self._objects.copy(twin, key)
        return True

    def _release(self, here: Iterator[tuple[Key, Listed]], names: set[str]) -> None:
        """Delete what is *here* from before this run and not among *names*, which the PDS has."""
        if not self._releases:
            return
        for key, listed in here:
            if key.name not in names and listed.created_at < self._began:
                self._objects.delete([key])
                self.released += 1

    def _of_account(self, kind: Kind, did: str) -> Iterator[tuple[Key, Listed]]:
        found = self._objects.listed(Key(kind, did, ""), kind)
        return takewhile(lambda one: one[0].did == did, found)

    def _accounts(self, kind: Kind) -> Iterator[str]:
        """The DID of each account that has objects of *kind* here."""
        after = Key(kind, "", "")
        while (first := next(self._objects.listed(after, kind), None)) is not None:
            yield first[0].did
            after = replace(first[0], name=LAST)


class Handover:
    """Objects go to the folder of a PDS. `written` counts those that are there."""

    def __init__(self, objects: Objects, backend: BlobBackend) -> None:
        self._objects = objects
        self._backend = backend
        self.written = 0

    def to_folder(self, folder: Path, progress: Callable[[int], None]) -> Iterator[Finding]:
        """Write what is not in *folder*; yields what could not be written.

        A file that is there is read, and left as it is if it is the blob. Raises
        InsufficientStorage.
        """
        for kind, place in ON_DISK.items():
            for key, listed in self._objects.listed(None, kind):
                entry = self._objects.find_or_none(key)
                if entry is None:
                    continue  # deleted since
                target = folder / f"{place}{key.did}" / key.name
                with disk_errors():
                    target.parent.mkdir(parents=True, exist_ok=True)
                finding = write_blob(self._backend, entry, target)
                if finding is not None:
                    yield finding
                    continue
                self.written += 1
                progress(listed.size)
