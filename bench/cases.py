"""What is measured: each function takes a `Bench`, runs its cells and leaves rows in `bench.rows`.

In every round the contestants of a cell run one after the other, in random order, so that a slow
moment of the machine hits them alike. Ratios are taken inside a round.
"""

import contextlib
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import machine
from servers import Missing, Server

KIB, MIB = 1 << 10, 1 << 20
SIZES = (KIB, 100 * KIB, MIB, 5 * MIB, 100 * MIB)
CONNECTIONS = (1, 8, 64)
UPLOAD = "/xrpc/com.atproto.repo.uploadBlob"
STORES = "upload at the PDS"
_LEAST_FREE = 16 << 30  # bytes of disk; a run writes 7 GB at most
_FILES = {KIB: 16, 100 * KIB: 16, MIB: 16, 5 * MIB: 4, 100 * MIB: 1}  # different ones per size


@dataclass
class Bench:
    """What the cases share: load client, servers that started, durations and results."""

    client: Path
    folder: Path
    servers: dict[str, Server]
    seconds: float
    rounds: int
    sizes: tuple[int, ...] = SIZES
    connections: tuple[int, ...] = CONNECTIONS
    seed: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    prices: list[Any] = field(default_factory=list)  # `Price` of sizing.py
    bulk: list[Any] = field(default_factory=list)  # `Bulk` of bulk.py
    is_quick: bool = False
    many_rows: int = 1_000_000
    say: Callable[[str], None] = print
    recyclers: list[machine.Recycler] = field(default_factory=list)

    @contextlib.contextmanager
    def recycling(self, *recycled: Server) -> Iterator[None]:
        """Free the memory of files that *recycled* write at once, and the disk after each run."""
        with contextlib.ExitStack() as stack:
            self.recyclers = [stack.enter_context(server.recycler()) for server in recycled]
            try:
                yield
            finally:
                self.recyclers = []

    def having(self, *names: str) -> list[Server]:
        return [self.servers[name] for name in names if name in self.servers]


def load(
    bench: Bench, server: Server, socket: str, connections: int, seconds: float, *work: str
) -> dict[str, Any]:
    """Run the load client once; what it counted, and the CPU that *server* used."""
    command = [str(bench.client), "--target", server.targets[socket]]
    command += ["--connections", str(connections), "--seconds", str(seconds), *work]
    if "--get" not in work:  # blobs are fetched without credentials
        for header in server.headers:
            command += ["--header", header]
    return run_client(bench, server, command)


def run_client(
    bench: Bench, server: Server, command: list[str], words: str | None = None
) -> dict[str, Any]:
    """Run a client, which gets *words* and prints JSON; as `load`."""
    if shutil.disk_usage(bench.folder).free < _LEAST_FREE:
        raise SystemExit(
            f"bench: stopped: less than {_LEAST_FREE >> 30} GiB are free at {bench.folder}"
        )
    machine.warm()
    before = machine.cpu_seconds(server.pids)
    done = subprocess.run(
        command, input=words, stdout=subprocess.PIPE, text=True, check=True, timeout=900
    )
    counted: dict[str, Any] = json.loads(done.stdout)
    counted["server_cpu_seconds"] = machine.cpu_seconds(server.pids) - before
    for recycler in bench.recyclers:
        recycler.empty()
    if counted["failed"]:
        bench.say(f"    {counted['failed']} of {counted['requests']} failed: {counted['problem']}")
    return counted


Run = Callable[[float], dict[str, Any]]


def compare(bench: Bench, work: str, cells: list[tuple[int, int, dict[str, Run]]]) -> None:
    """Run each contestant of each cell (size, connections, contestants) once a round.

    Leaves one row of medians for each.
    """
    order = random.Random(bench.seed)
    samples: dict[tuple[int, int, str], list[dict[str, Any]]] = {}
    for turn in range(bench.rounds):
        for size, connections, contestants in order.sample(cells, len(cells)):
            if turn and size * connections > 1000 * MIB:
                continue  # seconds each: once is enough
            for name, run in order.sample(sorted(contestants.items()), len(contestants)):
                samples.setdefault((size, connections, name), []).append(run(bench.seconds))
        bench.say(f"  {work}: round {turn + 1} of {bench.rounds}")
    for (size, connections, name), counted in sorted(samples.items()):
        bench.rows.append(
            {"work": work, "who": name, "size": size, "connections": connections} | _row(counted)
        )


