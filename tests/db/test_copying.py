"""A database is copied into another one, of either engine: all of it, or nobody uses the copy."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from support.accounts import ALICE, BOB
from support.databases import ENGINE, database_url, execute, new_database_url

from aurora_blobs.config import ConfigError
from aurora_blobs.db import SCHEMA, copying, open_database

CIDS = [f"bafkrei{number:04}" for number in range(2500)]


@pytest.fixture
def places(tmp_path):
    """``places(direction)``: the URLs of a database with tables, and of an empty one.

    With the tests of PostgreSQL one of them is there, and the other one a file.
    """
    paths = tmp_path / "one.sqlite3", tmp_path / "other.sqlite3"

    def places(direction):
        if direction == "there":
            return f"sqlite:{paths[0]}", new_database_url(paths[1])
        return database_url(paths[0]), f"sqlite:{paths[1]}"

    return places


@pytest.fixture
def filled(places):
    """``filled(direction)`` is as `places`, and the first one has rows."""

    def filled(direction):
        source, target = places(direction)
        with closing(open_database(source, durable=False)) as database:
            database.upgrade(SCHEMA.read_text())
            with database.write() as tx:
                tx.run_each(
                    "INSERT INTO account (did, handle, created_at, rev) VALUES (?, ?, ?, ?)",
                    [(ALICE, "alice.test", -(2**63), None), (BOB, "bob.test", 2**63 - 1, "~\x7f")],
                )
                tx.run_each(
                    "INSERT INTO blob (cid, size, created_at) VALUES (?, ?, 7)",
                    [(cid, number) for number, cid in enumerate(CIDS)],
                )
                tx.run_each(
                    """
                    INSERT INTO blob_metadata (creator_did, cid, mime_type, size, created_at)
                    VALUES (?, ?, '', 7, 7)
                    """,
                    [(did, cid) for did in (ALICE, BOB) for cid in CIDS[:100]],
                )
                tx.run_each(
                    """
                    INSERT INTO record (did, collection, rkey, cid, value, rev)
                    VALUES (?, 'com.example.a', ?, 'c', ?, 'r')
                    """,
                    [(BOB, key, "日本語 \\x00 é\r\n" + key * 900_000) for key in "Bab~éz"],
                )
        return source, target

    return filled


def rows(url):
    """Every row of every table."""
    with closing(open_database(url, durable=False)) as database, database.read() as tx:
        names = copying.tables(SCHEMA.read_text())
        return {table.name: tx.all(table.all_rows()) for table in names}


def copy(*words):
    return subprocess.run(
        [sys.executable, "-m", "aurora_blobs", "database", "copy", *words],
        capture_output=True,
        text=True,
        timeout=120,
    )


# Copies, and dies after so many rows.
DYING = """
import os, sys
from aurora_blobs.db import copying, open_database
source, target = (open_database(url, durable=False) for url in sys.argv[1:3])
left = int(sys.argv[3])
def count(rows):
    global left
    left -= rows
    if left < 0:
        os.kill(os.getpid(), 9)
with source.alone() as tx:
    job = copying.Copy(tx)
    is_new = not copying.is_begun(target, sys.argv[1])
    copying.begin(target, sys.argv[1], is_new=is_new)
    job.progress = count
    job.bring(target, is_new=is_new)
