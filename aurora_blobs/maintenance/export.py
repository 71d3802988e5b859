"""Writes out all blobs of an account, each under its CID, with a manifest of them."""

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.catalog import references
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.db import Database
from aurora_blobs.disk_space import disk_errors
from aurora_blobs.errors import BlobNotFound
from aurora_blobs.intake.spool import CHUNK
from aurora_blobs.maintenance.walk import Finding, lost, wrong_bytes
from aurora_blobs.protocol.cid import cid_of_digest
from aurora_blobs.regular_files import open_regular
from aurora_blobs.storage.base import BlobBackend

MANIFEST = "manifest.json"
_MAX_RECORDS = 1000  # per blob in the manifest


class Export:
    """The export of all that *did* owns. `written` counts the blobs."""

    def __init__(self, database: Database, blobs: BlobManager, did: str) -> None:
        self._database = database
        self._blobs = blobs
        self._did = did
        self._manifest_entries: list[dict[str, Any]] = []
        self.written = 0

    def to_folder(self, folder: Path, progress: Callable[[int], None]) -> Iterator[Finding]:
        """Write into *folder*; yields what could not be written.

        A file that is there is read, and left as it is if it is the blob. A file gets its name when
        it is whole, and no link in *folder* is followed. The manifest is written last. *progress*
        gets the size of each blob that is done. Raises InsufficientStorage.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for entry in self._blobs.entries(self._did):
            finding = write_blob(self._blobs.backend, entry, folder / entry.cid)
            if finding is not None:
                yield finding
                continue
            self._add_to_manifest(entry)
            progress(entry.size)
        finding = write_whole(folder / MANIFEST, self._write_manifest)
        if finding is not None:
            yield finding

    def to_tar(self, stream: BinaryIO, progress: Callable[[int], None]) -> Iterator[Finding]:
        """Write a tar to *stream*, the manifest last; yields what is missing or wrong.

        Wrong bytes are in the tar, because they are hashed while they are written, but not in the
        manifest.
        """
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for entry in self._blobs.entries(self._did):
                try:
                    source = self._blobs.backend.open(entry.name, 0, entry.size)
                except BlobNotFound:
                    yield lost(entry.cid, entry.size)
                    continue
                with source:
                    reader = _HashingReader(source)
                    tar.addfile(_member(entry.cid, entry.size, entry.created_at), reader)
                if reader.cid != entry.cid:
                    yield wrong_bytes(entry.cid)
                    continue
                self._add_to_manifest(entry)
                progress(entry.size)
            manifest = self._manifest().encode()
            tar.addfile(_member(MANIFEST, len(manifest), 0), io.BytesIO(manifest))

    def _add_to_manifest(self, entry: Entry) -> None:
        with self._database.read() as tx:
            records = references.record_uris(tx, entry.did, entry.cid, "", _MAX_RECORDS)
        self.written += 1
        self._manifest_entries.append(
            {"cid": entry.cid, "mimeType": entry.mime_type, "size": entry.size, "records": records}
        )

    def _write_manifest(self, target: BinaryIO) -> None:
        target.write(self._manifest().encode())

    def _manifest(self) -> str:
        manifest = {"did": self._did, "blobs": self._manifest_entries}
        return json.dumps(manifest, ensure_ascii=False, indent=1) + "\n"


def write_blob(backend: BlobBackend, entry: Entry, target: Path) -> Finding | None:
    """Have the bytes of *entry* in the file *target*; why they are not, or None.

    A file that is there is read, and left as it is if it is the blob. Raises InsufficientStorage.
    """
    return None if has_blob(target, entry) else write_whole(target, partial(_copy, backend, entry))


def _copy(backend: BlobBackend, entry: Entry, target: BinaryIO) -> Finding | None:
    try:
        source = backend.open(entry.name)
    except BlobNotFound:
        return lost(entry.cid, entry.size)
    with source:
        reader = _HashingReader(source)
        while piece := reader.read(CHUNK):
            target.write(piece)
    return None if reader.cid == entry.cid else wrong_bytes(entry.cid)


def has_blob(path: Path, entry: Entry) -> bool:
    """Whether *path* is a file with the bytes of *entry*."""
    try:
        file = open_regular(path, follow_links=False)
    except OSError:
        return False
    with file:
        if os.fstat(file.fileno()).st_size != entry.size:
            return False
        reader = _HashingReader(file)
        while reader.read(CHUNK):
            pass
    return reader.cid == entry.cid


def write_whole(target: Path, fill: Callable[[BinaryIO], Finding | None]) -> Finding | None:
    """Have *fill* write a new file, which replaces *target* unless it finds something.

    Whatever has the name by then goes; a link is not followed. Raises InsufficientStorage.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        with disk_errors():
            part.unlink(missing_ok=True)  # of a run that was killed
            file = part.open("xb")
            try:
                with file:
                    finding = fill(file)
                if finding is None:
                    part.replace(target)
            finally:
                part.unlink(missing_ok=True)
    except IsADirectoryError:
        return Finding("not written", target.name, f"{target} or {part} is a folder")
    return finding


class _HashingReader:
    """Hashes what is read of *file*."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._digest.update(piece)
        return piece

    @property
    def cid(self) -> str:
        """The CID of what was read so far."""
        return cid_of_digest(self._digest.digest())


def _member(name: str, size: int, created_at: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mtime = created_at // 1_000_000
    member.mode = 0o644
    return member
