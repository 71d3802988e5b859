"""Thumbnails: made once, kept in a folder of bounded size, the least recently used evicted first.

A file is written after its row and removed before it. A row may therefore lack its file, but a file
never its row, and all files together are never larger than the rows say. The row has a checksum; a
file that a crash or a bad disk changed is made again. Under its name a file is whole and on the
disk, because nginx may serve it by a link. Everything in the folder can be deleted. If the disk is
full or the database busy, the thumbnail is served and not kept.
"""

import io
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.catalog import derivatives
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.catalog.derivatives import Derivative, Use
from aurora_blobs.db import Database, row_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import (
    InsufficientStorage,
    ServiceBusy,
    ThumbnailTimeout,
    UnusableImage,
)
from aurora_blobs.intake.stale_files import locked_file
from aurora_blobs.protocol.cid import place_of
from aurora_blobs.thumbnails.pool import WALL_SECONDS, WorkerPool
from aurora_blobs.thumbnails.presets import Preset

log = logging.getLogger("aurora_blobs")

LOCK_SECONDS = 10  # a request that waits longer for another one's thumbnail is answered with 503

_KEYS = (row_key("derivative"),)  # of its rows and their total
_SECOND = 1_000_000  # microseconds
# A failure is remembered this long; a guess, what helps is a new version of Pillow. One that the
# clock ended says more of the machine than of the picture.
_FAILURE_LASTS = 3600 * _SECOND
_TIMEOUT_LASTS = 60 * _SECOND
_TIMED_OUT = ThumbnailTimeout().message
# Uses within this time of a noted one are not noted, because a read should not write.
_USE_INTERVAL = 600 * _SECOND
# Bytes of CRC-32 at the beginning of a file that 0.1.0 has written.
_OLD_CHECKSUM = 4
_BLOCK = 256 * 1024  # bytes of a file per read
_EVICTION_STEP = 100  # thumbnails considered at once for eviction
_SWEEP_STEP = 1000  # rows per statement


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """`file` has `size` bytes and is the caller's to close. `is_kept`: others may find it too."""

    file: BinaryIO
    size: int
    is_kept: bool


