"""How fast the commands over many blobs are, beside what has to be done to the files, done in C.

The files are in the page cache before each turn. A command's time begins when Python has imported
it: a store has hours of work.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import machine
import servers
from cases import KIB, MIB, Bench, image, median, name_of

SIZES = (MIB, 5 * MIB, 100 * MIB)
SMALL, SMALL_COUNT = 4 * KIB, 10_000
COPIES = ("blobs import", "backup make")
WORKS = (*COPIES, "blobs scrub", "blobs migrate")
_BYTES = 512 * MIB  # of the files of one size
_ACCOUNTS = 10
# Runs a command, and prints last its seconds and those of its CPU.
_TIMED = """
import json, time
from aurora_blobs.__main__ import main
began, used = time.perf_counter(), time.process_time()
try:
    main(prog_name="aurora-blobs")
finally:
    print(json.dumps([time.perf_counter() - began, time.process_time() - used]))
"""
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


@dataclass
class Bulk:
    """*count* files of *size* bytes through *work*, by *limit* too: seconds and CPU by round."""

    work: str
    size: int
    count: int
    limit: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    @property
    def times(self) -> float:
        """How many times the limit's rate ours is: the median of the ratios inside the rounds."""
        pairs = zip(self.seconds["limit"], self.seconds["ours"], strict=True)
        return median([limit / ours for limit, ours in pairs])


Run = Callable[[], tuple[float, float]]


def commands(bench: Bench) -> None:
    """Large files beside one thread of C, small ones beside cp."""
    counts = {
        size: max(1, _BYTES // size // (4 if bench.is_quick else 1))
        for size in SIZES
        if size in bench.sizes
    }
    counts[SMALL] = SMALL_COUNT // (10 if bench.is_quick else 1)
    with (bench.folder / "log").open("ab") as log:
        hands = _Hands(bench, log)
        for size, count in counts.items():
            hands.measure(size, count)
        store, settings = servers.start_seaweedfs(bench.folder / "bulk-s3")
        try:
            for size, count in counts.items():
                hands.measure_migration(size, count, settings | {"S3_PREFIX": f"{size}/"})
        finally:
            store.stop()


def table(measured: list[Bulk]) -> Table:
    """Head and lines: MB/s, or files a second of small ones."""
    head = ("command", "files", "a second", "limit", "times the limit", "CPU s", "of the limit")
    return head, [
        (
            one.work,
            f"{one.count:,} of {name_of(one.size)}",
            *(_rate(one, median(one.seconds[name])) for name in ("ours", "limit")),
            f"{one.times:.2f}",
            *(f"{median(one.cpu[name]):.2f}" for name in ("ours", "limit")),
        )
        for one in measured
    ]


def _rate(one: Bulk, seconds: float) -> str:
    if one.size < MIB:
        return f"{one.count / seconds:,.0f}"
    return f"{one.count * one.size / seconds / 1e6:,.0f} MB"


def _copier(size: int) -> str:
    return "C" if size >= MIB else "cp -a, and fsync"


class _Hands:
    """Makes the files, and lets the contestants have them in turns."""

    def __init__(self, bench: Bench, log: IO[bytes]) -> None:
        self._bench = bench
        self._log = log
        self._program = servers.build("files")
        self._order = random.Random(bench.seed)
        self._folder = bench.folder / "bulk"
        self._made = 0

    def measure(self, size: int, count: int) -> None:
        source, store = self._folder / f"pds-{size}", self._folder / f"store-{size}"
        self._lay(source, size, count)
        self._run_ours(store, "blobs", "import", source)
        works: dict[str, tuple[str, Run, Run]] = {
            "blobs import": (
                _copier(size),
                lambda: self._run_ours(self._new(), "blobs", "import", source),
                lambda: self._copy(source, size),
            ),
            "backup make": (
                _copier(size),
                lambda: self._run_ours(store, "backup", "make", self._new()),
                lambda: self._copy(store / "blobs", size),
            ),
            "blobs scrub": (
                "C",
                lambda: self._run_ours(store, "blobs", "scrub"),
                lambda: self._run(self._program, "hash", store / "blobs"),
            ),
        }
        for work, (limit, ours, theirs) in works.items():
            self._in_turns(Bulk(work, size, count, limit), ours, theirs)

    def measure_migration(self, size: int, count: int, settings: dict[str, str]) -> None:
        """From the S3 store of *settings* to the disk, what `measure` has laid."""
        source, store = self._folder / f"pds-{size}", self._folder / f"s3-{size}"
        self._run_ours(store, "blobs", "import", source, **settings)

        def migrate() -> tuple[float, float]:
            target = self._new()
            target.mkdir()
            shutil.copy(store / "aurora.sqlite3", target)
            return self._run_ours(target, "blobs", "migrate", "--to", "disk", **settings)

        self._in_turns(
            Bulk("blobs migrate", size, count, _copier(size)),
            migrate,
            lambda: self._copy(source, size),
        )

    def _in_turns(self, measured: Bulk, ours: Run, theirs: Run) -> None:
        runs = {"ours": ours, "limit": theirs}
        for _ in range(self._bench.rounds):
            for name in self._order.sample(sorted(runs), len(runs)):
                machine.warm(measured.size * measured.count)
                seconds, cpu = runs[name]()
                measured.seconds.setdefault(name, []).append(seconds)
                measured.cpu.setdefault(name, []).append(cpu)
                self._empty()
        self._bench.bulk.append(measured)
        self._bench.say(
            f"  {measured.work}, {measured.count} of {name_of(measured.size)}:"
            f" {measured.times:.2f} times {measured.limit}"
        )

    def _lay(self, folder: Path, size: int, count: int) -> None:
        """Lay *count* files as a PDS does, with the seed of this run."""
        from aurora_blobs.protocol.cid import cid_of_digest

        for number in range(count):
            data = image(size, self._bench.seed * SMALL_COUNT + number)
            account = folder / f"did:web:member{number % _ACCOUNTS}.test"
            account.mkdir(parents=True, exist_ok=True)
            (account / cid_of_digest(hashlib.sha256(data).digest())).write_bytes(data)

    def _run_ours(
        self, data_folder: Path, *words: str | Path, **settings: str
    ) -> tuple[float, float]:
        done = subprocess.run(
            [sys.executable, "-c", _TIMED, *words],
            cwd=servers.PROJECT,
            env=servers.environ(data_folder, settings),
            stdout=subprocess.PIPE,
            stderr=self._log,
            check=True,
        )
        seconds, cpu = json.loads(done.stdout.splitlines()[-1])
        return seconds, cpu

    def _copy(self, source: Path, size: int) -> tuple[float, float]:
        target = self._new()
        if size >= MIB:
            return self._run(self._program, "copy", source, target)
        first = self._run("cp", "-a", source, target)
        second = self._run(self._program, "sync", target)
        return first[0] + second[0], first[1] + second[1]

    def _run(self, *command: str | Path) -> tuple[float, float]:
        """Run *command*; its seconds, and those of CPU."""
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{command}: status {process.returncode}; see the log")
        return time.perf_counter() - began, usage.ru_utime + usage.ru_stime

    def _new(self) -> Path:
        self._made += 1
        return self._folder / f"made-{self._made}"

    def _empty(self) -> None:
        """Free the pages and the disk of what was made. Files are not deleted, as ever here."""
        for folder, _, names in os.walk(self._folder / f"made-{self._made}"):
            for name in names:
                os.truncate(f"{folder}/{name}", 0)
