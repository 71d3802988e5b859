"""The figures that the service has to reach, each compared with what was measured."""

from collections.abc import Iterator
from dataclasses import dataclass

import bulk
import rows
from cases import KIB, MIB, STORES, Bench, median, name_of
from posts import PLAIN, POSTERS, SIZE, WORK
from sizing import CHECKS


@dataclass
class Line:
    """One figure; *measured* is None if this run did not measure it."""

    what: str
    bound: float
    at_least: bool
    measured: float | None
    unit: str = "x"

    @property
    def mark(self) -> str:
        if self.measured is None:
            return "not measured"
        met = self.measured >= self.bound if self.at_least else self.measured <= self.bound
        return "met" if met else "NOT MET"


def required(bench: Bench) -> list[Line]:
    parts = [_uploads, _downloads, _thumbnails, _at_a_pds, _on_postgresql, _on_s3, _bulk, _facts]
    return [line for part in parts for line in part(bench)]


def _at_least(what: str, bound: float, measured: float | None, unit: str = "x") -> Line:
    return Line(what, bound, True, measured, unit)


def _at_most(what: str, bound: float, measured: float | None, unit: str = "x") -> Line:
    return Line(what, bound, False, measured, unit)


def ratio(
    bench: Bench, work: str, size: int, connections: int, who: str, other: str
) -> float | None:
    """The rate of *who* divided by that of *other*: the median of the ratios inside each round."""
    rates = {
        row["who"]: row["rates"]
        for row in bench.rows
        if (row["work"], row["size"], row["connections"]) == (work, size, connections)
    }
    if who not in rates or other not in rates:
        return None
    return median([mine / theirs for mine, theirs in zip(rates[who], rates[other], strict=True)])


def _uploads(bench: Bench) -> Iterator[Line]:
    ours, reference = "ours, tcp", "reference, tcp"
    bounds = {
        (KIB, 1): 3, (KIB, 8): 3, (100 * KIB, 1): 3, (100 * KIB, 8): 3, (MIB, 1): 2, (MIB, 8): 3,
        (5 * MIB, 1): 1.3, (5 * MIB, 8): 2.2, (100 * MIB, 1): 2, (100 * MIB, 8): 3,
    }  # fmt: skip
    for (size, connections), bound in bounds.items():
        measured = ratio(bench, "upload", size, connections, ours, reference)
        yield _at_least(
            f"upload {name_of(size)}, {connections} at once: times the reference", bound, measured
        )
    for size in (MIB, 5 * MIB, 100 * MIB):
        for connections in (1, 8):
            for socket in ("tcp", "unix"):
                measured = ratio(
                    bench, "upload", size, connections, f"ours, {socket}", f"sink, {socket}"
                )
                what = f"upload {name_of(size)}, {connections} at once, {socket}"
                yield _at_least(f"{what}: times the sink with the same fsyncs", 0.7, measured)
    for size in bench.sizes:
        for connections in (1, 8):
            measured = ratio(bench, "duplicate", size, connections, ours, reference)
            what = f"duplicate upload {name_of(size)}, {connections} at once: times the reference"
            yield _at_least(what, 3, measured)
    # A row alone would be 4096. What is left is a heartbeat or a log line of the server.
    yield _at_most(
        "duplicate upload: bytes written", 100, bench.facts.get("bytes written per duplicate"), "B"
    )
    alone = bench.facts.get("SHA-256 of 100 MiB, ms")
    for socket, bound in (("unix", 2.0), ("tcp", 2.7)):
        used = _value(bench, "upload", 100 * MIB, 1, f"ours, {socket}", "cpu_ms")
        measured = used / alone if used and alone else None
        yield _at_most(
            f"server CPU of a 100 MiB upload, {socket}: times SHA-256 alone", bound, measured
        )


def _downloads(bench: Bench) -> Iterator[Line]:
    ours, behind = "ours, tcp", "ours behind nginx, tcp"
    for size in (KIB, 100 * KIB):
        for connections in (1, 8):
            where = f"getBlob {name_of(size)}, {connections} at once"
            measured = ratio(bench, "download", size, connections, ours, "reference, tcp")
            yield _at_least(f"{where}: times the reference", 3, measured)
            measured = ratio(bench, "download", size, connections, behind, "reference, tcp")
            yield _at_least(f"{where}, behind nginx: times the reference", 5, measured)
    for size in (MIB, 5 * MIB, 100 * MIB):
        for connections in (1, 8):
            where = f"getBlob {name_of(size)}, {connections} at once"
            measured = ratio(bench, "download", size, connections, behind, "nginx, tcp")
            yield _at_least(f"{where}, behind nginx: times nginx serving the file", 0.9, measured)
            if size == MIB:
                continue
            measured = ratio(bench, "download", size, connections, ours, "nginx, tcp")
            yield _at_least(f"{where}: times nginx serving the file", 0.75, measured)
            part = _value(bench, "range", size, connections, ours, "rate")
            whole = _value(bench, "download", size, connections, ours, "rate")
            yield _at_least(
                f"{where}: a range, times the whole", 0.9, part / whole if part and whole else None
            )


