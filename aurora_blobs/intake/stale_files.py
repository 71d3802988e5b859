"""Locks on files: a file in the spool without one is stale, left by a process that died."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aurora_blobs.protocol.cid import cid_in
from aurora_blobs.regular_files import NotRegular, open_regular

# Seconds; a guess. A file is looked at in less than a millisecond, but on a busy machine whoever
# looks may not run for 0.2 s (seen).
_MOMENT = 0.5
_NO_FILE = (errno.ENOENT, errno.ELOOP, errno.ENXIO)  # gone, a link, a socket
_LOCK_STEP = 0.02  # seconds between two attempts: flock knows no time limit


def lock(file: int, path: str | Path, *, wait: bool = False) -> bool:
    """Lock the descriptor *file*, opened at *path*, until it is closed.

    False where *path* is another file by now, or, without *wait*, where somebody else has the lock.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Since it was opened, its owner may have removed it, and another made a new one.
        return os.path.samestat(os.fstat(file), os.stat(path))
    except (BlockingIOError, FileNotFoundError):
        return False


def is_locked(path: Path) -> bool:
    """Whether somebody has the lock on the file *path*. Raises OSError, also if it is not there."""
    with open_regular(path, follow_links=False) as file:
        return not lock(file.fileno(), path)


@contextmanager
def locked_file(path: Path, *, wait_seconds: float = 0) -> Iterator[bool]:
    """Lock the file *path*, made where it is missing, until the block ends. The file stays.

    Yields False where others keep it locked for *wait_seconds*. Raises OSError.
    """
    until = time.monotonic() + wait_seconds
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            is_locked = lock(file, path)
            if is_locked or time.monotonic() >= until:
                yield is_locked
                return
        finally:
            os.close(file)
        time.sleep(_LOCK_STEP)


@contextmanager
def exclusive(folder: Path, name: str, *, waits: bool = True) -> Iterator[bool]:
    """Lock the file *name* in *folder* and remove it when the block ends.

    Yields False where another process or thread has the lock. `stale_files` has each lock for a
    moment too: unless it *waits* that long, False may be for that. A crash leaves the file, stale.
    """
    path = folder / name
    with locked_file(path, wait_seconds=_MOMENT if waits else 0) as is_locked:
        try:
            yield is_locked
        finally:
            if is_locked:
                path.unlink(missing_ok=True)


def stale_files(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Each stale file in *folder*, locked for the caller, and the CID in its name.

    The blob may have been stored under that CID; None where the file was not named yet. The caller
    removes the file, or the next call finds it again.
    """
    for path in sorted(folder.iterdir()):
        try:
            file = open_regular(path, follow_links=False)  # no upload leaves a link
        except NotRegular:
            continue
        except OSError as error:
            if error.errno in _NO_FILE:
                continue
            raise
        with file:
            if lock(file.fileno(), path):
                yield path, cid_in(path.name)
