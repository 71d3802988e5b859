"""Takes over the blobs of a reference PDS, or of an early Aurora Locus, from a folder or a bucket.

The layouts are ``<did>/<cid>`` and ``blocks/<did>/<cid>`` of the reference PDS, and ``<2 characters>/<cid>`` of early
Aurora Locus, which does not say whose a blob is.
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
from aurora_blobs.protocol.syntax import parse_did
from aurora_blobs.storage.s3_bucket import Bucket

_OURS = (*STORE_AWAY, InsufficientStorage)  # end the run: all the rest would fail
_UNFINISHED = {"tempt", "tmp"}  # uploads that no record of the reference PDS ever named


@dataclass(frozen=True, slots=True)
class Found:
    """A file or object that looks like a blob. `did` is None where its place does not tell."""

    name: str
    did: str | None
    cid: str
    size: int
    open: Callable[[], BinaryIO]


def in_folder(folder: Path) -> Iterator[Found]:
    """Each blob below *folder*, by name."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and (found := _read_name(name)) is not None:
            yield Found(name, *found, path.stat().st_size, partial(_opened, path))


def in_bucket(bucket: Bucket, prefix: str) -> Iterator[Found]:
    """Each blob in *bucket* below *prefix*, by key."""
    for listed in bucket.objects(prefix):
        if (found := _read_name(listed.key)) is not None:
            yield Found(listed.key, *found, listed.size, partial(bucket.open, listed.key))


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")


def _read_name(name: str) -> tuple[str | None, str] | None:
    parts = PurePosixPath(name).parts
    if _UNFINISHED.intersection(parts[:-1]):
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
    """One import. `brought` and `present` count what came and what was here before."""

    def __init__(
        self,
        database: Database,
        blobs: BlobManager,
        clock: Callable[[], int],
        *,
        did: str | None,
        databases: Path | None,
    ) -> None:
        """*did* is whose blobs are where the place does not tell; *databases* holds the accounts' ``store.sqlite``."""
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._did = did
        self._stores = (
            {}
            if databases is None
            else {path.parent.name: path for path in databases.rglob("store.sqlite")}
        )
        self._kept: dict[
            str, dict[str, KeptBlob]
        ] = {}  # by DID and CID: what the accounts' own databases say
        self.brought = 0
        self.present = 0

    def run(self, found: Iterator[Found], progress: Callable[[int], None]) -> Iterator[Finding]:
        """What could not be taken over, and why. Raises BackendUnavailable, BackendTimeout, ServiceBusy, …"""
        for blob in found:
            reason = self._take(blob)
            if reason is not None:
                yield Finding("not imported", blob.name, reason)
            progress(blob.size)

    def _take(self, blob: Found) -> str | None:
        did = blob.did or self._did
        if did is None:
            return "its place does not say whose it is: give --did"
        kept = self._kept_by(did).get(blob.cid)
        if "quarantine" in PurePosixPath(blob.name).parts and (
            kept is None or kept.takedown_ref is None
        ):
            return "in quarantine, and no --db says that it is taken down"
        with self._database.read() as tx:
            state = blobs.find_upload_state(tx, did, blob.cid)
        is_here = state is not None and state.stored and state.entry is not None
        if not is_here and (reason := self._upload(blob, did, kept)) is not None:
            return reason
        if kept is not None and kept.takedown_ref is not None:
            # Also of what is here: by another way, or from a run that broke off before this.
            with self._database.write() as tx:
                takedowns.apply(tx, blob.cid, did, kept.takedown_ref, self._clock())
        if is_here:
            self.present += 1
        else:
            self.brought += 1
        return None

    def _upload(self, blob: Found, did: str, kept: KeptBlob | None) -> str | None:
        try:
            with blob.open() as file:
                incoming = Incoming(
                    stream=file,
                    did=did,
                    declared_type=None if kept is None else kept.mime_type,
                    declared_size=blob.size,
                    expected_cid=blob.cid,
                )
                self._blobs.upload(incoming)
        except _OURS:
            raise
        except BlobServiceError as error:
            return error.message
        return None

    def _kept_by(self, did: str) -> dict[str, KeptBlob]:
        """Make the account's row, and read its own database, once; nothing where it has none."""
        if did not in self._kept:
            with self._database.write() as tx:
                accounts.make_external(tx, did, self._clock())
            self._kept[did] = self._read_store(did) if did in self._stores else {}
        return self._kept[did]

    def _read_store(self, did: str) -> dict[str, KeptBlob]:
        with (
            closing(open_database(f"sqlite:{self._stores[did]}", durable=False)) as store,
            store.read() as tx,
        ):
            kept = {parse_blob_cid(row.cid): row for row in reference_pds.blobs(tx)}
            named = reference_pds.references(tx)
        with self._database.write() as tx:
            for uri, cid, rev in named:
                mime_type = kept[cid].mime_type if cid in kept else None
                references.add(tx, did, uri, Reference(cid, mime_type, None), rev)
                references.publish(tx, did, cid)
        return kept
