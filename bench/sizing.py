"""What one node takes for an upload, a download and a record, and what many nodes would do by that.

Each unit of work has a price: CPU of the node, CPU of the database, round trips to it, bytes of its
log, requests to the store. CPU is what runs out: N nodes of C cores do N * C / (CPU of the node),
a database of D cores serves D / (its CPU), and the smaller of both is the rate. `check` holds two
nodes and their database to shares of this machine and compares.
"""

import contextlib
import http.client
import json
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import machine
import servers
from cases import KIB, MIB, UPLOAD, Bench, image, listed, median
from servers import Missing, Server

_ACCOUNTS = 4  # for each node; an account's uploads are confirmed one after the other
_CONNECTIONS = 2  # for each account
_NODES = (1, 2, 8, 64)
CORES, DATABASE_CORES = 2, 8  # of a node and of the database, in the table
# What is the limit, the work, cores of each of two nodes, cores of the database.
CHECKS = (
    ("nodes", "upload 1 KiB", 0.3, 0.5),
    ("nodes", "getBlob 100 KiB", 0.3, 0.5),
    ("database", "upload 1 KiB", 0.45, 0.12),
)


@dataclass
class Price:
    """Of one unit of work."""

    what: str
    node_ms: float = 0
    database_ms: float = 0
    round_trips: float = 0
    log_bytes: float = 0
    store_requests: float = 0

    def rate(self, node_cores: float, database_cores: float) -> float:
        """How many units a second nodes of *node_cores* in all, and their database, do."""
        return min(self.limits(node_cores, database_cores).values())

    def limits(self, node_cores: float, database_cores: float) -> dict[str, float]:
        """How many a second each of both does, if the other one were no limit."""
        return {
            "nodes": node_cores * 1e3 / self.node_ms,
            "database": database_cores * 1e3 / self.database_ms,
        }


@dataclass
class Cluster:
    """Nodes, and accounts that are loaded at once: the node, the header, a file of paths to get."""

    database: Server
    nodes: list[Server] = field(default_factory=list)
    accounts: list[tuple[Server, str, Path]] = field(default_factory=list)


class Counter:
    """Forwards connections to *port* of this machine, and counts what is asked there."""

    def __init__(self, port: int, *, is_http: bool) -> None:
        self.count = 0
        self._port = port
        self._is_http = is_http
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self._port))
                asked = [False]
                for pair in ((client, server, asked, True), (server, client, asked, False)):
                    threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(
        self, source: socket.socket, target: socket.socket, asked: list[bool], is_question: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 18):
                if self._is_http:
                    begins = data.startswith((b"GET ", b"PUT ", b"HEAD ", b"POST ", b"DELETE "))
                    self.count += is_question and begins
                else:
                    self.count += is_question and not asked[0]
                asked[0] = is_question
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()  # the other thread closes the other end

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # else it goes on waiting for a connection
        self._listener.close()


def sizing(bench: Bench) -> None:
    """Prices on one node, the table of what many would do, and the check on two."""
    with (bench.folder / "log").open("ab") as log, _stores(bench, log) as (database, store):
        bench.prices = _prices(bench, log, database, store)
        if not machine.can_hold():
            raise Missing("root and cgroups, to hold two nodes to shares of this machine")
        _check(bench, log, database, store)


@contextlib.contextmanager
def _stores(bench: Bench, log: IO[bytes]) -> Iterator[tuple[Server, dict[str, str]]]:
    """PostgreSQL, and SeaweedFS by its settings."""
    database = servers.start_postgresql(bench.folder / "sizing" / "postgresql", log)
    try:
        store, settings = servers.start_seaweedfs(bench.folder / "sizing" / "s3")
        try:
            yield database, settings
        finally:
            store.stop()
    finally:
        database.stop()


