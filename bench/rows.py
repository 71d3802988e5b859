"""How fast and how evenly the service starts; what millions of blobs cost instead of a thousand."""

import hashlib
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import servers
from cases import KIB, UPLOAD, Bench, image, listed, load, median
from servers import Missing, Server

from aurora_blobs.protocol.cid import cid_of_digest

FEW = 1_000
WORKS = ("upload", "getBlob", "listBlobs", "gc")
_COLLECTABLE = 300  # rows of each database that the collector may take
_PER_ACCOUNT = 100  # rows for each account; one of them has half of all


def start_time(bench: Bench) -> None:
    """From the command to the first answer of /xrpc/_health.

    The first start, which makes the data folder, is left out.
    """
    seconds = []
    with (bench.folder / "log").open("ab") as log:
        for _ in range(6):
            began = time.perf_counter()
            server = servers.spawn_ours(bench.folder / "starts", log)
            try:
                _wait_for_health(server.targets["tcp"])
                seconds.append(time.perf_counter() - began)
            finally:
                server.stop()
    bench.facts["start to first answer, s"] = median(seconds[1:])


def evenness(bench: Bench) -> None:
    """Small downloads by 8 clients after each of 20 starts: one is as fast as another."""
    rates = []
    with (bench.folder / "log").open("ab") as log:
        for _ in range(20):
            server = servers.start_ours(bench.folder / "evenness", log)
            try:
                time.sleep(1)  # until each of its processes is up
                paths = listed(bench, "evenness", [server.publish(image(KIB, 0))], "")
                counted = load(bench, server, "tcp", 8, bench.seconds, "--get", str(paths))
            finally:
                server.stop()
            rates.append(counted["requests"] / counted["seconds"])
    bench.facts["slowest of 20 starts: times the median"] = min(rates) / median(rates)


def _wait_for_health(target: str) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://{target}/xrpc/_health", timeout=5):
                return
        except (ConnectionError, urllib.error.URLError):
            time.sleep(0.002)
    raise Missing("a service that answers within 30 s")


def growth(bench: Bench) -> None:
    """Upload, getBlob, a page of listBlobs, a step of the collector: with few and many rows."""
    milliseconds: dict[tuple[str, int], list[float]] = {}
    with (bench.folder / "log").open("ab") as log:
        both = {}
        try:
            for count in (FEW, bench.many_rows):
                folder = bench.folder / f"rows-{count}"
                both[count] = servers.start_ours(folder, log, UNREFERENCED_GRACE="30d")
                database = folder / "aurora.sqlite3"
                fill(database, both[count].did, count)
                bench.facts[f"database, {count:,} rows, bytes a blob"] = (
                    database.stat().st_size / count
                )
            works = {count: _works(bench, server, count) for count, server in both.items()}
            for _ in range(2 * bench.rounds + 1):
                for count, server in both.items():
                    for what, arguments in works[count].items():
                        counted = load(bench, server, "tcp", 1, bench.seconds / 2, *arguments)
                        milliseconds.setdefault((what, count), []).append(counted["p50_ms"])
                    step = servers.collect(bench.folder / f"rows-{count}", limit=20)
                    milliseconds.setdefault(("gc", count), []).append(step * 1e3)
        finally:
            for server in both.values():
                server.stop()
    for what in WORKS:
        few, many = (milliseconds[what, count] for count in (FEW, bench.many_rows))
        bench.facts[f"{what}, {FEW:,} rows, ms"] = median(few)
        bench.facts[f"{what}, {bench.many_rows:,} rows, ms"] = median(many)
        bench.facts[f"rows: {what}"] = median(
            [after / before for before, after in zip(few, many, strict=True)]
        )


def _works(bench: Bench, server: Server, count: int) -> dict[str, tuple[str, ...]]:
    paths = [server.publish(image(KIB, number)) for number in range(8)]
    middle = cid_of_digest((1 << 255).to_bytes(32, "big"))
    page = f"/xrpc/com.atproto.sync.listBlobs?did={server.did}&limit=100&cursor={middle}"
    return {
        "upload": ("--upload", UPLOAD, "--size", str(KIB), "--header", "Content-Type: image/png"),
        "getBlob": ("--get", str(listed(bench, f"rows-{count}-get", paths, ""))),
        "listBlobs": ("--get", str(listed(bench, f"rows-{count}-list", [page], ""))),
    }


def fill(database: Path, did: str, count: int) -> None:
    """Write *count* blobs with a record each into *database*, half of them owned by *did*.

    They have no files. `_COLLECTABLE` of them have no record, and their grace time is long over.
    """
    now = time.time_ns() // 1000
    # Not as CIDs: ten million of them take a gigabyte.
    digests = sorted(hashlib.sha256(str(number).encode()).digest() for number in range(count))
    others = [f"did:web:neighbour{number}.test" for number in range(count // _PER_ACCOUNT)]
    connection = sqlite3.connect(database, isolation_level=None, timeout=60)
    connection.execute("PRAGMA synchronous = OFF")
    # A gigabyte: with SQLite's 2 MB each page of an index goes to the log again and again.
    connection.execute("PRAGMA cache_size = -1000000")
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "INSERT INTO account (did, created_at) VALUES (?, ?)", ((other, now) for other in others)
    )
    connection.executemany(
        "INSERT INTO blob (cid, size, created_at, stored_at) VALUES (?, 1024, ?, ?)",
        ((cid_of_digest(digest), now, now) for digest in digests),
    )
    connection.executemany(
        "INSERT INTO blob_metadata"
        " (creator_did, cid, mime_type, size, created_at, unreferenced_since)"
        " VALUES (?, ?, 'image/png', 1024, ?, ?)",
        (
            _holding(number, cid_of_digest(digest), did, others, count, now)
            for number, digest in enumerate(digests)
        ),
    )
    connection.executemany(
        "INSERT INTO record (did, collection, rkey, cid, value, rev)"
        " VALUES (?, 'com.example.file', ?, ?, '{}', ?)",
        (
            (owner, f"r{number}", cid, rev(number))
            for number, cid, owner in _records(digests, did, others, count)
        ),
    )
    connection.executemany(
        "INSERT INTO record_blob (did, record_uri, cid, rev, mime_type, size)"
        " VALUES (?, ?, ?, ?, 'image/png', 1024)",
        (
            (owner, f"at://{owner}/com.example.file/r{number}", cid, rev(number))
            for number, cid, owner in _records(digests, did, others, count)
        ),
    )
    connection.execute(
        """
        UPDATE account
           SET blob_count = (SELECT COUNT(*) FROM blob_metadata WHERE creator_did = did),
               blob_bytes =
                   (SELECT COALESCE(SUM(size), 0) FROM blob_metadata WHERE creator_did = did)
        """
    )
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _owner(number: int, did: str, others: list[str]) -> str:
    return did if number % 2 else others[number // 2 % len(others)]


def _is_collectable(number: int, count: int) -> bool:
    return number % (count // _COLLECTABLE) == 0


def _holding(
    number: int, cid: str, did: str, others: list[str], count: int, now: int
) -> tuple[object, ...]:
    since = number + 1 if _is_collectable(number, count) else None
    return _owner(number, did, others), cid, now, since


def _records(
    digests: list[bytes], did: str, others: list[str], count: int
) -> Iterator[tuple[int, str, str]]:
    for number, digest in enumerate(digests):
        if not _is_collectable(number, count):
            yield number, cid_of_digest(digest), _owner(number, did, others)


def rev(number: int) -> str:
    letters = "234567abcdefghijklmnopqrstuvwxyz"
    return "3k" + "".join(letters[number >> 5 * place & 31] for place in reversed(range(11)))
