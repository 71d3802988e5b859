"""Durability: of a file, by one fdatasync for all threads that wait for it, and of folders."""

import os
import threading
from contextlib import suppress
from pathlib import Path


class GroupFsync:
    """Syncs one file for many threads: one of them at a time does it, for all that wait.

    A sync that was under way when a thread came may have missed its bytes; the next one serves
    everybody who came before it began. With 8 writers that is a fourth of the syncs that each of
    them alone would take.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = threading.Condition()
        self._begun = 0
        self._done = 0
        self._running = False

    def flush(self) -> None:
        """Return once everything written before this call is on the disk. Raises OSError."""
        with self._changed:
            wanted = self._begun + 1
            while self._done < wanted:
                if self._running:
                    self._changed.wait()
                else:
                    self._run()

    def _run(self) -> None:
        self._begun += 1
        mine = self._begun
        self._running = True
        self._changed.release()
        try:
            sync_file(self._path)
        finally:
            self._changed.acquire()
            self._running = False
            self._changed.notify_all()
        self._done = mine


def sync_file(path: Path) -> None:
    """Put the bytes of the file *path* on the disk, if there is one. Raises OSError."""
    # Opened each time, 5 µs: SQLite removes its log and makes another as connections come and go.
    # The bytes of a removed log are in the database, and synced there.
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fdatasync(file)
    finally:
        os.close(file)


def sync_folder(path: str | Path) -> None:
    """Put the names in the folder *path* on the disk. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def make_folder(path: Path) -> None:
    """Make the folder *path* and those above it where they are missing, their names on the disk.

    Raises OSError.
    """
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    # One that is there may have been made by a process that died before it was synced.
    _sync_name(path)
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        _sync_name(folder)


def _sync_name(path: Path) -> None:
    with suppress(PermissionError):  # a folder may be written without being readable
        sync_folder(path.parent)
