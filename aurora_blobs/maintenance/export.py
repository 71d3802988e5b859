"""Writes out all that an account holds, each blob under its CID, with a manifest that says what it is."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.catalog import references
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.db import Database
from aurora_blobs.errors import BlobNotFound
from aurora_blobs.intake.spool import CHUNK
from aurora_blobs.maintenance.walk import Finding, lost, wrong_bytes
from aurora_blobs.protocol.cid import cid_of_digest

MANIFEST = "manifest.json"
_MAX_RECORDS = 1000  # of one blob in the manifest


class Export:
    """The blobs of *did*. `written` counts them."""

    def __init__(self, database: Database, blobs: BlobManager, did: str) -> None:
        self._database = database
        self._blobs = blobs
        self._did = did
        self._listed: list[dict[str, Any]] = []
        self.written = 0

    def to_folder(self, folder: Path, progress: Callable[[int], None]) -> Iterator[Finding]:
        """Write into *folder*; what is there already in its right size is left as it is.

        Yields what could not be written. A file has its name when it is whole; the manifest comes last.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for entry in self._blobs.entries(self._did):
            target = folder / entry.cid
            if not (target.is_file() and target.stat().st_size == entry.size):
                part = folder / f"{entry.cid}.part"
                try:
                    with part.open("wb") as file:
                        finding = self._copy(entry, file)
                    if finding is not None:
                        yield finding
                        continue
                    part.rename(target)
                finally:
                    part.unlink(missing_ok=True)
            self._list(entry)
            progress(entry.size)
        (folder / MANIFEST).write_text(self._manifest())

    def to_tar(self, stream: BinaryIO, progress: Callable[[int], None]) -> Iterator[Finding]:
        """Write a tar to *stream*, the manifest last. A blob that turns out wrong is in it, but not in the manifest."""
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for entry in self._blobs.entries(self._did):
                try:
                    source = self._blobs.backend.open(entry.cid, 0, entry.size)
                except BlobNotFound:
                    yield lost(entry.cid, entry.size)
                    continue
                with source:
                    hashed = _Hashed(source)
                    tar.addfile(_member(entry.cid, entry.size, entry.created_at), hashed)
                if hashed.cid != entry.cid:
                    yield wrong_bytes(entry.cid)
                    continue
                self._list(entry)
                progress(entry.size)
            manifest = self._manifest().encode()
            tar.addfile(_member(MANIFEST, len(manifest), 0), io.BytesIO(manifest))

    def _copy(self, entry: Entry, target: BinaryIO) -> Finding | None:
        try:
            source = self._blobs.backend.open(entry.cid)
        except BlobNotFound:
            return lost(entry.cid, entry.size)
        with source:
            hashed = _Hashed(source)
            while data := hashed.read(CHUNK):
                target.write(data)
        return None if hashed.cid == entry.cid else wrong_bytes(entry.cid)

    def _list(self, entry: Entry) -> None:
        with self._database.read() as tx:
            records = references.record_uris(tx, entry.did, entry.cid, "", _MAX_RECORDS)
        self.written += 1
        self._listed.append(
            {"cid": entry.cid, "mimeType": entry.mime_type, "size": entry.size, "records": records}
        )

    def _manifest(self) -> str:
        return (
            json.dumps({"did": self._did, "blobs": self._listed}, ensure_ascii=False, indent=1)
            + "\n"
        )


class _Hashed:
    """A file that hashes what is read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        return data

    @property
    def cid(self) -> str:
        return cid_of_digest(self._digest.digest())


def _member(name: str, size: int, created_at: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mtime = created_at // 1_000_000
    member.mode = 0o644
    return member
