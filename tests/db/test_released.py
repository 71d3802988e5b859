"""A database of every released version becomes one of this version, and nothing of it is lost."""

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest
from support.accounts import ALICE
from support.cids import cid_of
from support.project import ROOT
from support.services import services_of
from support.tracer import Child

from aurora_blobs.app import create_command_app
from aurora_blobs.config import Config
from aurora_blobs.db import SCHEMA, SCHEMA_VERSION, SqliteDatabase
from aurora_blobs.maintenance.fsck import Fsck

pytestmark = pytest.mark.sqlite

BOB = "did:web:bob.test"
RELEASED = sorted((Path(__file__).parent / "released").glob("*.sql"))
SHARED, ONE, TEMPORARY, TAKEN_DOWN = (
    *(b"bytes that alice and bob have", b"bytes of alice"),
    *(b"temporary bytes of alice", b"bytes that were taken down"),
)


@pytest.fixture(params=RELEASED, ids=lambda path: path.stem)
def folder(request, tmp_path):
    """A data folder as a released version has left it."""
    folder = tmp_path / "released"
    for data in (SHARED, ONE, TEMPORARY, TAKEN_DOWN):
        shard = folder / "blobs" / sha256(data).hexdigest()[:2]
        shard.mkdir(parents=True, exist_ok=True)
        (shard / cid_of(data)).write_bytes(data)
    with contextlib.closing(sqlite3.connect(folder / "aurora.sqlite3")) as connection:
        connection.executescript(request.param.read_text())
    return folder


@pytest.fixture
def commands(folder):
    config = Config.from_environ({"AURORA_BLOBS_DATA_DIR": str(folder)})
    return create_command_app(config).test_cli_runner()


def schema_of(path):
    """All tables and indexes of a database, without the spaces between words, and its version."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%'"
        ).fetchall()
        [(version,)] = connection.execute("SELECT version FROM schema_version").fetchall()
    # ALTER and DROP leave other spaces, and quotes, than a script.
    texts = {
        name: (kind, table, re.sub(r'[\s"]+', " ", re.sub(r"\s+([,)])", r"\1", sql or "")))
        for kind, name, table, sql in found
    }
    return texts, version


def upgrade(path):
    with contextlib.closing(SqliteDatabase(path, durable=True)) as database:
        database.upgrade(SCHEMA.read_text())


@pytest.fixture
def newest(tmp_path):
    upgrade(tmp_path / "new.sqlite3")
    return schema_of(tmp_path / "new.sqlite3")


def test_an_upgrade_ends_with_the_schema_of_a_new_database(folder, newest):
    upgrade(folder / "aurora.sqlite3")

    assert schema_of(folder / "aurora.sqlite3") == newest
    assert newest[1] == SCHEMA_VERSION


def test_a_database_that_is_right_is_not_changed(folder):
    upgrade(folder / "aurora.sqlite3")
    with contextlib.closing(sqlite3.connect(folder / "aurora.sqlite3")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (folder / "aurora.sqlite3").read_bytes()

    upgrade(folder / "aurora.sqlite3")

    assert (folder / "aurora.sqlite3").read_bytes() == before


def test_what_was_there_is_served(open_app, folder):
    app = open_app(DATA_DIR=str(folder), ALLOWED_MIME_TYPES="*/*")
    client = app.test_client()

    def fetch(did, data):
        answer = client.get(f"/xrpc/com.atproto.sync.getBlob?did={did}&cid={cid_of(data)}")
        return answer.status_code, answer.data if answer.status_code == 200 else answer.json[
            "error"
        ]

    session = client.post(
        "/xrpc/com.atproto.server.createSession",
        json={"identifier": "alice.test", "password": "correct horse"},
    )
    record = client.get(
        f"/xrpc/com.atproto.repo.getRecord?repo={ALICE}&collection=com.example.file&rkey=one"
    )
    with services_of(app).database.read() as tx:
        assert tx.one("SELECT COUNT(*) FROM record_usage")[0] == 2

    assert session.status_code == 200
    assert record.json["value"]["file"]["ref"]["$link"] == cid_of(ONE)
    assert fetch(ALICE, SHARED) == fetch(BOB, SHARED) == (200, SHARED)
    assert fetch(ALICE, ONE) == (200, ONE)
    assert fetch(ALICE, TEMPORARY) == fetch(BOB, TAKEN_DOWN) == (400, "BlobNotFound")


def test_nothing_is_found_wrong_after_an_upgrade(open_app, folder):
    found = services_of(open_app(DATA_DIR=str(folder), ALLOWED_MIME_TYPES="*/*"))
    check = Fsck(
        found.database,
        found.blobs.backend,
        found.config.data_folder.spool,
        found.clock,
        repair=False,
    )

    assert [finding for finding in check.run() if not finding.leftover] == []


def test_a_death_at_any_call_leaves_the_old_or_the_new(folder, newest):
    path = folder / "aurora.sqlite3"
    script = RELEASED[0].read_text()
    old = schema_of(path)
    found = set()
    for point in count():
        for left in folder.glob("aurora.sqlite3*"):
            left.unlink()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript(script)
        child = Child(lambda child: upgrade(path), folder)
        for _ in range(point):
            child.advance()
        is_over = child.has_ended
        child.kill()
        found.add(schema_of(path)[1])
        assert schema_of(path) in (old, newest)
        upgrade(path)
        assert schema_of(path) == newest
        if is_over:
            break

    assert found == {old[1], newest[1]}


@pytest.mark.parametrize("words", [("blobs", "list"), ("account", "list"), ("blobs", "gc")])
def test_a_command_upgrades_nothing(commands, folder, words):
    before = (folder / "aurora.sqlite3").read_bytes()

    result = commands.invoke(args=words)

    assert result.exit_code == 1
    assert "`aurora-blobs init-db` upgrades it" in str(result.exception or result.output)
    assert (folder / "aurora.sqlite3").read_bytes() == before


@pytest.mark.parametrize("command", [("init-db",), ("run",)], ids=" ".join)
def test_a_step_that_fails_says_which_and_why_and_leaves_the_database_as_it_was(folder, command):
    with contextlib.closing(sqlite3.connect(folder / "aurora.sqlite3")) as connection:
        connection.execute("ALTER TABLE blob ADD COLUMN number BIGINT")
    before = schema_of(folder / "aurora.sqlite3")

    done = subprocess.run(
        [sys.executable, "-m", "aurora_blobs", *command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "AURORA_BLOBS_DATA_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(
        "aurora_blobs: the upgrade of the database from schema version 1 to 2 failed: "
        "duplicate column name: number; it is as it was"
    )
    assert "AURORA_BLOBS_DATA_DIR" not in done.stderr
    assert schema_of(folder / "aurora.sqlite3") == before


def test_an_upgrade_may_keep_the_older_database_in_a_backup(commands, folder, tmp_path):
    old = schema_of(folder / "aurora.sqlite3")

    upgraded = commands.invoke(args=["init-db", "--backup", str(tmp_path / "kept")])
    again = commands.invoke(args=["init-db", "--backup", str(tmp_path / "kept again")])

    assert (upgraded.exit_code, again.exit_code) == (0, 0)
    assert schema_of(tmp_path / "kept" / "aurora.sqlite3") == old
    assert not (tmp_path / "kept again").exists()
    assert "no upgrade is due" not in upgraded.output
    assert "no upgrade is due, so nothing was copied" in again.output
