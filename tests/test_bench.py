"""The benchmark's generated rows, ratios, report and plot."""

import socket
import sqlite3
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.project import BENCH

from aurora_blobs.db import SCHEMA, open_database

sys.path.append(str(BENCH))

import bulk
import plot
import posts
import report
import rows
from cases import KIB, MIB, STORES, Bench
from required import required
from sizing import Counter, Price

DID = "did:web:bench.test"


def row(who, rates, work="upload", size=MIB):
    return {
        "work": work,
        "who": who,
        "size": size,
        "connections": 8,
        "rate": rates[0],
        "megabytes": rates[0],
        "p50_ms": 1.0,
        "p99_ms": 2.0,
        "cpu_ms": 3.0,
        "client_cores": 0.1,
        "failed": 0,
        "rates": rates,
    }


@pytest.fixture
def bench(tmp_path):
    measured = [row("ours, tcp", [300.0, 90.0, 320.0]), row("reference, tcp", [90.0, 45.0, 80.0])]
    return Bench(
        Path("load"),
        tmp_path,
        {},
        seconds=1,
        rounds=3,
        rows=[*measured, row("sink, tcp", [500.0, 95.0, 800.0])],
    )


def test_generated_rows_fit_the_schema(tmp_path):
    database = open_database(f"sqlite:{tmp_path / 'db'}", durable=False)
    database.upgrade(SCHEMA.read_text())
    with database.write() as tx:
        tx.run("INSERT INTO account (did, created_at) VALUES (?, 1)", DID)

    rows.fill(tmp_path / "db", DID, 1000)

    with database.read() as tx:
        assert tx.one("SELECT COUNT(*) FROM blob") == (1000,)
        assert tx.one("SELECT blob_count, blob_bytes FROM account WHERE did = ?", DID) == (
            500,
            512_000,
        )
    database.close()
    assert sqlite3.connect(tmp_path / "db").execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_ratio_is_the_median_of_those_inside_the_rounds(bench):
    marks = {line.what: (line.measured, line.mark) for line in required(bench)}

    assert marks["upload 1 MiB, 8 at once: times the reference"] == (pytest.approx(10 / 3), "met")
    assert marks["upload 1 MiB, 8 at once, tcp: times the sink with the same fsyncs"] == (
        0.6,
        "NOT MET",
    )
    assert marks["upload 5 MiB, 1 at once: times the reference"] == (None, "not measured")


def test_postgresql_is_measured_against_sqlite(bench):
    bench.rows = [
        row("ours, tcp", [300.0, 200.0, 100.0], "upload, PostgreSQL"),
        row("ours on PostgreSQL, tcp", [100.0, 120.0, 90.0], "upload, PostgreSQL"),
    ]

    marks = {line.what: (line.measured, line.mark) for line in required(bench)}

    what = "upload 1 MiB on PostgreSQL, 8 at once: times SQLite"
    assert marks[what] == (0.6, "met")
    assert "| 100        | 0.60     |" in report.as_markdown(bench, {"cpu": "2 x any"})


def test_a_photo_post_is_measured_against_the_reference_behind_the_same_nginx(bench):
    bench.rows = [
        row("ours behind nginx, tcp", [40.0, 44.0, 50.0], posts.WORK, posts.SIZE),
        row("reference behind nginx, tcp", [10.0, 10.0, 10.0], posts.WORK, posts.SIZE),
    ]

    marks = {line.what: (line.measured, line.mark) for line in required(bench)}

    assert marks["photo post, 8 at once: times the reference"] == (4.4, "met")
    text = report.as_markdown(bench, {"cpu": "2 x any"})
    assert "| photo post | 500 KiB | 8       |     |             | 40           |" in text
    assert "| 10        | 4.4         |" in text


def test_the_stores_of_a_pds_are_compared_with_each_other(bench):
    bench.rows = [
        row("reference on ours, tcp", [60.0], STORES, 100 * KIB),
        row("reference on S3, tcp", [50.0], STORES, 100 * KIB),
        row("reference, tcp", [90.0], STORES, 100 * KIB),
    ]

    marks = {line.what: (line.measured, line.mark) for line in required(bench)}

    what = "upload at the PDS 100 KiB, 8 at once, its blobs here: times in SeaweedFS"
    assert marks[what] == (1.2, "met")
    text = report.as_markdown(bench, {"cpu": "2 x any"})
    assert "| 100 KiB           | 8       | 60             | 50        | 90           |" in text


def test_large_files_are_measured_against_c_and_small_ones_against_cp(bench):
    rounds = {"seconds": {"ours": [2.0, 1.0, 4.0], "limit": [1.0, 0.9, 2.0]}}
    cpu = {"ours": [1.5] * 3, "limit": [0.5] * 3}
    bench.bulk = [
        bulk.Bulk("blobs import", MIB, 512, "C", **rounds, cpu=cpu),
        bulk.Bulk("blobs import", bulk.SMALL, 10_000, "cp -a, and fsync", **rounds, cpu=cpu),
    ]

    marks = {line.what: (line.measured, line.mark) for line in required(bench)}

    assert marks["blobs import, files of 1 MiB: times C"] == (0.5, "NOT MET")
    what = "blobs import, files of 4 KiB: times the time of cp -a and fsync"
    assert marks[what] == (2.0, "met")
    assert marks["backup make, files of 1 MiB: times C"] == (None, "not measured")
    text = report.as_markdown(bench, {"cpu": "2 x any"})
    assert "| blobs import | 512 of 1 MiB    | 268 MB   | 537 MB | 0.50 " in text
    assert "| blobs import | 10,000 of 4 KiB | 5,000    | 10,000 | 0.50 " in text


def test_nodes_are_the_limit_until_the_database_is_full(bench):
    price = Price("upload", node_ms=4, database_ms=2)
    bench.prices = [price]

    assert price.rate(node_cores=2, database_cores=8) == 500
    assert price.rate(node_cores=128, database_cores=8) == 4000
    assert "| 500    | 1,000   | 4,000   | 4,000    | 8 nodes" in report.as_markdown(bench, {})


def test_a_counter_counts_what_is_asked_and_not_the_pieces_of_it():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        counter = Counter(listener.getsockname()[1], is_http=False)
        with socket.create_connection(("127.0.0.1", counter.port)) as client:
            server = listener.accept()[0]
            for _ in range(3):
                for piece in (b"a", b"b"):
                    client.sendall(piece)
                    assert server.recv(1) == piece
                server.sendall(b"answer")
                assert client.recv(6) == b"answer"
            server.close()
    counter.close()

    assert counter.count == 3


def test_the_report_has_a_row_for_each_cell_and_a_mark_for_each_measured_figure(bench):
    text = report.as_markdown(bench, {"cpu": "2 x any"})

    assert text.count("\n| upload | 1 MiB | 8       | 300 |") == 1
    assert text.count("| met     |") == 1
    assert text.count("| NOT MET |") == 1


def test_the_plot_is_a_picture(bench):
    root = ElementTree.fromstring(plot.as_svg(bench.rows, "8 at once"))

    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall(".//{*}polyline")) == 3


def test_the_figures_go_into_the_page_between_their_marks(bench, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "bench").mkdir()
    for name in ("results.json", "results.md", "results.svg"):
        (out / name).write_text(name)
    page = tmp_path / "bench" / "README.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    facts = dict.fromkeys(("cpu", "memory", "file system", "date"), "any")

    report.publish(bench, facts, out, tmp_path)

    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| upload | 1 MiB | 300 |" in text
    assert (tmp_path / "bench" / "results" / "results.svg").read_text() == "results.svg"
