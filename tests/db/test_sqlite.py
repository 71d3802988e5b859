"""What is SQLite's own: its files and locks."""

import contextlib
import fcntl
import os
import sqlite3
import threading
import time

import pytest
from support.open_files import open_files
from support.tally import SCHEMA, add, value
from support.threads import in_threads

from aurora_blobs.data_folder import DataFolder
from aurora_blobs.db import SqliteDatabase, disk_space, open_database
from aurora_blobs.db.sqlite import IDLE_CONNECTIONS
from aurora_blobs.errors import DatabaseError, InsufficientStorage, ServiceBusy
from aurora_blobs.storage import group_fsync

pytestmark = pytest.mark.sqlite


@pytest.fixture
def impatient(path, tally):
    """A database that waits for a lock for at most 0.2 s."""
    database = SqliteDatabase(path, durable=False, busy_seconds=0.2)
    yield database
    database.close()


def test_nobody_writes_while_another_has_the_database_alone(tally, impatient):
    with tally.alone() as tx:
        tx.run("UPDATE tally SET value = 7")
        with pytest.raises(ServiceBusy):
            add(impatient)
        assert value(impatient) == 0

    add(impatient)
    assert value(impatient) == 8


@pytest.fixture
def locked(path, tally):
    """The database file, with its write lock held by another connection."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        yield stranger
        stranger.execute("ROLLBACK")


def test_a_lock_held_elsewhere_is_not_waited_for_long(impatient, locked):
    with pytest.raises(ServiceBusy), impatient.write():
        pytest.fail("the block ran")

    assert value(impatient) == 0


def test_waiters_for_a_lock_give_up_together(impatient, locked):
    began = time.monotonic()

    errors = in_threads(lambda: add(impatient), 40)

    assert [type(error) for error in errors] == [ServiceBusy] * 40
    assert time.monotonic() - began < 20 * 0.2  # in turn it would be twice as long


def test_a_writer_that_gave_up_writes_when_the_lock_is_gone(impatient, path, tally):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(ServiceBusy):
            add(impatient)

    add(impatient)

    assert value(impatient) == 1


def test_a_full_database_is_known_by_its_name(tally):
    with tally.read() as tx:
        pages = tx.one("PRAGMA page_count")[0]
        tx.one(f"PRAGMA max_page_count = {pages + 1}")

    with pytest.raises(InsufficientStorage), tally.write() as tx:
        tx.run("INSERT INTO note (name, text) VALUES (?, ?)", "n", "x" * 100_000)

    with tally.read() as tx:
        assert tx.all("SELECT text FROM note") == []
    add(tally)


def test_the_files_are_for_their_owner_alone(tally, path):
    add(tally)

    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()}

    assert modes == dict.fromkeys(
        (path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.name}-lock"), "0o600"
    )


def test_a_copy_is_for_its_owner_alone_too(tally, tmp_path):
    tally.copy_to(tmp_path / "copy")

    assert oct((tmp_path / "copy").stat().st_mode & 0o777) == "0o600"


def test_a_writer_waits_for_its_turn_among_the_processes(tally, path):
    add(tally)
    with open(f"{path}-lock") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        writer = threading.Thread(target=add, args=(tally,))
        writer.start()
        writer.join(0.2)
        waiting = writer.is_alive()
    writer.join(60)

    assert waiting
    assert value(tally) == 2


def test_threads_that_ended_leave_no_connection_open(tally, path):
    for _ in range(30):
        assert in_threads(lambda: value(tally), 1) == []

    databases = [file for file in open_files(path.parent) if file == str(path)]
    assert len(databases) <= 3


def test_many_threads_at_once_leave_few_connections_open(tally, path):
    inside = threading.Barrier(40)

    def read() -> None:
        with tally.read() as tx:
            inside.wait(20)
            assert tx.one("SELECT value FROM tally") == (0,)

    assert in_threads(read, 40) == []
    # Each connection has the log open. SQLite keeps descriptors of the database file itself.
    logs = [file for file in open_files(path.parent) if file == f"{path}-wal"]
    assert len(logs) <= IDLE_CONNECTIONS


def test_hundreds_of_threads_at_once_need_few_connections(path, tally):
    assert in_threads(lambda: value(tally), 250) == []

    # SQLite keeps a descriptor of the file for each connection that there was at one time.
    files = [file for file in open_files(path.parent) if file == str(path)]
    assert len(files) <= 2 * IDLE_CONNECTIONS


def test_a_file_that_is_no_database_is_not_left_open(tmp_path):
    path = tmp_path / "broken.sqlite3"
    path.write_bytes(b"not a database at all" * 100)
    database = open_database(f"sqlite:{path}", durable=False)

    for _ in range(3):
        with pytest.raises(DatabaseError), database.read():
            pytest.fail("the block ran")
        assert open_files(tmp_path) == []


@pytest.mark.parametrize(
    "durable, flushes", [(True, 1), (False, 0)], ids=["full", "left to the kernel"]
)
def test_a_commit_that_changed_something_is_flushed(tmp_path, monkeypatch, durable, flushes):
    database = open_database(f"sqlite:{tmp_path / 'd.sqlite3'}", durable=durable)
    database.upgrade(SCHEMA)
    flushed = []
    monkeypatch.setattr(group_fsync, "sync_file", flushed.append)

    with database.write() as tx:
        tx.one("SELECT COUNT(*) FROM tally")
    with database.write() as tx:
        tx.run("INSERT INTO tally (name, value) VALUES ('m', 1)")
    database.close()

    assert flushed == [tmp_path / "d.sqlite3-wal"] * flushes


def test_a_commit_that_is_left_to_the_kernel_is_flushed_with_the_next_one(path, monkeypatch):
    flushed = []
    monkeypatch.setattr(group_fsync, "sync_file", flushed.append)
    with contextlib.closing(open_database(f"sqlite:{path}", durable=True)) as database:
        database.upgrade(SCHEMA)
        with database.write() as tx:
            tx.run("UPDATE tally SET value = 1")
            tx.leave_to_kernel()
        before = len(flushed)
        add(database)

        assert (before, len(flushed), value(database)) == (0, 1, 2)


def test_a_commit_that_keeps_others_out_is_flushed_while_they_wait(path, monkeypatch):
    seen = []
    monkeypatch.setattr(group_fsync, "sync_file", lambda path: seen.append("flush"))

    @contextlib.contextmanager
    def before_commit(tx):
        yield
        seen.append("the hook lets go")

    url = f"sqlite:{path}"
    with contextlib.closing(
        open_database(url, durable=True, before_commit=before_commit)
    ) as database:
        database.upgrade(SCHEMA)
        with database.write() as tx:
            tx.run("UPDATE tally SET value = 1")
            tx.keep_others_out()

    assert seen == ["flush", "the hook lets go"]


def test_a_url_names_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    database = open_database("sqlite:here.sqlite3", durable=False)
    database.upgrade(SCHEMA)
    database.close()

    assert os.path.exists(tmp_path / "here.sqlite3")


def test_the_folders_of_a_service_are_made_with_their_names_on_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(group_fsync, "sync_folder", synced.append)

    disk_space(
        f"sqlite:{tmp_path}/rows/here/aurora.sqlite3", DataFolder(tmp_path / "srv" / "data"), 0
    )

    for folder in ("srv/data", "rows/here"):
        assert (tmp_path / folder).is_dir()
    assert {tmp_path, tmp_path / "srv", tmp_path / "rows"} <= set(synced)
