"""Imports the blobs of a reference PDS, or of an early Aurora Locus, from a folder or a bucket.

The layouts are ``<did>/<cid>`` and ``blocks/<did>/<cid>`` of the reference PDS, and
``<2 characters>/<cid>`` of early Aurora Locus, which does not say whose a blob is.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.catalog import accounts, blobs, reference_pds, references, takedowns
from aurora_blobs.catalog.reference_pds import KeptBlob
from aurora_blobs.db import Database, open_database
from aurora_blobs.errors import STORE_AWAY, BlobServiceError, InsufficientStorage
from aurora_blobs.maintenance.walk import Finding
from aurora_blobs.protocol.blob_refs import Reference
from aurora_blobs.protocol.cid import parse_blob_cid
from aurora_blobs.protocol.syntax import parse_did, stated_mime_type
from aurora_blobs.storage.s3_bucket import Bucket

_FATAL = (*STORE_AWAY, InsufficientStorage)  # these end the run, because all the rest would fail
_TEMPORARY = {"tempt", "tmp"}  # folders of uploads that no record of the reference PDS ever named


@dataclass(frozen=True, slots=True)
class Found:
    """A file or object whose name is a blob's; `did` is None if its place does not say it."""

    name: str
    did: str | None
    cid: str
    size: int
    open: Callable[[], BinaryIO]


def in_folder(folder: Path) -> Iterator[Found]:
    """Each blob below *folder*, in the order of their names."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and (found := _read_name(name)) is not None:
            yield Found(name, *found, path.stat().st_size, partial(_open, path))


def in_bucket(bucket: Bucket, prefix: str) -> Iterator[Found]:
    """Each blob in *bucket* below *prefix*, in the order of their keys."""
    for listed in bucket.objects(prefix):
        if (found := _read_name(listed.key)) is not None:
            yield Found(listed.key, *found, listed.size, partial(bucket.open, listed.key))


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _read_name(name: str) -> tuple[str | None, str] | None:
    """The DID and the CID in *name*; None if it is not a blob's name."""
    parts = PurePosixPath(name).parts
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
    ) -> None:
        """*did* is the owner of blobs whose place does not say it.

        *databases* is a folder with the accounts' ``store.sqlite``. *clock* gives microseconds
        since the epoch, UTC.
        """
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._did = did
        paths = () if databases is None else databases.rglob("store.sqlite")
        self._account_databases = {path.parent.name: path for path in paths}
        self._rows: dict[str, dict[str, KeptBlob]] = {}  # of those databases, by DID and CID
        self.imported = 0
        self.present = 0

    def run(self, found: Iterator[Found], progress: Callable[[int], None]) -> Iterator[Finding]:
        """What could not be imported, and why. *progress* gets the size of each blob that is done.

        Raises BackendUnavailable, BackendTimeout, ServiceBusy, InsufficientStorage.
        """
        for blob in found:
            reason = self._import(blob)
            if reason is not None:
                yield Finding("not imported", blob.name, reason)
            progress(blob.size)

    def _import(self, blob: Found) -> str | None:
        """Import *blob*; why it could not be imported, or None."""
        did = blob.did or self._did
        if did is None:
            return "its place does not say whose it is: give --did"
        row = self._account_rows(did).get(blob.cid)
        takedown_ref = None if row is None else row.takedown_ref
        if takedown_ref is None and "quarantine" in PurePosixPath(blob.name).parts:
            return "in quarantine, and no --db says that it is taken down"
        with self._database.read() as tx:
            state = blobs.find_upload_state(tx, did, blob.cid)
        is_present = state is not None and state.stored and state.entry is not None
        if not is_present:
            reason = self._upload(blob, did, row)
            if reason is not None:
                return reason
        if takedown_ref is not None:
            # Of a present blob too: an earlier run may have ended between blob and takedown.
            with self._database.write() as tx:
                takedowns.apply(tx, blob.cid, did, takedown_ref, self._clock())
        if is_present:
            self.present += 1
        else:
            self.imported += 1
        return None

    def _upload(self, blob: Found, did: str, row: KeptBlob | None) -> str | None:
        try:
            with blob.open() as file:
                incoming = Incoming(
                    stream=file,
                    did=did,
                    declared_type=None if row is None else row.mime_type,
                    declared_size=blob.size,
                    expected_cid=blob.cid,
                )
                self._blobs.upload(incoming)
        except _FATAL:
            raise
        except BlobServiceError as error:
            return error.message
        return None

    def _account_rows(self, did: str) -> dict[str, KeptBlob]:
        """The rows in the account's own database, by CID; none if it has no database.

        The first call for *did* makes the account here and imports its references.
        """
        if did not in self._rows:
            with self._database.write() as tx:
                accounts.make_external(tx, did, self._clock())
            path = self._account_databases.get(did)
            self._rows[did] = {} if path is None else self._read_account(did, path)
        return self._rows[did]

    def _read_account(self, did: str, path: Path) -> dict[str, KeptBlob]:
        with (
            closing(open_database(f"sqlite:{path}", durable=False)) as database,
            database.read() as tx,
        ):
            rows = {parse_blob_cid(row.cid): row for row in reference_pds.blobs(tx)}
            named = reference_pds.references(tx)
        with self._database.write() as tx:
            for uri, cid, rev in named:
                mime_type = stated_mime_type(rows[cid].mime_type) if cid in rows else None
                references.add(tx, did, uri, Reference(cid, mime_type, None), rev)
                references.publish(tx, did, cid)
        return rows
