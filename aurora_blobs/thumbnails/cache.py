"""Derived pictures: made once, kept in a folder of bounded size, the least recently used thrown out first.

A file is written after its row and removed before it, so that a row may lack its file and never the other way round:
all files together are never larger than the rows say. A file begins with a check of what it is, so that one which a
crash or a bad disk changed is made again. All of it can be deleted. A disk that is full or a database that is busy
costs the keeping of a picture, never the picture.
"""

import io
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.catalog import derivatives
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.catalog.derivatives import Use
from aurora_blobs.db import Database
from aurora_blobs.errors import InsufficientStorage, ServiceBusy, UnusableImage
from aurora_blobs.intake.stale_files import locked_file
from aurora_blobs.protocol.cid import place_of
from aurora_blobs.thumbnails.pool import WorkerPool
from aurora_blobs.thumbnails.presets import Preset

log = logging.getLogger("aurora_blobs")

_SECOND = 1_000_000  # microseconds
_FAILURE_LASTS = (
    3600 * _SECOND
)  # until it is tried again; a guess, what helps is a new version of Pillow
_USE_COUNTS = (
    600 * _SECOND
)  # uses within this time of a noted one are not noted: a read should not write
# Bytes that a file begins with: CRC-32, for accidents, nobody else writes here. Looked at whenever the file is used: 2
# us for a thumbnail of 6 KB, 33 us for 100 KB; SHA-256 takes 57.
_CHECK = 4
_BLOCK = 256 * 1024  # bytes of a file per read
_EVICTION_STEP = 100  # pictures looked at for one to be thrown out
_SWEEP_STEP = 1000  # rows looked at per statement
_LOCK_SECONDS = 10  # a request that waits longer for another's picture is answered with 503


@dataclass(frozen=True, slots=True)
class Picture:
    """A derived picture: `file` has `size` bytes and is the caller's to close."""

    file: BinaryIO
    size: int