"""


@pytest.fixture
def broken_off(filled):
    """``broken_off(direction, rows)`` is as `filled`, and a copy was killed after *rows*."""

    def broken_off(direction, rows):
        source, target = filled(direction)
        killed = subprocess.run(
            [sys.executable, "-c", DYING, source, target, str(rows)], timeout=120
        )
        assert killed.returncode == -signal.SIGKILL
        return source, target

    return broken_off


@pytest.mark.parametrize("direction", ["there", "back"])
def test_a_copy_has_every_row(filled, direction):
    source, target = filled(direction)
    before = rows(source)

    copied = copy(source, target)

    assert (copied.returncode, copied.stderr) == (0, "")
    assert copied.stdout.startswith(f"{sum(map(len, before.values()))} rows in ")
    assert rows(target) == rows(source) == before
    assert [len(before[name]) for name in ("account", "blob", "record")] == [2, 2500, 6]
    assert before["record"][0][4] == "日本語 \\x00 é\r\n" + "B" * 900_000


@pytest.mark.parametrize("direction", ["there", "back"])
def test_what_nodes_are_at_is_not_copied(filled, direction):
    source, target = filled(direction)
    with closing(open_database(source, durable=False)) as database, database.write() as tx:
        tx.run("INSERT INTO lease (name, holder, expires_at) VALUES ('gc/000', 'one', 9)")

    copied = copy(source, target)

    assert copied.returncode == 0
    with closing(open_database(target, durable=False)) as database:
        assert database.one_shot().one("SELECT COUNT(*) FROM lease") == (0,)


@pytest.mark.parametrize("direction", ["there", "back"])
@pytest.mark.parametrize("killed_after", [2, 2502, 2702])
def test_a_copy_that_was_killed_goes_on_whatever_has_changed(broken_off, direction, killed_after):
    source, target = broken_off(direction, killed_after)
    with closing(open_database(source, durable=False)) as database, database.write() as tx:
        tx.run("UPDATE account SET handle = NULL WHERE did = ?", ALICE)
        tx.run("UPDATE account SET handle = 'alice.test' WHERE did = ?", BOB)
        tx.run("UPDATE account SET handle = 'bob.test' WHERE did = ?", ALICE)
        tx.run("DELETE FROM blob_metadata WHERE cid < ?", CIDS[50])
        tx.run("DELETE FROM blob WHERE cid < ? OR cid > ?", CIDS[50], CIDS[2200])
        tx.run("UPDATE blob SET verified_at = 8 WHERE cid < ?", CIDS[70])
        tx.run("INSERT INTO blob (cid, size, created_at) VALUES ('bafkrei00401', 1, 1)")
        tx.run("UPDATE record SET value = 'new'")

    copied = copy(source, target)

    assert (copied.returncode, copied.stderr) == (0, "")
    assert rows(target) == rows(source)


def test_no_program_uses_a_copy_that_is_not_complete(broken_off):
    _, target = broken_off("there", 2502)

    with (
        closing(open_database(target, durable=False)) as database,
        pytest.raises(ConfigError, match="a copy that was begun"),
    ):
        database.upgrade(SCHEMA.read_text())


def test_a_copy_of_another_database_is_left_alone(broken_off, tmp_path):
    _, target = broken_off("there", 2)
    other = f"sqlite:{tmp_path}/third.sqlite3"
    with closing(open_database(other, durable=False)) as database:
        database.upgrade(SCHEMA.read_text())
    refused = copy(other, target)

    assert refused.returncode == 1
    assert "TO is a copy of sqlite:" in refused.stderr


@pytest.mark.parametrize("direction", ["there", "back"])
def test_a_database_that_is_in_use_is_no_target(filled, direction):
    source, target = filled(direction)
    copy(source, target)
    before = rows(target)
    with closing(open_database(source, durable=False)) as database, database.write() as tx:
        tx.run("DELETE FROM record")

    refused = copy(source, target)

    assert refused.returncode == 1
    assert "TO is a database already" in refused.stderr
    assert rows(target) == before


@pytest.mark.parametrize(
    "statement, finding",
    [
        (
            "UPDATE account SET takedown_ref = 'a' || char(0) || 'b'",
            "account did:web:alice.test: takedown_ref has a NUL",
        ),
        ("UPDATE account SET email = did || char(0)", "email has a NUL"),
        (
            "UPDATE blob SET size = 1e30 WHERE cid = 'bafkrei0007'",
            "blob bafkrei0007: size is not a whole number of 64 bits",
        ),
        ("UPDATE blob SET created_at = 'soon'", "created_at is not a whole number of 64 bits"),
        ("UPDATE record SET value = x'00ff'", "record did:web:bob.test com.example.a B: value is"),
        ("INSERT INTO takedown VALUES ('c', CAST(x'64ff' AS TEXT), '', 1)", "UTF-8"),
        ("INSERT INTO removal VALUES (NULL, 'c', 1, 1, 1)", "removal None: id is NULL"),
        ("DELETE FROM blob WHERE cid = 'bafkrei0007'", "there is no blob that it refers to"),
        (
            "INSERT INTO takedown VALUES (printf('%.3000c', 'c'), '', '', 1)",
            "cid, did: 3000 bytes, of which an index takes 2600",
        ),
    ],
)
def test_what_does_not_fit_is_named_before_anything_is_written(filled, statement, finding):
    source, target = filled("there")
    with closing(sqlite3.connect(source.removeprefix("sqlite:"))) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(statement)
        connection.commit()

    refused = copy(source, target)

    assert refused.returncode == 1
    assert finding in refused.stdout + refused.stderr
    assert len(refused.stderr.splitlines()) <= 1
    with closing(open_database(target, durable=False)) as database:
        assert database.version() is None


def test_the_source_is_read_and_not_written_until_the_command_ends(filled):
    source, target = filled("back")
    process = subprocess.Popen(
        [sys.executable, "-m", "aurora_blobs", "database", "copy", "--hold", source, target],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stderr.readline()
        seen = rows(target)
        with pytest.raises(Exception, match="database is locked|due to lock timeout"):
            write_at_once(source)
        before = rows(source)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()

    assert "FROM is read-only until this command ends" in line
    assert (process.returncode, errors) == (0, "")
    assert "nothing is wrong" in output
    assert seen == before
    write_at_once(source)


def write_at_once(url):
    WRITE[ENGINE](url)


def write_to_file(url):
    with closing(sqlite3.connect(url.removeprefix("sqlite:"), timeout=0.2)) as connection:
        connection.execute("UPDATE blob SET size = 8")
        connection.commit()


def write_to_server(url):
    execute(url, "SET lock_timeout = '200ms'; SELECT pg_advisory_xact_lock(0)")


WRITE = {"sqlite": write_to_file, "postgresql": write_to_server}
