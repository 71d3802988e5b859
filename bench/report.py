"""The figures as text, as Markdown and as JSON."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bulk
from cases import MIB, STORES, Bench, name_of
from required import ratio, required
from sizing import CORES, DATABASE_CORES, node_table, price_table

_LIMITS = ("sink, tcp", "sink, unix", "nginx, tcp")


def as_json(bench: Bench, machine: dict[str, str]) -> dict[str, Any]:
    """Everything that was measured, and the figures that are required."""
    lines = [
        {
            "what": line.what,
            "at least" if line.at_least else "at most": line.bound,
            "measured": line.measured,
            "unit": line.unit,
            "mark": line.mark,
        }
        for line in required(bench)
    ]
    return {
        "machine": machine,
        "seconds": bench.seconds,
        "rounds": bench.rounds,
        "facts": bench.facts,
        "required": lines,
        "rows": bench.rows,
        "prices": [asdict(price) for price in bench.prices],
        "bulk": [asdict(one) for one in bench.bulk],
    }


def as_markdown(bench: Bench, machine: dict[str, str]) -> str:
    """The machine, the figures, and the required ones with their marks."""
    parts = [
        ", ".join(f"{name}: {value}" for name, value in machine.items()) + ".",
        "Requests a second below 1 MiB, MB/s (1e6 bytes) from there on; medians of "
        f"{bench.rounds} rounds of {bench.seconds:g} s. p50, p99 and CPU (all processes, per "
        "request) are of ours over TCP. The limit is what a C server with the same fsyncs takes, "
        "or nginx sends; client is the cores that the load client used at most. Nodes are of "
        f"{CORES} cores, and the database of {DATABASE_CORES}.",
        table(*_figures(bench)),
        table((STORES, "at once", "its blobs here", "SeaweedFS", "its own disk"), _stores(bench)),
        table(*bulk.table(bench.bulk)),
        table(*price_table(bench.prices)),
        table(*node_table(bench.prices)),
        table(("required", "bound", "measured", ""), _required(bench)),
        table(
            ("also measured", ""), ((name, f"{value:.4g}") for name, value in bench.facts.items())
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures(bench: Bench) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    rows: dict[tuple[str, int, int], dict[str, dict[str, Any]]] = {}
    for row in bench.rows:
        if row["work"] != STORES:
            rows.setdefault((row["work"], row["size"], row["connections"]), {})[row["who"]] = row
    head = (
        *("work", "size", "at once", "TCP", "Unix socket", "behind nginx", "limit", "reference"),
        *("x reference", "PostgreSQL", "x SQLite", "p50 ms", "p99 ms", "CPU ms", "client"),
    )
    lines: list[tuple[str, ...]] = []
    for (work, size, connections), by_name in rows.items():
        tcp = next(
            (by_name[name] for name in ("ours, tcp", "ours on S3, tcp") if name in by_name), None
        )
        unix = by_name.get("ours, unix") or by_name.get("ours on S3, unix")
        limits = [_rate(by_name[name], size) for name in _LIMITS if name in by_name]
        where = " behind nginx" if "reference behind nginx, tcp" in by_name else ""
        reference = f"reference{where}, tcp"
        times = ratio(bench, work, size, connections, f"ours{where}, tcp", reference)
        kept = ratio(bench, work, size, connections, "ours on PostgreSQL, tcp", "ours, tcp")
        lines.append(
            (
                work,
                name_of(size),
                str(connections),
                _rate(tcp, size),
                _rate(unix, size),
                _rate(by_name.get("ours behind nginx, tcp"), size),
                " / ".join(limits) or _rate(by_name.get("discard, tcp"), size),
                _rate(by_name.get(reference), size),
                f"{times:.1f}" if times else "",
                _rate(by_name.get("ours on PostgreSQL, tcp"), size),
                f"{kept:.2f}" if kept else "",
                f"{tcp['p50_ms']:.3g}" if tcp else "",
                f"{tcp['p99_ms']:.3g}" if tcp else "",
                f"{tcp['cpu_ms']:.3g}" if tcp else "",
                f"{max(row['client_cores'] for row in by_name.values()):.2f}",
            )
        )
    return head, lines


def _stores(bench: Bench) -> Iterator[tuple[str, ...]]:
    cells: dict[tuple[int, int], dict[str, dict[str, Any]]] = {}
    for row in bench.rows:
        if row["work"] == STORES:
            cells.setdefault((row["size"], row["connections"]), {})[row["who"]] = row
    for (size, connections), by_name in cells.items():
        names = ("reference on ours", "reference on S3", "reference")
        rates = (_rate(by_name.get(f"{name}, tcp"), size) for name in names)
        yield (name_of(size), str(connections), *rates)


def _rate(row: dict[str, Any] | None, size: int) -> str:
    if row is None:
        return ""
    shown = f"{row['megabytes']:,.0f}" if size >= MIB else f"{row['rate']:,.0f}"
    return f"{shown} ({row['failed']} failed)" if row["failed"] else shown


def _required(bench: Bench) -> list[tuple[str, ...]]:
    return [
        (
            line.what,
            f"{'>=' if line.at_least else '<='} {line.bound:g} {line.unit}",
            "" if line.measured is None else f"{line.measured:.3g} {line.unit}",
            line.mark,
        )
        for line in required(bench)
        if line.measured is not None
    ]


def table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A Markdown table that is aligned as text too; empty if there are no *lines*."""
    cells = [list(head), *(list(line) for line in lines)]
    if len(cells) == 1:
        return ""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    texts = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    return "\n".join(
        [texts[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *texts[1:]]
    )


BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def publish(bench: Bench, machine: dict[str, str], out: Path, project: Path) -> None:
    """Copy *out* to bench/results/, and put the figures at 8 at once into bench/README.md."""
    kept = project / "bench" / "results"
    kept.mkdir(exist_ok=True)
    for name in ("results.json", "results.md", "results.svg"):
        shutil.copy(out / name, kept / name)
    page = project / "bench" / "README.md"
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        print(f"bench/README.md has no {BEGIN} and {END} to put the figures between")
        return
    page.write_text(f"{before}{begin}\n{_summary(bench, machine)}\n{end}{after}")


def _summary(bench: Bench, machine: dict[str, str]) -> str:
    head, lines = _figures(bench)
    shown = [
        head.index(name)
        for name in ("work", "size", "TCP", "behind nginx", "limit", "reference", "p99 ms")
    ]
    chosen = [
        line for line in lines if line[2] == "8" and line[0] in ("upload", "duplicate", "download")
    ]
    marks = [line.mark for line in required(bench) if line.measured is not None]
    return "\n\n".join(
        (
            "Eight clients at once, each file and row on the disk before the answer; requests a "
            "second below 1 MiB, MB/s from there on. The limit is a C server with the same fsyncs "
            "(TCP / Unix socket), or nginx serving the plain file; the reference is the PDS of "
            "Bluesky, which does not fsync.",
            table((head[i] for i in shown), ([line[i] for i in shown] for line in chosen)),
            "![MB/s against size](results/results.svg)",
            f"{machine['cpu']}, {machine['memory']}, {machine['file system']}, {machine['date']}; "
            f"`make bench` measures it again. "
            f"Of {len(marks)} required figures {marks.count('met')} are met: "
            "[all of them](results/results.md).",
        )
    )
