"""A full disk: one that is small, or none at all."""

import os
import resource
import subprocess
from contextlib import contextmanager
from itertools import count

import pytest

_BLOCK = 4096  # bytes


@contextmanager
def max_file_size(size):
    """In the block no file of this process can grow past *size* bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class SmallDisk:
    """A file system of its own at *path*. Strangers fill it by `fill`, `fill_inodes`."""

    def __init__(self, path):
        self.path = path
        self._fillers = path / "strangers"
        self._fillers.mkdir()
        self._numbers = count()

    @property
    def free_bytes(self):
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    @property
    def free_inodes(self):
        return os.statvfs(self.path).f_favail

    def fill(self, *, leave=0):
        """Take the space but *leave* bytes."""
        with (self._fillers / str(next(self._numbers))).open("wb") as filler:
            piece, size = max(_BLOCK, self.free_bytes - leave), 0
            while piece >= _BLOCK and self.free_bytes > leave:
                try:
                    os.posix_fallocate(filler.fileno(), size, piece)
                    size += piece
                except OSError:  # what says how it is filled takes space too
                    piece //= 2

    def fill_inodes(self):
        """Take all inodes."""
        for _ in range(self.free_inodes):
            (self._fillers / str(next(self._numbers))).touch()

    def make_space(self):
        """Give back what was taken."""
        for filler in self._fillers.iterdir():
            filler.unlink()


@contextmanager
def small_disk(path, *, megabytes=24, inodes=2000):
    """A `SmallDisk` mounted at *path*, which is made. Skips the test where nobody may mount."""
    path.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,nr_inodes={inodes}", "none", path]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted: {done.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
