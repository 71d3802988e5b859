"""The machine under the benchmark: what processes use of it, and what would distort figures."""

import contextlib
import ctypes
import hashlib
import importlib.metadata
import mmap
import os
import platform
import select
import sqlite3
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_IN_CLOSE_WRITE, _IN_MOVED_TO, _IN_CREATE = 0x8, 0x80, 0x100
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


def tree(pid: int) -> list[int]:
    """*pid* and all its descendants."""
    found, todo = [], [pid]
    while todo:
        current = todo.pop()
        try:
            for task in os.listdir(f"/proc/{current}/task"):
                todo += map(int, Path(f"/proc/{current}/task/{task}/children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.append(current)
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of the trees of *pids*, with that of children that have ended."""
    total = 0
    for root in pids:
        for pid in tree(root):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def proportional_bytes(pids: list[int]) -> int:
    """The memory of the trees of *pids*, shared pages counted once (PSS)."""
    total = 0
    for root in pids:
        for pid in tree(root):
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return total


class PeakMemory:
    """The most memory that the trees of *pids* held while the block ran, sampled every 20 ms."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.peak = 0

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.peak = max(self.peak, proportional_bytes(self._pids))


class Recycler:
    """Frees the pages of each file as soon as it is written, so that the next file gets them.

    If the host of a virtual machine backs its memory lazily, the first touch of a page costs ten
    times what later ones cost. A benchmark that only grows the page cache measures the host.

    `empty` frees the disk between two runs. Files are not deleted, because ext4 without a journal
    is slow to create files after that.
    """

    def __init__(self, folders: list[Path], *, truncate: bool) -> None:
        """*truncate* is for files without fsync: their pages are dirty and cannot be dropped."""
        self._truncate = truncate
        self._stop = threading.Event()
        self._inotify = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        mask = _IN_CLOSE_WRITE if truncate else _IN_MOVED_TO | _IN_CREATE
        self._folders = {
            _libc.inotify_add_watch(self._inotify, bytes(path), mask): path for path in folders
        }
        self._thread = threading.Thread(target=self._run)
        self._seen: list[Path] = []

    def empty(self) -> None:
        """Truncate all files that were seen since the last call."""
        seen, self._seen = self._seen, []
        for path in seen:
            try:
                os.truncate(path, 0)
            except OSError:
                continue  # gone already, or a folder

    def __enter__(self) -> "Recycler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._inotify)
        self.empty()

    def _run(self) -> None:
        while not self._stop.is_set():
            if select.select([self._inotify], [], [], 0.1)[0]:
                for path in self._events(os.read(self._inotify, 1 << 16)):
                    self._take_back(path)
                    self._seen.append(path)

    def _events(self, data: bytes) -> Iterator[Path]:
        at = 0
        while at < len(data):
            watch, _, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size
            name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
            at += length
            if watch in self._folders:
                yield self._folders[watch] / name

    def _take_back(self, path: Path) -> None:
        try:
            if self._truncate:
                # By name: closing a file that was open for writing would be another event.
                os.truncate(path, 0)
                return
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # gone already, or a folder
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def warm(size: int = 64 << 20) -> None:
    """Touch *size* bytes of memory and free them, so that the host has backed them."""
    with mmap.mmap(-1, size) as memory:
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1


def can_hold() -> bool:
    """Whether `held` works here: by root, where the kernel has the cgroup "cpu"."""
    enabled = _cgroups() / "cgroup.subtree_control"  # of version 2
    is_enabled = not enabled.exists() or "cpu" in enabled.read_text().split()
    return is_enabled and os.access(_cgroups(), os.W_OK)


def _cgroups() -> Path:
    first = Path("/sys/fs/cgroup/cpu")  # of version 1
    return first if first.exists() else Path("/sys/fs/cgroup")


@contextlib.contextmanager
def held(pids: list[int], cores: float) -> Iterator[None]:
    """Hold the trees of *pids* to *cores* of this machine together, and give them as much."""
    period = 100_000  # microseconds
    parent = _cgroups()
    group = parent / f"bench-{os.getpid()}-{pids[0]}"
    group.mkdir()
    try:
        if parent.name == "cpu":
            (group / "cpu.cfs_period_us").write_text(str(period))
            (group / "cpu.cfs_quota_us").write_text(str(int(cores * period)))
            (group / "cpu.shares").write_text("32768")
        else:
            (group / "cpu.max").write_text(f"{int(cores * period)} {period}")
            (group / "cpu.weight").write_text("3200")
        for pid in (pid for root in pids for pid in tree(root)):
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                (parent / "cgroup.procs").write_text(pid)
        group.rmdir()


def sha256_seconds(size: int) -> float:
    """CPU seconds of SHA-256 for *size* bytes in blocks of 256 KiB, the best of five tries."""
    block = os.urandom(256 << 10)
    best = 1e9
    for _ in range(5):
        digest = hashlib.sha256()
        start = time.process_time()
        for _ in range(max(1, size // len(block))):
            digest.update(block)
        best = min(best, time.process_time() - start)
    return best


def fresh_folder(parent: Path) -> None:
    """Make *parent*, whose subfolders are spread over the disk.

    When ext4 without a journal creates a file, it searches past every inode that was deleted in
    the last minutes, which takes 0.5 ms. A folder under one with the T attribute starts in a block
    group without such inodes.
    """
    parent.mkdir(parents=True, exist_ok=True)
    flags = ctypes.c_long()
    file = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    if _libc.ioctl(file, 0x80086601, ctypes.byref(flags)) == 0:  # FS_IOC_GETFLAGS
        flags.value |= 0x00020000  # FS_TOPDIR_FL
        # FS_IOC_SETFLAGS; other file systems refuse.
        _libc.ioctl(file, 0x40086602, ctypes.byref(flags))
    os.close(file)


def describe(folder: Path) -> dict[str, str]:
    """The machine and the versions that were measured; *folder* is where the stores are."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    model = models[0] if models else platform.machine()
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    mount = max(
        (m for m in mounts if str(folder.resolve()).startswith(m[1])), key=lambda m: len(m[1])
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    known = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION,
    }
    for package in ("gunicorn", "flask", "werkzeug"):
        known[package] = importlib.metadata.version(package)
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cpu": f"{len(os.sched_getaffinity(0))} x {model}",
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "file system": f"{mount[2]} on {mount[0]}",
        **known,
    }