class ThumbnailCache:
    """Makes thumbnails and keeps them in *folder*. `rows` is the database that knows its files."""

    def __init__(
        self,
        blobs: BlobManager,
        database: Database,
        *,
        folder: Path,
        presets: dict[str, Preset],
        max_bytes: int,
        clock: Callable[[], int],
        rows: Database | None = None,
        lock_seconds: float = LOCK_SECONDS,
        wall_seconds: float = WALL_SECONDS,
    ) -> None:
        """*presets* are those that clients may ask for. *max_bytes* bounds the files; 0 keeps none.

        *clock* gives microseconds since the epoch, UTC. *rows* is *database* unless machines with
        folders of their own share that.
        """
        self.presets = presets
        self._blobs = blobs
        self._database = database
        self.rows = rows or database
        self._folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock_seconds = lock_seconds
        self._workers = WorkerPool(wall_seconds=wall_seconds)

    def open(self, entry: Entry, preset: Preset, form: str) -> Thumbnail:
        """The thumbnail of *entry*, of a type in `READABLE`, for *preset*, in a form of `WRITABLE`.

        It is made once, however many callers in however many processes ask for it at the same
        time. A failure is remembered for an hour, for all presets and forms: a picture that needs
        too much is tried once.

        Raises UnusableImage, BlobNotFound, ServiceBusy, and MethodNotImplemented if Pillow is not
        installed.
        """
        name = name_of(entry.cid, preset, form)
        found = self._find(name, entry.cid)
        if found is not None:
            return found
        # The lock is of the whole blob, so others that wait for it see a failure.
        with self._locked(name, self._lock_seconds) as is_locked:
            found = self._find(name, entry.cid)
            if found is not None:
                return found
            if not is_locked:
                raise ServiceBusy("The picture is being derived for others, please try again.")
            content = self._of_earlier_version(name)
            if content is None:
                content = self._derived(entry, preset, form)
            with _best_effort():
                self._keep(name, entry.cid, content)
        return Thumbnail(io.BytesIO(content), len(content), is_kept=False)

    def sweep(self) -> int:
        """Evict the thumbnails of blobs that are gone or taken down; returns how many.

        Files without a row are removed too. There are none unless the database lost rows or was
        replaced by an older copy.
        """
        count, after = 0, ""
        while True:
            with self.rows.read() as tx:
                step = derivatives.page(tx, after, _SWEEP_STEP)
            if not step:
                break
            with self._database.read() as tx:
                gone = [use for use, cid in step if not derivatives.is_wanted(tx, cid)]
            count += self._evict(gone)
            after = step[-1][0].name
        names = (f"{path.parent.name}/{path.name}" for path in self._folder.glob("??/*"))
        self._remove_files(Use(name, 0, 0) for name in names if not self._is_known(name))
        with self.rows.write(Spend.ALL, keys=_KEYS) as tx:
            derivatives.recount(tx)
        return count

    def forget(self, cids: list[str]) -> None:
        """Evict the thumbnails of *cids*."""
        for start in range(0, len(cids), _SWEEP_STEP):
            with self.rows.read() as tx:
                found = [
                    use
                    for cid in cids[start : start + _SWEEP_STEP]
                    for use in derivatives.of_blob(tx, cid)
                ]
            self._evict(found)

    def close(self) -> None:
        """End the worker process, and close `rows` if it is the cache's own."""
        self._workers.close()
        if self.rows is not self._database:
            self.rows.close()

    def _find(self, name: str, cid: str) -> Thumbnail | None:
        row = derivatives.find_either(self.rows.one_shot(), name, place_of(cid))
        if row is None:
            return None
        age = self._clock() - row.used_at  # negative, if the clock was ahead
        if row.failure == _TIMED_OUT:
            if 0 <= age < _TIMEOUT_LASTS:
                raise ThumbnailTimeout()
            return None
        if row.failure is not None:
            if 0 <= age < _FAILURE_LASTS:
                raise UnusableImage(row.failure)
            return None
        file = _open_checked(self._folder / name, name, row)
        if file is None:
            return None
        if not 0 <= age < _USE_INTERVAL:
            with _best_effort(), self.rows.write(keys=_KEYS) as tx:
                derivatives.touch(tx, name, self._clock())
        return Thumbnail(file, row.size, is_kept=True)

    def _derived(self, entry: Entry, preset: Preset, form: str) -> bytes:
        try:
            # Verified, because a thumbnail or a failure that comes from wrong bytes would outlive
            # their healing.
            source = self._blobs.open(entry, verify=True)
            return self._workers.derive(source, entry.mime_type, preset, form)
        except (UnusableImage, ThumbnailTimeout) as error:
            with _best_effort():
                self._note_failure(entry.cid, error.message)
            raise

    def _of_earlier_version(self, name: str) -> bytes | None:
        """The thumbnail *name* that 0.1.0 has kept, in a file that begins with its checksum."""
        try:
            data = (self._folder / name).read_bytes()
        except OSError:
            return None
        checksum, content = data[:_OLD_CHECKSUM], data[_OLD_CHECKSUM:]
        return content if checksum == _checksum(name, content).to_bytes(_OLD_CHECKSUM) else None

    def _is_known(self, name: str) -> bool:
        return derivatives.find(self.rows.one_shot(), name) is not None

    def _keep(self, name: str, cid: str, content: bytes) -> None:
        """Write the row and the file of *name*, whose lock we hold, if there is room."""
        if not self._reserve(name, cid, len(content), _checksum(name, content)):
            return
        path = self._folder / name
        aside = path.with_name(f"{path.name}~")  # `sweep` finds what a crash leaves of it
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # the row has room for one of them
        try:
            with open(aside, "wb") as file:
                file.write(content)
                file.flush()
                os.fdatasync(file.fileno())
            os.replace(aside, path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise

    def _note_failure(self, cid: str, message: str) -> None:
        now = self._clock()
        with self.rows.write(keys=_KEYS) as tx:
            derivatives.delete_failures(tx, now - _FAILURE_LASTS, now)
            derivatives.put(tx, place_of(cid), cid, 0, message, now)

    def _reserve(self, name: str, cid: str, size: int, checksum: int) -> bool:
        """Evict others until *size* bytes are free, then write the row of *name*.

        We hold its lock. False if the bytes cannot be freed.
        """
        gone: list[Use] = []
        while size <= self._max_bytes:
            with self.rows.write(keys=_KEYS) as tx:
                derivatives.delete(tx, gone)
                excess = derivatives.total_bytes(tx) + size - self._max_bytes
                if excess <= 0:
                    now = self._clock()
                    derivatives.put(tx, name, cid, size, None, now, checksum=checksum)
                    return True
                oldest = derivatives.least_used(tx, _EVICTION_STEP)
            gone = self._remove_files(oldest, enough=excess, held=_lock_name(name))
            if not gone:
                break
        return False

    def _evict(self, uses: list[Use]) -> int:
        gone = self._remove_files(uses)
        with self.rows.write(Spend.ALL, keys=_KEYS) as tx:
            return derivatives.delete(tx, gone)

    def _remove_files(
        self, uses: Iterable[Use], *, enough: int | None = None, held: str = ""
    ) -> list[Use]:
        """Remove the files of *uses* until *enough* bytes are free; returns those that are gone.

        A thumbnail that is being made is skipped, because its file would outlive its row. *held*
        is the name of a lock that we hold.
        """
        gone: list[Use] = []
        freed = 0
        for use in uses:
            if enough is not None and freed >= enough:
                break
            with self._locked(use.name, 0, held=held) as is_locked:
                if is_locked:
                    (self._folder / use.name).unlink(missing_ok=True)
                    gone.append(use)
                    freed += use.size
        return gone

    @contextmanager
    def _locked(self, name: str, seconds: float, *, held: str = "") -> Iterator[bool]:
        """Keep all others from making or evicting *name*; yields False after *seconds* in vain.

        *held* is the name of a lock that we hold.
        """
        if _lock_name(name) == held:
            yield True
            return
        path = self._folder / "locks" / _lock_name(name)
        with ExitStack() as stack:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                is_locked = stack.enter_context(locked_file(path, wait_seconds=seconds))
            except OSError as error:
                # Without locks a thumbnail may be made more than once.
                log.warning("could not lock derived pictures: %s", error)
                is_locked = True
            yield is_locked


def name_of(cid: str, preset: Preset, form: str) -> str:
    """The path of a thumbnail in the cache's folder, made of all that the thumbnail depends on.

    The last part may therefore serve as its ETag.
    """
    return f"{place_of(cid)}.{preset}.{form}"


def _open_checked(path: Path, name: str, row: Derivative) -> BinaryIO | None:
    """The file *path* of *row*; None if it is not what this version has written.

    The checksum is for accidents: nobody else writes here. It takes 2 us for a thumbnail of 6 KB
    and 33 us for 100 KB; SHA-256 would take 57 us.
    """
    try:
        file = io.FileIO(path)
    except OSError:
        return None
    try:
        checksum, length = _checksum(name), 0
        while piece := file.read(_BLOCK):
            checksum = zlib.crc32(piece, checksum)
            length += len(piece)
        if length == row.size and checksum == row.checksum:
            file.seek(0)
            return cast(BinaryIO, file)
    except OSError as error:
        log.warning("could not read a derived picture: %s", error)
    file.close()
    return None


def _checksum(name: str, content: bytes = b"") -> int:
    """CRC-32 of *name*, so that a file is right under one name alone, and of *content*."""
    return zlib.crc32(content, zlib.crc32(name.encode()))


def _lock_name(name: str) -> str:
    return name[:2]


@contextmanager
def _best_effort() -> Iterator[None]:
    """Log a failure to keep something for later; no request fails for it."""
    try:
        yield
    except (OSError, InsufficientStorage, ServiceBusy) as error:
        log.warning("could not keep a derived picture: %s", error)
