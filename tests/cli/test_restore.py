"""``backup restore`` on whatever is there: a newer database, a damaged one, or none."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
from support.accounts import ALICE
from support.cids import cid_of
from support.project import ROOT

from aurora_blobs import open_store
from aurora_blobs.storage.base import MARK

pytestmark = pytest.mark.sqlite

BLOBS = [b"bytes that alice and bob have", b"bytes of alice", b"temporary bytes of alice"]
# Of the release whose schema has version 1. It names all of BLOBS, and one more.
RELEASED = ROOT / "tests" / "db" / "released" / "0.1.0.sql"
RELEASED_BLOBS = [*BLOBS, b"bytes that were taken down"]


@pytest.fixture
def run(tmp_path):
    """``run("blobs", …)`` runs a command on the folder ``data``."""

    def run(*words):
        environment = {"AURORA_BLOBS_DATA_DIR": "data", "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-m", "aurora_blobs", *words],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def of_now(run, data):
    """A service of this version, and the backup of it."""
    with open_store(data, durable=False) as store:
        for blob in BLOBS:
            store.upload(BytesIO(blob), did=ALICE)
    assert run("backup", "make", "backup").returncode == 0
    return len(BLOBS)


@pytest.fixture
def of_release(run, data):
    """A service of the release, upgraded, and the backup of before."""
    for blob in RELEASED_BLOBS:
        shard = data / "blobs" / sha256(blob).hexdigest()[:2]
        shard.mkdir(parents=True)
        (shard / cid_of(blob)).write_bytes(blob)
    with closing(sqlite3.connect(data / "aurora.sqlite3")) as connection:
        connection.executescript(RELEASED.read_text())
    assert run("init-db", "--backup", "backup").returncode == 0
    return len(RELEASED_BLOBS)


@pytest.fixture(params=["of_now", "of_release"], ids=["a backup of now", "a backup of 0.1.0"])
def blobs(request):
    """How many blobs the backup knows."""
    return request.getfixturevalue(request.param)


def newer(database):
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE schema_version SET version = 3")
        connection.commit()


def much_newer(database):
    newer(database)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("ALTER TABLE store RENAME TO place")


def damaged(database):
    database.write_bytes(b"no database " * 1000)


def older(database):
    database.unlink()
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(RELEASED.read_text())


def kept(data):
    return [path.name for path in data.iterdir() if ".before-restore-" in path.name]


def is_right(run, blobs):
    checked = run("blobs", "fsck")
    return checked.stdout.startswith(f"{blobs} blobs, ") and checked.returncode == 0


@pytest.mark.parametrize("change", [newer, much_newer, damaged, older])
def test_a_database_that_this_version_cannot_open_is_replaced_and_kept(run, data, blobs, change):
    change(data / "aurora.sqlite3")
    before = (data / "aurora.sqlite3").read_bytes()

    restored = run("backup", "restore", "backup", "--yes")

    (name,) = kept(data)
    (line,) = restored.stdout.splitlines()
    assert restored.returncode == 0, restored.stderr
    assert f"restored the database (the one that was here before is {data}/{name} now)" in line
    assert (data / name).read_bytes() == before
    assert is_right(run, blobs)


def test_a_database_that_was_lost_comes_back_without_a_word_of_alarm(run, data, of_now):
    for path in data.glob("aurora.sqlite3*"):
        path.unlink()

    restored = run("backup", "restore", "backup", "--yes")

    assert (restored.returncode, restored.stderr) == (0, "")
    assert restored.stdout == (
        "restored the database, copied 0 blobs, 0 bytes; 3 of 3 are there: nothing is wrong\n"
    )
    assert kept(data) == []
    assert is_right(run, of_now)


def test_everything_comes_back_on_a_machine_that_has_nothing(run, data, of_now):
    shutil.rmtree(data)

    restored = run("backup", "restore", "backup", "--yes")

    assert (restored.returncode, " WARNING " in restored.stderr) == (0, False)
    assert "copied 3 blobs" in restored.stdout
    assert kept(data) == []
    assert is_right(run, of_now)


def test_a_restore_onto_nothing_that_broke_off_is_repeated(run, data, of_now):
    shutil.rmtree(data)
    assert run("backup", "restore", "backup", "--yes").returncode == 0
    # As it is before the database comes, which is last.
    for path in data.glob("aurora.sqlite3*"):
        path.unlink()
    (blob,) = data.glob(f"blobs/*/{cid_of(BLOBS[0])}")
    blob.unlink()

    restored = run("backup", "restore", "backup", "--yes")

    assert (restored.returncode, restored.stderr) == (0, "")
    assert "copied 1 blobs" in restored.stdout
    assert is_right(run, of_now)


def test_a_restore_removes_what_one_that_was_killed_has_left(run, data, of_now):
    left = data / "aurora.sqlite3.restore-0123456789abcdef"
    shutil.copy(data / "aurora.sqlite3", left)
    for suffix in ("-wal", "-shm", "-lock"):
        left.with_name(f"{left.name}{suffix}").touch()

    restored = run("backup", "restore", "backup", "--yes")

    assert restored.returncode == 0, restored.stderr
    assert list(data.glob("*.restore-*")) == []
    assert is_right(run, of_now)


@pytest.mark.parametrize("change", [newer, much_newer, damaged])
def test_nothing_is_restored_into_a_store_that_is_away(run, data, blobs, change):
    change(data / "aurora.sqlite3")
    (data / "blobs").rename(data / "away")
    before = (data / "aurora.sqlite3").read_bytes()

    refused = run("backup", "restore", "backup", "--yes")

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is it mounted" in refused.stderr
    assert (data / "aurora.sqlite3").read_bytes() == before
    assert not (data / "blobs").exists()
    assert [path.name for path in data.glob("*restore*")] == []


@pytest.mark.parametrize("change", [newer, damaged, Path.unlink])
def test_nothing_is_restored_into_the_store_of_another_database(run, data, of_now, change):
    change(data / "aurora.sqlite3")
    (data / "blobs" / MARK).write_text('{"store": "0123456789abcdef0123456789abcdef"}')

    refused = run("backup", "restore", "backup", "--yes")

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is the store of another database" in refused.stderr
    assert kept(data) == []
