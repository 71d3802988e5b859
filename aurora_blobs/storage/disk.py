"""Blobs as files: ``<root>/<xx>/<name>``, where xx is the first byte of the digest in hex."""

import errno
import io
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from aurora_blobs.disk_space import disk_errors
from aurora_blobs.errors import BackendUnavailable, BlobNotFound, BlobServiceError
from aurora_blobs.intake.spool import CHUNK, Spooled
from aurora_blobs.protocol.cid import cid_in, name_at, place_of
from aurora_blobs.regular_files import READ
from aurora_blobs.storage.base import CANARY, MARK, MAX_MARK_BYTES, Store, Stored, Unfinished
from aurora_blobs.storage.group_fsync import make_folder, sync_folder

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# The folder is on another file system than the spool, or on one without hard links.
_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)
# Folders beside the shards.
_QUARANTINE = "quarantine"
_UNFINISHED = "unfinished"  # files until they are whole: a crash leaves them where they are found
_READ_HERE = READ | os.O_NOFOLLOW  # a link leads out of the store
# There is no file of that name, or a link or a socket.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


class DiskBackend(Store):
    """A folder. A file gets its name after its last byte, so it is whole.

    A blob is a regular file: under any other kind of file there are no bytes.
    """

    kind = "disk"
    stat_is_cheap = True

    def __init__(self, root: Path, *, durable: bool) -> None:
        """*durable*: `put` and `delete` return when file and folder are on the disk.

        Nothing is made here: the folder may be one that is not mounted.
        """
        self.root = root
        self.is_local_disk = durable
        self._mark = f"{root}/{MARK}"
        self._seen_mark: tuple[int, int, int] | None = None  # the file that had the right id

    @property
    def place(self) -> str:
        return f"the folder {self.root} (AURORA_BLOBS_DATA_DIR)"

    def prepare(self) -> None:
        make_folder(self.root)
        for shard in range(256):
            (self.root / f"{shard:02x}").mkdir(exist_ok=True)
        if self.is_local_disk:  # a durable file needs durable folders
            sync_folder(self.root)

    def put(self, blob: Spooled) -> None:
        self.put_many([blob])

    def put_many(self, blobs: Sequence[Spooled]) -> None:
        self.check_ours(recently=True)
        if self.is_local_disk and len(blobs) > 1:
            # All are written before one is flushed: the first flush of a journal serves them all.
            for blob in blobs:
                blob.materialize(durable=False)
        sources = [blob.materialize(durable=self.is_local_disk) for blob in blobs]
        targets = [self._path(blob.name) for blob in blobs]
        with disk_errors():
            for source, target in zip(sources, targets, strict=True):
                # A link, not a rename: the spooled file goes after the row is committed, so that
                # after a crash in between the next start finds it and undoes this.
                try:
                    self._link_or_copy(source, target)
                except FileNotFoundError:
                    # Somebody removed an empty folder, or the whole of it is not mounted any more.
                    self.check_ours()
                    self.prepare()
                    self._link_or_copy(source, target)
            if self.is_local_disk:
                for folder in {os.path.dirname(target) for target in targets}:
                    sync_folder(folder)

    def open(self, name: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        try:
            return cast(BinaryIO, _Span(self._path(name), start, stop))
        except BlobNotFound:
            self.check_ours()
            raise
        except OSError as error:
            if error.errno not in _ABSENT:
                raise _unavailable(error) from error
            self.check_ours()
            raise BlobNotFound() from None

    def size(self, name: str) -> int | None:
        status = self._status(name)
        return None if status is None else status.st_size

    def delete(self, name: str) -> None:
        failures = self.delete_many([name])
        if failures:
            raise failures[name]

    def delete_many(self, names: Sequence[str]) -> dict[str, BlobServiceError]:
        self.check_ours(recently=True)
        failures: dict[str, BlobServiceError] = {}
        folders = set()
        for name in names:
            path = self._path(name)
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                failures[name] = BackendUnavailable(f"a blob cannot be removed: {error.strerror}")
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

    def version(self, name: str) -> str | None:
        status = self._status(name)
        if status is None:
            return None
        return f"{status.st_ino}.{status.st_size}.{status.st_mtime_ns}"

    def quarantine(self, name: str) -> None:
        version = self.version(name)
        if version is None:
            raise BlobNotFound()
        aside = self.root / _QUARANTINE
        # Named by the version, so that what a crash left here is not set aside once more.
        target = f"{aside}/{name}.{version}"
        with disk_errors():
            make_folder(aside)
            if not os.path.exists(target):
                try:
                    self._link_or_copy(self._path(name), target)
                except FileNotFoundError:
                    self.check_ours()
                    raise BlobNotFound() from None
            if self.is_local_disk:
                sync_folder(aside)

    def purge_quarantine(self, cids: Collection[str]) -> None:
        self.check_ours(recently=True)
        aside = self.root / _QUARANTINE
        for path in aside.iterdir() if aside.is_dir() else ():
            if path.name.partition(".")[0] in cids:
                path.unlink(missing_ok=True)

    def count_quarantined(self) -> int:
        self.check_ours(recently=True)
        try:
            with os.scandir(self.root / _QUARANTINE) as copies:
                return sum(1 for _ in copies)
        except FileNotFoundError:
            return 0

    def scan(
        self,
        skipped: Callable[[str], None] | None = None,
        start: str = "",
        stop: str | None = None,
    ) -> Iterator[Stored]:
        self.check_ours()
        for shard in sorted(self.root.iterdir()) if self.root.exists() else ():
            if shard.name < start or (stop is not None and shard.name >= stop):
                continue
            if shard.name in (_QUARANTINE, _UNFINISHED, MARK):
                continue
            if not shard.is_dir():
                if skipped is not None and not shard.name.startswith(CANARY):
                    skipped(shard.name)
                continue
            for entry in sorted(os.scandir(shard), key=lambda entry: entry.name):
                place = f"{shard.name}/{entry.name}"
                if name_at(place) is None:
                    if skipped is not None:
                        skipped(place)
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # deleted since the folder was listed
                if not stat.S_ISREG(status.st_mode):
                    if skipped is not None:
                        skipped(place)
                    continue
                yield Stored(entry.name, status.st_size, status.st_mtime_ns // 1000)

    def probe(self) -> None:
        self.confirm()
        with disk_errors():
            canary = self._unfinished(CANARY)
            try:
                canary.write_bytes(b"canary")
                if canary.read_bytes() != b"canary":
                    raise OSError("the canary came back changed")
            finally:
                canary.unlink(missing_ok=True)

    def unfinished(self, before: int) -> Iterator[Unfinished]:
        self.check_ours()
        folder = self.root / _UNFINISHED
        # Canaries lay beside the shards until 0.1.0.
        for path in (*self.root.glob(f"{CANARY}*"), *folder.glob("*")):
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            since = status.st_mtime_ns // 1000
            if since < before:
                remove = partial(_remove, path)
                yield Unfinished(cid_in(path.name), status.st_size, since, remove)

    def path(self, name: str) -> str | None:
        return place_of(name)

    def read_mark_bytes(self) -> bytes | None:
        try:
            with _Span(self._mark, 0, None) as file:
                return file.read(MAX_MARK_BYTES)
        except BlobNotFound:
            return b""  # something is there, and is no file
        except OSError as error:
            if error.errno not in _ABSENT:
                raise _unavailable(error) from error
            return b"" if error.errno == errno.ELOOP else None

    def write_mark_bytes(self, data: bytes) -> None:
        with disk_errors():
            aside = self._unfinished(CANARY)
            try:
                with open(aside, "xb") as file:
                    file.write(data)
                    file.flush()
                    os.fdatasync(file.fileno())
                os.replace(aside, self._mark)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
        if self.is_local_disk:
            sync_folder(self.root)

    def _carries_mark(self, *, recently: bool) -> bool:
        # One stat of a file whose id is known, so that each upload can afford a look.
        try:
            status = os.lstat(self._mark)
        except OSError:
            return False
        seen = (status.st_dev, status.st_ino, status.st_mtime_ns)
        if seen != self._seen_mark:
            if not super()._carries_mark(recently=recently):
                return False
            self._seen_mark = seen
        return True

    def _status(self, name: str) -> os.stat_result | None:
        """The file's; None, of a store that carries its mark, if there is none."""
        try:
            status = os.lstat(self._path(name))
        except OSError as error:
            if error.errno not in _ABSENT:
                raise _unavailable(error) from error
        else:
            if stat.S_ISREG(status.st_mode):
                return status
        self.check_ours()
        return None

    def _link_or_copy(self, source: str, target: str) -> None:
        try:
            _link(source, target)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            self._copy(source, target)

    def _copy(self, source: str, target: str) -> None:
        aside = self._unfinished(f"{os.path.basename(target)}.")
        try:
            with open(source, "rb") as original, open(aside, "xb") as copy:
                os.fchmod(copy.fileno(), os.fstat(original.fileno()).st_mode & 0o777)
                shutil.copyfileobj(original, copy, CHUNK)
                copy.flush()
                if self.is_local_disk:
                    os.fdatasync(copy.fileno())
            os.replace(aside, target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise

    def _unfinished(self, prefix: str) -> Path:
        """A name that is not taken, for a file that gets another or goes."""
        folder = self.root / _UNFINISHED
        folder.mkdir(exist_ok=True)
        return folder / f"{prefix}{secrets.token_hex(8)}"

    def _path(self, name: str) -> str:
        return f"{self.root}/{place_of(name)}"


class _Span(io.FileIO):
    """The bytes ``[start, stop)`` of a file; its descriptor is at *start*, for sendfile.

    Raises OSError, and BlobNotFound for another kind of file or one that ends before *stop*.
    """

    def __init__(self, path: str, start: int, stop: int | None) -> None:
        descriptor = os.open(path, _READ_HERE)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or (stop is not None and status.st_size < stop):
            os.close(descriptor)
            raise BlobNotFound()
        super().__init__(descriptor)
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


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise BackendUnavailable(f"a file cannot be removed: {error.strerror}") from error
    return True


def _unavailable(error: OSError) -> BackendUnavailable:
    return BackendUnavailable(f"the store cannot be read: {error.strerror}")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        # The same bytes, unless the disk damaged them: the new ones were hashed a moment ago.
        second = f"{source}~"
        os.link(source, second)
        try:
            os.replace(second, target)
        finally:
            # Renaming a link to another link of the same file does nothing and succeeds.
            with suppress(FileNotFoundError):
                os.unlink(second)