def _row(counted: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians of *counted*, and the rate of each round, for ratios."""
    for one in counted:
        one["rate"] = one["requests"] / one["seconds"]
        one["megabytes"] = one["bytes"] / one["seconds"] / 1e6
        one["cpu_ms"] = one["server_cpu_seconds"] * 1e3 / one["requests"]
        one["client_cores"] = one["client_cpu_seconds"] / one["seconds"]
    row = {name: median([one[name] for one in counted]) for name in _MEASURES}
    return row | {
        "failed": sum(one["failed"] for one in counted),
        "rates": [one["rate"] for one in counted],
    }


_MEASURES = ("rate", "megabytes", "p50_ms", "p99_ms", "cpu_ms", "client_cores")


def name_of(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"


def median(values: list[float]) -> float:
    """The middle one of *values*, or the mean of the two in the middle."""
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def sockets(server: Server) -> list[str]:
    """The kinds of socket that *server* is measured on."""
    # S3 takes so long that the kind of socket does not show.
    return ["tcp"] if server.below else sorted(server.targets)


def _cells(bench: Bench, work: str, sizes: Iterable[int]) -> list[tuple[int, int]]:
    cells = [(size, connections) for size in sizes for connections in bench.connections]
    # The S3 server keeps all that it gets: 64 bodies of 100 MiB at once would take minutes and fill
    # the disk.
    return [
        (size, connections)
        for size, connections in cells
        if "S3" not in work or size * connections <= 1000 * MIB
    ]


def uploads(bench: Bench) -> None:
    """New bodies: ours over TCP, a Unix socket and nginx, the sink, the reference."""
    _uploads(bench, "upload", ("ours", "ours behind nginx", "sink", "reference"))


def duplicates(bench: Bench) -> None:
    """The same body again and again: ours alone and behind nginx, and the reference."""
    _uploads(bench, "duplicate", ("ours", "ours behind nginx", "reference"), "--same")
    ours = bench.servers["ours"]
    arguments = (
        "--upload",
        UPLOAD,
        "--size",
        str(MIB),
        "--header",
        "Content-Type: image/png",
        "--same",
    )
    load(bench, ours, "tcp", 1, 0, *arguments)
    before = _written_bytes(ours)
    counted = load(bench, ours, "tcp", 8, bench.seconds, *arguments)
    bench.facts["bytes written per duplicate"] = (_written_bytes(ours) - before) / counted[
        "requests"
    ]


def s3(bench: Bench) -> None:
    """New bodies into S3, and downloads of them."""
    _uploads(bench, "upload to S3", ("ours on S3",))
    _downloads(bench, "download from S3", ("ours on S3",), {})


def postgresql(bench: Bench) -> None:
    """New bodies and downloads with the rows on PostgreSQL, beside the same with SQLite."""
    few = replace(
        bench,
        sizes=tuple(size for size in bench.sizes if size in (KIB, MIB)),
        connections=(1, 8),
    )
    names = ("ours", "ours on PostgreSQL")
    _uploads(few, "upload, PostgreSQL", names)
    _downloads(few, "download, PostgreSQL", names, {})


def stores(bench: Bench) -> None:
    """New bodies through the reference PDS, which keeps them here, in SeaweedFS or on its disk."""
    few = replace(
        bench,
        sizes=tuple(size for size in bench.sizes if size in (100 * KIB, 5 * MIB)),
        connections=(1, 8),
    )
    _uploads(few, STORES, ("reference", "reference on ours", "reference on S3"))


def _uploads(bench: Bench, work: str, names: tuple[str, ...], *options: str) -> None:
    def run_of(server: Server, socket: str, size: int, connections: int) -> Run:
        arguments = (
            "--upload",
            UPLOAD,
            "--size",
            str(size),
            "--header",
            "Content-Type: image/png",
            *options,
        )
        return lambda seconds: load(bench, server, socket, connections, seconds, *arguments)

    cells = []
    for size, connections in _cells(bench, work, bench.sizes):
        contestants = {
            f"{server.name}, {socket}": run_of(server, socket, size, connections)
            for server in bench.having(*names)
            for socket in sockets(server)
        }
        cells.append((size, connections, contestants))
    # The one file of a duplicate stays; the reference writes it again each time.
    recycled = bench.having(*names) if work != "duplicate" else bench.having("reference")
    with bench.recycling(*recycled):
        compare(bench, work, cells)


def downloads(bench: Bench) -> None:
    """Public blobs, whole; from 5 MiB on also as a range without the first and the last byte."""
    names = ("ours", "ours behind nginx", "reference")
    _downloads(bench, "download", names, {})
    sizes = {size: f"bytes=1-{size - 2}" for size in bench.sizes if size >= 5 * MIB}
    if sizes:
        _downloads(bench, "range", ("ours", "ours behind nginx"), sizes)


def _downloads(bench: Bench, work: str, names: tuple[str, ...], ranges: dict[int, str]) -> None:
    def run_of(server: Server, socket: str, file: Path, connections: int) -> Run:
        return lambda seconds: load(bench, server, socket, connections, seconds, "--get", str(file))

    files: dict[tuple[str, int], Path] = {}
    for size in ranges or bench.sizes:
        suffix = f"\t{ranges[size]}" if ranges else ""
        for server in bench.having(*names):
            paths = [server.publish(image(size, number)) for number in range(_FILES[size])]
            files[server.name, size] = listed(bench, f"{work}-{server.name}-{size}", paths, suffix)
            if server.name == "ours" and "nginx" in bench.servers:
                plain = [below_store(path) for path in paths]
                files["nginx", size] = listed(bench, f"{work}-nginx-{size}", plain, suffix)
    cells = []
    for size, connections in _cells(bench, work, ranges or bench.sizes):
        contestants = {
            f"{server.name}, {socket}": run_of(
                server, socket, files[server.name, size], connections
            )
            for server in bench.having(*names, "nginx")
            for socket in sockets(server)
            if (server.name, size) in files
        }
        cells.append((size, connections, contestants))
    compare(bench, work, cells)


def image(size: int, number: int) -> bytes:
    """*size* bytes that begin as a PNG, different ones for each *number*."""
    start = bytes.fromhex("89504e470d0a1a0a0000000d494844520000040000000400080200000000f07fbcd1")[
        :33
    ]
    start += max(0, size - 57).to_bytes(4, "big") + b"IDAT" + f"{size}.{number}.".encode()
    return (start + random.Random(number).randbytes(size))[:size]


def listed(bench: Bench, name: str, paths: list[str], suffix: str) -> Path:
    file = bench.folder / f"{name.replace(' ', '-')}.paths"
    file.write_text("".join(f"{path}{suffix}\n" for path in paths))
    return file


def below_store(path: str) -> str:
    """The address at nginx of the file that *path*, of getBlob, serves."""
    from aurora_blobs.protocol.cid import place_of

    cid = path.rpartition("cid=")[2]
    return f"/{place_of(cid)}"


def _written_bytes(server: Server) -> int:
    """Bytes that *server* has written, without those that were deleted before the disk had them."""
    total = 0
    for root in server.pids:
        for pid in machine.tree(root):
            text = Path(f"/proc/{pid}/io").read_text()
            total += int(text.partition("\nwrite_bytes: ")[2].split()[0])
            total -= int(text.partition("\ncancelled_write_bytes: ")[2].split()[0])
    return total


def memory(bench: Bench) -> None:
    """Eight bodies of 100 MiB at once: the peak memory of the process tree, above idle."""
    for server in bench.having("ours", "reference"):
        idle = machine.proportional_bytes(server.pids)
        with bench.recycling(server), machine.PeakMemory(server.pids) as watched:
            arguments = (
                "--upload",
                UPLOAD,
                "--size",
                str(100 * MIB),
                "--header",
                "Content-Type: image/png",
            )
            load(bench, server, "tcp", 8, 0.1, "--least", "2", *arguments)
        bench.facts[f"{server.name}: idle memory, MB"] = idle / 1e6
        bench.facts[f"{server.name}: memory above idle, MB"] = (watched.peak - idle) / 1e6


def cpu(bench: Bench) -> None:
    """The CPU that SHA-256 alone takes for 100 MiB; the server's is in the rows of `uploads`."""
    bench.facts["SHA-256 of 100 MiB, ms"] = machine.sha256_seconds(100 * MIB) * 1e3
    if any(row["work"] == "upload" and row["size"] == 100 * MIB for row in bench.rows):
        return
    arguments = (
        "--upload",
        UPLOAD,
        "--size",
        str(100 * MIB),
        "--header",
        "Content-Type: image/png",
    )
    server = bench.servers["ours"]

    def run_of(socket: str) -> Run:
        return lambda seconds: load(bench, server, socket, 1, seconds, *arguments)

    with bench.recycling(server):
        cell = {f"ours, {socket}": run_of(socket) for socket in sockets(server)}
        compare(bench, "upload", [(100 * MIB, 1, cell)])


@contextlib.contextmanager
def trickling(
    server: Server, socket: str, count: int, size: int, bytes_per_second: int
) -> Iterator[None]:
    """*count* uploads of *size* bytes at *bytes_per_second* each, while the block runs."""
    lines = [f"POST {UPLOAD} HTTP/1.1", "Host: localhost", "Content-Type: image/png"]
    lines += [f"Content-Length: {size}", *server.headers, "", ""]
    program = Path(__file__).with_name("trickle.py")
    command = [str(program), server.targets[socket], str(count), str(bytes_per_second)]
    process = subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin and process.stdout
    process.stdin.write("\r\n".join(lines).encode() + image(size, 0))
    process.stdin.close()
    process.stdout.readline()
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def slow_clients(bench: Bench) -> None:
    """A fast upload of 1 MiB while 64 others trickle in at 20 KB/s."""
    arguments = ("--upload", UPLOAD, "--size", str(MIB), "--header", "Content-Type: image/png")
    for server in bench.having("ours", "ours behind nginx"):
        usual, troubled = [], []
        with bench.recycling(server):
            for _ in range(bench.rounds):
                usual.append(load(bench, server, "tcp", 1, bench.seconds, *arguments)["p50_ms"])
                with trickling(server, "tcp", 64, MIB, 20_000):
                    time.sleep(1)
                    troubled.append(
                        load(bench, server, "tcp", 1, bench.seconds, *arguments)["p50_ms"]
                    )
        bench.facts[f"{server.name}: fast upload, usual p50 ms"] = median(usual)
        bench.facts[f"{server.name}: fast upload among 64 slow, p50 ms"] = median(troubled)


def client(bench: Bench) -> None:
    """What the load client reaches with a sink that only receives: far above all the rest."""
    try:
        server = bench.servers["discard"]
    except KeyError:
        raise Missing("the sink") from None
    _uploads(bench, "client's limit", (server.name,))