def _thumbnails(bench: Bench) -> Iterator[Line]:
    work = "kept thumbnail"
    size = next((row["size"] for row in bench.rows if row["work"] == work), 0)
    measured = ratio(bench, work, size, 8, "ours behind nginx, tcp", "nginx, tcp")
    yield _at_least(f"{work}, 8 at once, behind nginx: times nginx serving it", 0.5, measured)


def _at_a_pds(bench: Bench) -> Iterator[Line]:
    ours, reference = "ours behind nginx, tcp", "reference behind nginx, tcp"
    for work in (WORK, PLAIN):
        measured = ratio(bench, work, SIZE, POSTERS, ours, reference)
        yield _at_least(f"{work}, {POSTERS} at once: times the reference", 4, measured)
    for size in (100 * KIB, 5 * MIB):
        for connections in (1, 8):
            measured = ratio(
                bench, STORES, size, connections, "reference on ours, tcp", "reference on S3, tcp"
            )
            what = f"{STORES} {name_of(size)}, {connections} at once, its blobs here"
            yield _at_least(f"{what}: times in SeaweedFS", 1, measured)


def _on_postgresql(bench: Bench) -> Iterator[Line]:
    for work, what, bound in (("upload", "upload", 0.5), ("download", "getBlob", 0.7)):
        for size in (KIB, MIB):
            measured = ratio(
                bench, f"{work}, PostgreSQL", size, 8, "ours on PostgreSQL, tcp", "ours, tcp"
            )
            line = f"{what} {name_of(size)} on PostgreSQL, 8 at once: times SQLite"
            yield _at_least(line, bound, measured)


def _on_s3(bench: Bench) -> Iterator[Line]:
    for work, bound in (("upload to S3", 2.2), ("download from S3", 1.2)):
        for connections in (1, 8):
            used = _value(bench, work, KIB, connections, "ours on S3, tcp", "cpu_ms")
            yield _at_most(
                f"server CPU of a 1 KiB {work}, {connections} at once", bound, used, "ms"
            )


def _bulk(bench: Bench) -> Iterator[Line]:
    times = {(one.work, one.size): one.times for one in bench.bulk}
    for size in bulk.SIZES:
        for work in bulk.WORKS:
            yield _at_least(
                f"{work}, files of {name_of(size)}: times C", 0.8, times.get((work, size))
            )
    for work in bulk.COPIES:
        measured = times.get((work, bulk.SMALL))
        yield _at_most(
            f"{work}, files of {name_of(bulk.SMALL)}: times the time of cp -a and fsync",
            3,
            1 / measured if measured else None,
        )


def _facts(bench: Bench) -> Iterator[Line]:
    facts = bench.facts
    yield _at_most(
        "memory above idle, 8 x 100 MiB at once", 64, facts.get("ours: memory above idle, MB"), "MB"
    )
    for name, what in (("ours behind nginx", "behind nginx"), ("ours", "alone (served at all)")):
        usual = facts.get(f"{name}: fast upload, usual p50 ms")
        troubled = facts.get(f"{name}: fast upload among 64 slow, p50 ms")
        measured = troubled / usual if usual and troubled else None
        bound = 1.5 if name == "ours behind nginx" else float("inf")
        yield _at_most(
            f"a fast upload's p50 among 64 slow ones, {what}: times its usual", bound, measured
        )
    yield _at_most("start to first answer", 0.6, facts.get("start to first answer, s"), "s")
    name = "slowest of 20 starts: times the median"
    yield _at_least(f"getBlob 1 KiB, 8 at once, {name}", 0.85, facts.get(name))
    yield _at_least(
        "a mirror's first sync: times curl --parallel of the same list",
        0.7,
        facts.get("first sync: times curl"),
    )
    for limit, what, *_ in CHECKS:
        name = f"two nodes, {limit} first, {what}: times predicted"
        yield _at_least(name, 0.8, facts.get(name))
        yield _at_most(name, 1.2, facts.get(name))
    for what in rows.WORKS:
        name = f"{what} with {bench.many_rows:,} rows: times {rows.FEW:,} rows"
        yield _at_most(name, 1.15, facts.get(f"rows: {what}"))


def _value(
    bench: Bench, work: str, size: int, connections: int, who: str, measure: str
) -> float | None:
    for row in bench.rows:
        cell = row["work"], row["size"], row["connections"], row["who"]
        if cell == (work, size, connections, who):
            value: float = row[measure]
            return value
    return None
