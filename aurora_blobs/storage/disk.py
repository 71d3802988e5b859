"""Blobs as files: ``<root>/<xx>/<cid>``, where xx is the first byte of the digest in hex."""

import errno
import io
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from aurora_blobs.errors import BackendUnavailable, BlobNotFound, BlobServiceError
from aurora_blobs.intake.spool import CHUNK, Spooled, disk_errors
from aurora_blobs.protocol.cid import cid_at, place_of
from aurora_blobs.storage.base import CANARY, Store, Stored
from aurora_blobs.storage.group_fsync import sync_folder

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# The folder is on another file system than the spool, or on one without hard links.
_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)
_QUARANTINE = "quarantine"  # a folder beside the shards


class DiskBackend(Store):
    """A folder. A file gets its CID for a name after its last byte, so it is whole."""

    stat_is_cheap = True

    def __init__(self, root: Path, *, durable: bool) -> None:
        """*durable*: `put` and `delete` return when file and folder are on the disk."""
        self.root = root
        self.is_local_disk = durable
        for shard in range(256):
            (root / f"{shard:02x}").mkdir(parents=True, exist_ok=True)
        if durable:  # a durable file needs durable folders
            sync_folder(root)
            sync_folder(root.parent)

    def put(self, blob: Spooled) -> None:
        source = blob.materialize(durable=self.is_local_disk)
        target = self._path(blob.cid)
        with disk_errors():
            # A link, not a rename: the spooled file goes after the row is committed, so that after
            # a crash in between the next start finds it and undoes this.
            self._link_or_copy(source, target)
        if self.is_local_disk:
            sync_folder(os.path.dirname(target))

    def open(self, cid: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        try:
            return cast(BinaryIO, _Span(self._path(cid), start, stop))
        except FileNotFoundError:
            raise BlobNotFound() from None

    def size(self, cid: str) -> int | None:
        try:
            return os.stat(self._path(cid)).st_size
        except FileNotFoundError:
            return None

    def delete(self, cid: str) -> None:
        failures = self.delete_many([cid])
        if failures:
            raise failures[cid]

    def delete_many(self, cids: Sequence[str]) -> dict[str, BlobServiceError]:
        failures: dict[str, BlobServiceError] = {}
        folders = set()
        for cid in cids:
            path = self._path(cid)
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                failures[cid] = BackendUnavailable(f"a blob cannot be removed: {error.strerror}")
                continue
            folders.add(os.path.dirname(path))
        if self.is_local_disk:
            for folder in folders:
                try:
                    sync_folder(folder)
                except OSError as error:
                    raise BackendUnavailable(
                        f"a removal does not get to the disk: {error.strerror}"
                    ) from error
        return failures

    def version(self, cid: str) -> str | None:
        try:
            status = os.stat(self._path(cid))
        except FileNotFoundError:
            return None
        return f"{status.st_ino}.{status.st_size}.{status.st_mtime_ns}"

    def quarantine(self, cid: str) -> None:
        aside = self.root / _QUARANTINE
        aside.mkdir(exist_ok=True)
        with disk_errors():
            try:
                self._link_or_copy(Path(self._path(cid)), f"{aside}/{cid}.{secrets.token_hex(8)}")
            except FileNotFoundError:
                raise BlobNotFound() from None

    def purge_quarantine(self, cids: Collection[str]) -> None:
        aside = self.root / _QUARANTINE
        for path in aside.iterdir() if aside.is_dir() else ():
            if path.name.partition(".")[0] in cids:
                path.unlink(missing_ok=True)

    def scan(self, skipped: Callable[[str], None] | None = None) -> Iterator[Stored]:
        for shard in sorted(self.root.iterdir()):
            if shard.name == _QUARANTINE:
                continue
            if not shard.is_dir():
                if skipped is not None and not shard.name.startswith(CANARY):
                    skipped(shard.name)
                continue
            for entry in sorted(os.scandir(shard), key=lambda entry: entry.name):
                place = f"{shard.name}/{entry.name}"
                if cid_at(place) is None:
                    if skipped is not None:
                        skipped(place)
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # deleted since the folder was listed
                yield Stored(entry.name, status.st_size, status.st_mtime_ns // 1000)

    def probe(self) -> None:
        canary = self.root / f"{CANARY}{secrets.token_hex(8)}"
        with disk_errors():
            try:
                canary.write_bytes(b"canary")
                if canary.read_bytes() != b"canary":
                    raise OSError("the canary came back changed")
            finally:
                canary.unlink(missing_ok=True)

    def path(self, cid: str) -> str | None:
        return place_of(cid)

    def _link_or_copy(self, source: Path, target: str) -> None:
        try:
            _link(source, target)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            self._copy(source, target)

    def _copy(self, source: Path, target: str) -> None:
        aside = f"{target}.{secrets.token_hex(8)}"
        try:
            with open(source, "rb") as original, open(aside, "xb") as copy:
                os.fchmod(copy.fileno(), os.fstat(original.fileno()).st_mode & 0o777)
                shutil.copyfileobj(original, copy, CHUNK)
                copy.flush()
                if self.is_local_disk:
                    os.fdatasync(copy.fileno())
            os.replace(aside, target)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise

    def _path(self, cid: str) -> str:
        return f"{self.root}/{place_of(cid)}"


class _Span(io.FileIO):
    """The bytes ``[start, stop)`` of a file; its descriptor is at *start*, for sendfile.

    Raises FileNotFoundError, and BlobNotFound where the file ends before *stop*.
    """

    def __init__(self, path: str, start: int, stop: int | None) -> None:
        super().__init__(path)
        if stop is not None and os.fstat(self.fileno()).st_size < stop:
            self.close()
            raise BlobNotFound()
        self.seek(start)
        self._left = None if stop is None else stop - start

    def read(self, size: int | None = -1, /) -> bytes:
        if self._left is None:
            return super().read(-1 if size is None else size) or b""
        if size is None or size < 0 or size > self._left:
            size = self._left
        data = super().read(size) or b""
        self._left -= len(data)
        return data

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        if self._left is None:
            return super().readinto(buffer) or 0
        count = super().readinto(memoryview(buffer)[: self._left]) or 0
        self._left -= count
        return count


def _link(source: Path, target: str) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        # The same bytes, unless the disk damaged them: the new ones were hashed a moment ago.
        second = Path(f"{source}~")
        os.link(source, second)
        try:
            os.replace(second, target)
        finally:
            # Renaming a link to another link of the same file does nothing and succeeds.
            second.unlink(missing_ok=True)