class ThumbnailCache:
    """Derives what it is asked for, unless *folder* has it. *clock* gives microseconds since the epoch, UTC."""

    def __init__(
        self,
        blobs: BlobManager,
        database: Database,
        *,
        folder: Path,
        presets: dict[str, Preset],
        max_bytes: int,
        clock: Callable[[], int],
    ) -> None:
        """*presets* are those that clients may ask for. *max_bytes* bounds what is kept; 0 keeps nothing."""
        self.presets = presets
        self._blobs = blobs
        self._database = database
        self._folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        self._studio = WorkerPool()

    def open(self, entry: Entry, preset: Preset, form: str) -> Picture:
        """The picture in *entry*, of a type in `READABLE`, as *preset* wants it, in a form of `WRITABLE`.

        However many ask for it at once, in whatever process, it is made once. A failure is remembered for an hour.

        Raises UnusableImage, BlobNotFound, ServiceBusy, MethodNotImplemented where Pillow is not installed.
        """
        name = name_of(entry.cid, preset, form)
        found = self._find(name)
        if found is not None:
            return found
        with self._alone(name, _LOCK_SECONDS) as alone:
            found = self._find(name)
            if found is not None:
                return found
            if not alone:
                raise ServiceBusy("The picture is being derived for others, please try again.")
            try:
                # Verified: a picture of wrong bytes, or that none can be made of them, would outlive their healing.
                source = self._blobs.open(entry, verify=True)
                data = self._studio.derive(source, entry.mime_type, preset, form)
            except UnusableImage as error:
                with _if_possible():
                    self._note_failure(name, entry.cid, error.message)
                raise
            with _if_possible():
                self._keep(name, entry.cid, data)
        return Picture(io.BytesIO(data), len(data))

    def sweep(self) -> int:
        """Throw out the pictures of blobs that are no longer here or were taken down; how many there were.

        So go files without a row, of which there are none unless the database lost some, or is an older copy.
        """
        count, after = 0, ""
        while True:
            with self._database.read() as tx:
                step = derivatives.page(tx, after, _SWEEP_STEP)
            if not step:
                break
            count += self._throw_out([use for use, wanted in step if not wanted])
            after = step[-1][0].name
        names = (f"{path.parent.name}/{path.name}" for path in self._folder.glob("??/*"))
        self._remove_files(Use(name, 0, 0) for name in names if not self._is_known(name))
        with self._database.write() as tx:
            derivatives.recount(tx)
        return count

    def _is_known(self, name: str) -> bool:
        return derivatives.find(self._database.one_shot(), name) is not None

    def forget(self, cids: list[str]) -> None:
        """Throw out what was derived of *cids*."""
        for start in range(0, len(cids), _SWEEP_STEP):
            with self._database.read() as tx:
                found = [
                    use
                    for cid in cids[start : start + _SWEEP_STEP]
                    for use in derivatives.of_blob(tx, cid)
                ]
            self._throw_out(found)

    def close(self) -> None:
        """End the helper process."""
        self._studio.close()

    def _find(self, name: str) -> Picture | None:
        row = derivatives.find(self._database.one_shot(), name)
        if row is None:
            return None
        age = self._clock() - row.used_at
        if row.failure is not None:
            if age < _FAILURE_LASTS:
                raise UnusableImage(row.failure)
            return None
        file = _checked(self._folder / name, name, row.size)
        if file is None:
            return None
        if age >= _USE_COUNTS:
            with _if_possible(), self._database.write() as tx:
                derivatives.touch(tx, name, self._clock())
        return Picture(file, row.size - _CHECK)

    def _keep(self, name: str, cid: str, data: bytes) -> None:
        if not self._reserve(name, cid, _CHECK + len(data)):
            return
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # who has it open keeps what they have
        try:
            path.write_bytes(_check(name, data).to_bytes(_CHECK) + data)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    def _note_failure(self, name: str, cid: str, message: str) -> None:
        now = self._clock()
        with self._database.write() as tx:
            derivatives.delete_failures(tx, now - _FAILURE_LASTS)
            derivatives.put(tx, name, cid, 0, message, now)

    def _reserve(self, name: str, cid: str, size: int) -> bool:
        """Write the row of *name*, whose lock we have, once *size* bytes are free; False if they cannot be."""
        gone: list[Use] = []
        while size <= self._max_bytes:
            with self._database.write() as tx:
                derivatives.delete(tx, gone)
                excess = derivatives.total_bytes(tx) + size - self._max_bytes
                if excess <= 0:
                    derivatives.put(tx, name, cid, size, None, self._clock())
                    return True
                oldest = derivatives.least_used(tx, _EVICTION_STEP)
            gone = self._remove_files(oldest, enough=excess, ours=_lock_name(name))
            if not gone:
                break
        return False

    def _throw_out(self, found: list[Use]) -> int:
        gone = self._remove_files(found)
        with self._database.write() as tx:
            return derivatives.delete(tx, gone)

    def _remove_files(
        self, found: Iterable[Use], *, enough: float = float("inf"), ours: str = ""
    ) -> list[Use]:
        """Those of *found* whose files are gone, until they had *enough* bytes; *ours* is a lock that we have.

        None that is being made: its file would come after its row went.
        """
        gone: list[Use] = []
        for use in found:
            if enough <= 0:
                break
            with (
                nullcontext(True)
                if _lock_name(use.name) == ours
                else self._alone(use.name, 0) as alone
            ):
                if alone:
                    (self._folder / use.name).unlink(missing_ok=True)
                    gone.append(use)
                    enough -= use.size
        return gone

    @contextmanager
    def _alone(self, name: str, seconds: float) -> Iterator[bool]:
        """Nobody else makes or throws out *name* meanwhile; yields False if somebody does for *seconds* and more."""
        path = self._folder / "locks" / _lock_name(name)
        with ExitStack() as stack:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                is_locked = stack.enter_context(locked_file(path, wait_seconds=seconds))
            except OSError as error:
                # Without locks a picture may be made more than once.
                log.warning("could not lock derived pictures: %s", error)
                is_locked = True
            yield is_locked


def name_of(cid: str, preset: Preset, form: str) -> str:
    """Where a derivative lies in the cache's folder: it tells all that it depends on, so it may be its ETag too."""
    return f"{place_of(cid)}.{preset.fit}-{preset.width}x{preset.height}.{form}"


def _checked(path: Path, name: str, size: int) -> BinaryIO | None:
    """The file *path* of *size* bytes, at its picture; None where it is not what `_keep` wrote."""
    try:
        file = io.FileIO(path)
    except OSError:
        return None
    try:
        wanted, check, length = file.read(_CHECK), _check(name), _CHECK
        while data := file.read(_BLOCK):
            check = zlib.crc32(data, check)
            length += len(data)
        if length == size and wanted == check.to_bytes(_CHECK):
            file.seek(_CHECK)
            return cast(BinaryIO, file)
    except OSError as error:
        log.warning("could not read a derived picture: %s", error)
    file.close()
    return None


def _check(name: str, data: bytes = b"") -> int:
    """CRC-32 of *name* and *data*, to go on with: a file is right under one name alone."""
    return zlib.crc32(data, zlib.crc32(name.encode()))


def _lock_name(name: str) -> str:
    return name[:2]


@contextmanager
def _if_possible() -> Iterator[None]:
    """The block keeps something for later: where it cannot be, that is noted, and nobody is refused for it."""
    try:
        yield
    except (OSError, InsufficientStorage, ServiceBusy) as error:
        log.warning("could not keep a derived picture: %s", error)