@contextlib.contextmanager
def _cluster(
    bench: Bench, log: IO[bytes], database: Server, settings: dict[str, str], count: int
) -> Iterator[Cluster]:
    """*count* nodes, each with accounts that have published blobs of 100 KiB."""
    cluster = Cluster(database)
    own = {"DATABASE_URL": servers.postgresql_url(database), "JWT_SECRET": "0" * 32}
    try:
        for number in range(count):
            folder = bench.folder / f"sizing-{secrets.token_hex(4)}"
            node = servers.start_ours(folder, log, name="node", **(own | settings))
            cluster.nodes.append(node)
            for _ in range(_ACCOUNTS):
                servers.make_account(node)
                paths = [node.publish(image(100 * KIB, 10 * number + n)) for n in range(4)]
                file = listed(bench, f"sizing-{secrets.token_hex(4)}", paths, "")
                cluster.accounts.append((node, node.headers[0], file))
        yield cluster
    finally:
        for node in cluster.nodes:
            node.stop()


def _prices(
    bench: Bench, log: IO[bytes], database: Server, settings: dict[str, str]
) -> list[Price]:
    with _cluster(bench, log, database, settings, 1) as cluster:
        prices = [_price(bench, cluster, what) for what in _WORKS]
    to_database = Counter(int(database.targets["tcp"].rpartition(":")[2]), is_http=False)
    to_store = Counter(int(settings["S3_ENDPOINT_URL"].rpartition(":")[2]), is_http=True)
    counted = Server("counted", {"tcp": f"127.0.0.1:{to_database.port}"}, database.process)
    through = settings | {"S3_ENDPOINT_URL": f"http://127.0.0.1:{to_store.port}"}
    try:
        with _cluster(bench, log, counted, through, 1) as cluster:
            for price in prices:
                few, many = (
                    _counts(bench, cluster, price, to_database, to_store, n) for n in (20, 100)
                )
                price.round_trips = (many[0] - few[0]) / 80
                price.store_requests = (many[1] - few[1]) / 80
    finally:
        to_database.close()
        to_store.close()
    return prices


def _counts(
    bench: Bench,
    cluster: Cluster,
    price: Price,
    to_database: Counter,
    to_store: Counter,
    times: int,
) -> tuple[int, int]:
    """Round trips to the database and requests to the store of so many units and a beginning."""
    before = to_database.count, to_store.count
    _WORKS[price.what](bench, cluster, 1, 0, times)
    return to_database.count - before[0], to_store.count - before[1]


def _price(bench: Bench, cluster: Cluster, what: str) -> Price:
    work = _WORKS[what]
    work(bench, cluster, _ACCOUNTS, 0.5, 1)
    pids = cluster.nodes[0].pids, cluster.database.pids
    before = [machine.cpu_seconds(one) for one in pids]
    log = servers.log_position(cluster.database)
    done = work(bench, cluster, _ACCOUNTS, 5 * bench.seconds, 1)
    node, database = (machine.cpu_seconds(one) - was for one, was in zip(pids, before, strict=True))
    written = servers.log_position(cluster.database) - log
    return Price(what, node * 1e3 / done, database * 1e3 / done, log_bytes=written / done)


Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def price_table(prices: list[Price]) -> Table:
    """Head and lines of what a unit of work costs."""
    head = ("work", "node CPU ms", "database CPU ms", "round trips", "log, KB", "store requests")
    return head, [
        (
            price.what,
            f"{price.node_ms:.2f}",
            f"{price.database_ms:.2f}",
            f"{price.round_trips:.1f}",
            f"{price.log_bytes / 1e3:.1f}",
            f"{price.store_requests:.1f}",
        )
        for price in prices
    ]


def node_table(prices: list[Price]) -> Table:
    """Head and lines of what so many nodes do a second, and at how many the database is full."""
    names = [f"{count} node{'s' * (count > 1)}" for count in _NODES]
    return ("predicted, a second", *names, "the database is full at"), [
        (
            price.what,
            *(f"{price.rate(CORES * count, DATABASE_CORES):,.0f}" for count in _NODES),
            f"{DATABASE_CORES * price.node_ms / price.database_ms / CORES:.0f} nodes",
        )
        for price in prices
    ]


