"""A reserve of disk space, given up last: what protects and what frees works on a full disk.

The reserve is a folder of files that hold nothing. While one of them is missing, nobody may add
anything, in no process. They are made again as soon as there is space.
"""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import Enum
from pathlib import Path
from types import TracebackType

from aurora_blobs.errors import InsufficientStorage

log = logging.getLogger("aurora_blobs")

# Files, so that little is given up at a time and each gives an inode too. What is given up at once
# has room for a step of `Database.in_steps`: the deletion of 1,000 references took 0.6 MB of
# SQLite's log (measured).
_PIECES = 16
_PIECES_AT_ONCE = 4
# SQLite's two other files, its lock and a folder for links; a guess on top.
_INODES_AT_ONCE = 6
_FULL = 64 * 1024  # bytes; with fewer left SQLite's files cannot grow (32 KiB at once, one of them)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Spend(Enum):
    """How much of the reserve a change may use up.

    `NOTHING` is for what adds: it is refused while a part is given up. `LEFT` is for what undoes:
    it takes what space there is, and gives nothing up. `HALF` is for what clients may do without
    end, though it adds next to nothing, so that `ALL` is left for the operator, and for what only
    takes away.
    """

    NOTHING = 0
    LEFT = 1
    HALF = 2
    ALL = 3


class DiskSpace:
    """A reserve of *size_bytes* in each of *places*, one on each file system that is written to.

    A place is the reserve's folder, and a path that is there while the file system is. Size 0 is no
    reserve: nothing is refused.
    """

    def __init__(self, places: Sequence[tuple[Path, Path]] = (), size_bytes: int = 0) -> None:
        self._reserves = [_Reserve(*place, size_bytes) for place in places if size_bytes]

    def prepare(self) -> None:
        """Make the reserves if there is space for them. Raises OSError."""
        for reserve in self._reserves:
            reserve.fill(spare_bytes=0)

    def is_whole(self) -> bool:
        """Whether nothing is given up; what was is made again first, if there is space for it."""
        return all(reserve.is_whole() for reserve in self._reserves)

    def require(self) -> None:
        """Raise InsufficientStorage while a part of the reserve is given up."""
        if not self.is_whole():
            raise InsufficientStorage("The disk is full: nothing can be added until there is space")

    def is_short(self) -> bool:
        """Whether there is less space than a change needs."""
        return any(reserve.is_short() for reserve in self._reserves)

    def make_room(self, spend: Spend) -> None:
        """Give up what one change needs. Raises InsufficientStorage beyond *spend*."""
        for reserve in self._reserves:
            reserve.make_room(spend)


class _Reserve:
    """The files in *folder*, ``00`` to ``15``. They are given up in this order, and made in the
    other: while ``00`` is there, all of them are."""

    def __init__(self, folder: Path, witness: Path, size_bytes: int) -> None:
        self._folder = folder
        self._witness = witness
        self._piece = -(-size_bytes // _PIECES)
        self._paths = [f"{folder}/{number:02}" for number in range(_PIECES)]

    def is_whole(self) -> bool:
        if self._has(self._paths[0]):
            return True
        # Not mounted: what is made now would lie on another disk, and what needs it fails anyway.
        return not self._witness.exists() or self.fill(spare_bytes=_PIECES * self._piece)

    def is_short(self) -> bool:
        return not self._has_free(_PIECES_AT_ONCE * self._piece, _INODES_AT_ONCE)

    def make_room(self, spend: Spend) -> None:
        if not self.is_short():
            return
        half = _PIECES * self._piece // 2
        for path in self._paths:
            if spend is Spend.HALF and self._free_bytes() + self._held_bytes() <= half:
                raise InsufficientStorage("The disk is full, and half of the reserve is used up")
            if self._give_up(path) and not self.is_short():
                return

    def fill(self, *, spare_bytes: int) -> bool:
        """Make what is missing, if *spare_bytes* stay free; whether the reserve is whole then."""
        try:
            self._folder.mkdir(exist_ok=True)
            with _locked(self._folder) as is_locked:
                return is_locked and self._fill(spare_bytes)
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise
            return False

    def _fill(self, spare_bytes: int) -> bool:
        missing = [path for path in reversed(self._paths) if not self._has(path)]
        if not missing:
            return True
        if not self._has_free(
            len(missing) * self._piece + spare_bytes, len(missing) + _INODES_AT_ONCE
        ):
            return False
        for path in missing:
            self._make(path)
        if spare_bytes:  # not at a start
            log.warning("there is space again on the disk of %s", self._folder.parent)
        return True

    def _make(self, path: str) -> None:
        # Under its own name it counts, so it gets that when its space is its own.
        new = f"{self._folder}/new"
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, self._piece)
            os.replace(new, path)
        except OSError:
            os.unlink(new)
            raise
        finally:
            os.close(file)

    def _give_up(self, path: str) -> bool:
        try:
            os.unlink(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            log.warning("the reserve of disk space cannot be given up: %s", error)
            return False
        if path == self._paths[0]:
            log.warning(
                "the disk of %s is full: what would add to it is refused", self._folder.parent
            )
        return True

    def _has(self, path: str) -> bool:
        # Another size is that of an earlier setting.
        try:
            return os.stat(path).st_size == self._piece
        except OSError:
            return False

    def _held_bytes(self) -> int:
        return self._piece * sum(map(self._has, self._paths))

    def _free_bytes(self) -> int:
        status = os.statvfs(self._folder.parent)
        return status.f_bavail * status.f_frsize

    def _has_free(self, size: int, inodes: int) -> bool:
        try:
            status = os.statvfs(self._folder.parent)
        except OSError:
            return False
        # Some file systems count no inodes.
        has_inodes = not status.f_files or status.f_favail >= inodes
        return has_inodes and status.f_bavail * status.f_frsize >= size


def is_full(folder: Path) -> bool:
    """Whether the file system of *folder* has no room for another file."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < _FULL or (status.f_files > 0 and not status.f_favail)


def disk_errors() -> AbstractContextManager[None]:
    """Turn the errors of a full disk in the block into InsufficientStorage."""
    return _DISK_ERRORS


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Keep others from filling *folder*; yields False where somebody else does."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(file)


class _DiskErrors(AbstractContextManager[None]):
    # A class, because a generator takes 1.6 µs more (measured), and an upload has four such blocks.
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            raise InsufficientStorage("no space left to store the blob") from error


_DISK_ERRORS = _DiskErrors()