def _check(bench: Bench, log: IO[bytes], database: Server, settings: dict[str, str]) -> None:
    """Two nodes and their database held to shares of this machine: measured by predicted.

    In each round the prices are those of one of the two, held as it will be, before and after: a
    machine that is busy otherwise makes CPU dearer.
    """
    with _cluster(bench, log, database, settings, 2) as cluster:
        one = replace(cluster, nodes=cluster.nodes[:1], accounts=cluster.accounts[:_ACCOUNTS])
        for limit, what, node_cores, database_cores in CHECKS:
            ratios = []
            for _ in range(bench.rounds):
                with contextlib.ExitStack() as stack:
                    for server in (*cluster.nodes, database):
                        cores = database_cores if server is database else node_cores
                        stack.enter_context(machine.held(server.pids, cores))
                    before = _price(bench, one, what)
                    _WORKS[what](bench, cluster, 2 * _ACCOUNTS, bench.seconds, 1)
                    began = time.monotonic()
                    done = _WORKS[what](bench, cluster, 2 * _ACCOUNTS, 8 * bench.seconds, 1)
                    rate = done / (time.monotonic() - began)
                    after = _price(bench, one, what)
                price = Price(
                    what,
                    node_ms=(before.node_ms + after.node_ms) / 2,
                    database_ms=(before.database_ms + after.database_ms) / 2,
                )
                limits = price.limits(2 * node_cores, database_cores)
                ratios.append(rate / min(limits.values()))
                told = ", ".join(f"{name} {most:.0f}" for name, most in limits.items())
                bench.say(f"  two nodes, {what}: {rate:.0f}/s; predicted of {told}")
            bench.facts[f"two nodes, {limit} first, {what}: times predicted"] = median(ratios)


# Does a unit of work again and again, for so many accounts, for seconds and so often at the least;
# how often it did.
Work = Callable[[Bench, Cluster, int, float, int], int]


def _load(*arguments: str) -> Work:
    def work(bench: Bench, cluster: Cluster, accounts: int, seconds: float, least: int) -> int:
        running = []
        for node, header, file in cluster.accounts[:: len(cluster.accounts) // accounts]:
            command = [str(bench.client), "--target", node.targets["tcp"]]
            command += ["--header", header] if "--get" not in arguments else []
            command += ["--connections", str(_CONNECTIONS if least == 1 else 1)]
            command += ["--seconds", str(seconds), "--least", str(least)]
            command += [str(file) if word == "FILE" else word for word in arguments]
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        counted = [json.loads(process.communicate(timeout=300)[0]) for process in running]
        failed = sum(one["failed"] for one in counted)
        if failed:
            bench.say(f"    {failed} failed: {counted[0]['problem']}")
        return int(sum(one["requests"] for one in counted)) - failed

    return work


def _upload(size: int) -> Work:
    return _load("--upload", UPLOAD, "--size", str(size), "--header", "Content-Type: image/png")


def _records(bench: Bench, cluster: Cluster, accounts: int, seconds: float, least: int) -> int:
    """New records that name a blob."""
    done: list[int] = []

    def create(node: Server, header: str, file: Path) -> None:
        query = file.read_text().splitlines()[0].partition("?")[2]
        did, cid = (word.partition("=")[2] for word in query.split("&"))
        blob = {"$type": "blob", "ref": {"$link": cid}, "mimeType": "image/png", "size": 100 * KIB}
        value = {"$type": "com.example.file", "blob": blob}
        body = json.dumps({"repo": did, "collection": "com.example.file", "record": value})
        headers = dict([header.split(": ", 1)]) | {"Content-Type": "application/json"}
        connection = http.client.HTTPConnection(node.targets["tcp"], timeout=60)
        count, end = 0, time.monotonic() + seconds
        while count < least or time.monotonic() < end:
            connection.request("POST", "/xrpc/com.atproto.repo.createRecord", body, headers)
            answer = connection.getresponse()
            said = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"createRecord: {answer.status} {said[:200]!r}")
            count += 1
        connection.close()
        done.append(count)

    chosen: list[Any] = cluster.accounts[:: len(cluster.accounts) // accounts]
    threads = [threading.Thread(target=create, args=account) for account in chosen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done)


_WORKS: dict[str, Work] = {
    "upload 1 KiB": _upload(KIB),
    "upload 1 MiB": _upload(MIB),
    "upload again": _load(
        *("--upload", UPLOAD, "--size", str(KIB), "--header", "Content-Type: image/png", "--same")
    ),
    "getBlob 100 KiB": _load("--get", "FILE"),
    "createRecord": _records,
}
