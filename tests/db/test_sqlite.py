import contextlib
import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from support.open_files import open_files
from support.threads import in_threads

from aurora_blobs.config import ConfigError
from aurora_blobs.data_folder import DataFolder
from aurora_blobs.db import Database, disk_space, open_database
from aurora_blobs.db.sqlite import IDLE_CONNECTIONS, SCHEMA_VERSION
from aurora_blobs.errors import InsufficientStorage, ServiceBusy
from aurora_blobs.storage import group_fsync

SCHEMA = """
-- A comment; with a semicolon.
CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS tally (name TEXT PRIMARY KEY, value BIGINT NOT NULL CHECK (value >= 0));
CREATE TABLE IF NOT EXISTS note (
    name TEXT NOT NULL REFERENCES tally (name) ON DELETE CASCADE, text TEXT
);
INSERT INTO tally (name, value) VALUES ('n', 0) ON CONFLICT (name) DO NOTHING;
"""

# Runs in processes of their own. `ready` waits until all of them may begin.
PREAMBLE = f"""
import atexit, os, sys, threading
from aurora_blobs.db import open_database
database = open_database("sqlite:" + sys.argv[1], durable=False)
atexit.register(database.close)
SCHEMA = '''{SCHEMA}'''
def ready():
    print("ready", flush=True)
    sys.stdin.readline()
def value():
    with database.read() as tx:
        return tx.one("SELECT value FROM tally WHERE name = 'n'")[0]
def add(times=1):
    for _ in range(times):
        with database.write() as tx:
            now = tx.one("SELECT value FROM tally WHERE name = 'n'")[0]
            tx.run("UPDATE tally SET value = ? WHERE name = 'n'", now + 1)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "folder" / "test.sqlite3"


@pytest.fixture
def tally(path):
    database = open_database(f"sqlite:{path}", durable=False)
    database.upgrade(SCHEMA)
    yield database
    database.close()
    assert open_files(path.parent) == []


@pytest.fixture
def run(path):
    """``run(script, count)`` runs it in *count* processes at once; their output after "ready"."""

    def run(script, count=1):
        command = [sys.executable, "-W", "error", "-c", PREAMBLE + script, path]
        with contextlib.ExitStack() as stack:
            processes = [
                stack.enter_context(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                    )
                )
                for _ in range(count)
            ]
            for process in processes:
                process.stdout.readline()
            outputs = [process.communicate(b"\n", timeout=60) for process in processes]
        assert [error.decode() for _, error in outputs] == [""] * count
        return [output.decode().split() for output, _ in outputs]

    return run


def value(database):
    with database.read() as tx:
        return tx.one("SELECT value FROM tally WHERE name = ?", "n")[0]


def add(database, times=1):
    for _ in range(times):
        with database.write() as tx:
            now = tx.one("SELECT value FROM tally WHERE name = ?", "n")[0]
            tx.run("UPDATE tally SET value = ? WHERE name = ?", now + 1, "n")


def intact(database):
    with database.read() as tx:
        return tx.one("PRAGMA integrity_check") == ("ok",)


def test_a_statement_gives_a_row_rows_or_a_count(tally):
    with tally.write() as tx:
        assert tx.run("INSERT INTO tally (name, value) VALUES (?, ?), (?, ?)", "a", 1, "b", 2) == 2
        assert tx.one("SELECT value FROM tally WHERE name = ?", "a") == (1,)
        assert tx.one("SELECT value FROM tally WHERE name = ?", "z") is None
        assert tx.all("SELECT name, value FROM tally ORDER BY name") == [
            ("a", 1),
            ("b", 2),
            ("n", 0),
        ]
        assert tx.all("SELECT name FROM tally WHERE value > ?", 9) == []


@pytest.mark.parametrize(
    "error, statement",
    [
        (ZeroDivisionError, "SELECT 1"),
        (sqlite3.IntegrityError, "UPDATE tally SET value = -1"),
        (sqlite3.IntegrityError, "INSERT INTO note (name, text) VALUES ('unknown', 'x')"),
        (sqlite3.OperationalError, "SELECT nothing FROM nowhere"),
    ],
    ids=["of the caller", "check", "foreign key", "statement"],
)
def test_an_error_undoes_the_whole_transaction(tally, error, statement):
    with pytest.raises(error), tally.write() as tx:
        tx.run("UPDATE tally SET value = 7")
        tx.run(statement)
        raise ZeroDivisionError

    assert value(tally) == 0
    add(tally)
    assert value(tally) == 1


def test_deletion_cascades(tally):
    with tally.write() as tx:
        tx.run("INSERT INTO note (name, text) VALUES (?, ?)", "n", "text")
        tx.run("DELETE FROM tally")

    with tally.read() as tx:
        assert tx.all("SELECT text FROM note") == []


def test_a_reader_sees_a_snapshot_and_blocks_no_writer(tally):
    with tally.read() as tx:
        before = tx.one("SELECT value FROM tally")
        assert in_threads(lambda: add(tally), 1) == []
        after = tx.one("SELECT value FROM tally")

    assert before == after == (0,)
    assert value(tally) == 1


def test_a_writer_does_not_block_a_reader(tally):
    values = []
    with tally.write() as tx:
        tx.run("UPDATE tally SET value = 7")
        assert in_threads(lambda: values.append(value(tally)), 1) == []

    assert values == [0]


def test_a_reader_changes_nothing(tally):
    with tally.read() as tx:
        tx.run("UPDATE tally SET value = 7")

    assert value(tally) == 0


def test_no_addition_of_many_threads_is_lost(tally):
    assert in_threads(lambda: add(tally, 50), 8) == []

    assert value(tally) == 400


def test_no_addition_of_many_processes_is_lost(tally, run):
    run("ready(); add(200)", count=3)

    assert value(tally) == 600
    assert intact(tally)


def test_many_processes_may_make_the_same_new_file_at_once(run):
    script = "ready(); database.upgrade(SCHEMA); add(); print('done')"

    assert run(script, count=5) == [["done"]] * 5
    assert run("ready(); print(value())") == [["5"]]


@pytest.mark.parametrize("method", ["read", "write"])
@pytest.mark.parametrize("inner", ["read", "write"])
def test_transactions_do_not_nest(tally, method, inner):
    with getattr(tally, method)() as tx:
        with pytest.raises(RuntimeError, match="nest"), getattr(tally, inner)():
            pytest.fail("it did")
        assert tx.one("SELECT value FROM tally") == (0,)

    add(tally)


@pytest.fixture
def impatient(path, tally):
    """A database that waits for a lock for at most 0.2 s."""
    database = Database(path, durable=False, busy_seconds=0.2)
    yield database
    database.close()


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


def test_an_upgrade_keeps_what_is_there(tally):
    add(tally)

    tally.upgrade(SCHEMA)

    assert value(tally) == 1
    with tally.read() as tx:
        assert tx.all("SELECT version FROM schema_version") == [(SCHEMA_VERSION,)]


def test_a_new_database_that_fails_half_way_is_empty(path):
    database = Database(path, durable=False)
    with pytest.raises(sqlite3.OperationalError):
        database.upgrade(SCHEMA + "CREATE TABLE broken (;\n")

    database.upgrade(SCHEMA)

    assert value(database) == 0
    database.close()


def test_a_database_of_another_program_is_refused(path):
    path.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a TEXT)")
    with (
        contextlib.closing(Database(path, durable=False)) as database,
        pytest.raises(ConfigError, match="none of this program"),
    ):
        database.upgrade(SCHEMA)


def test_a_file_of_a_newer_program_is_refused(tally):
    with tally.write() as tx:
        tx.run("UPDATE schema_version SET version = ?", SCHEMA_VERSION + 1)

    with pytest.raises(
        ConfigError, match=f"schema version {SCHEMA_VERSION + 1}, this program knows up to"
    ):
        tally.upgrade(SCHEMA)


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


def test_a_one_shot_sees_what_is_committed_and_changes_nothing(tally):
    one_shot = tally.one_shot()

    before = one_shot.one("SELECT value FROM tally")
    add(tally)

    assert before == (0,)
    assert one_shot.all("SELECT value FROM tally") == [(1,)]
    with pytest.raises(RuntimeError):
        one_shot.run("DELETE FROM tally")


def test_a_file_that_is_no_database_is_not_left_open(tmp_path):
    path = tmp_path / "broken.sqlite3"
    path.write_bytes(b"not a database at all" * 100)
    database = open_database(f"sqlite:{path}", durable=False)

    for _ in range(3):
        with pytest.raises(sqlite3.DatabaseError), database.read():
            pytest.fail("the block ran")
        assert open_files(tmp_path) == []


def test_a_closed_database_opens_again(tally):
    add(tally)

    tally.close()

    assert value(tally) == 1


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


def test_a_forked_child_has_connections_of_its_own(tally, run):
    script = """
ready()
add(10)
child = os.fork()
add(20)
if child == 0:
    add(20)
    database.close()
    os._exit(0)
print(os.waitpid(child, 0)[1], value())
"""

    assert run(script) == [["0", "70"]]
    assert intact(tally)


def test_the_threads_of_a_forked_child_begin_at_once(tally, run):
    script = """
ready()
add()
for _ in range(20):
    child = os.fork()
    if child == 0:
        start = threading.Barrier(8)
        def work():
            start.wait(10)
            add(3)
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print(value())
"""

    assert run(script) == [["481"]]
    assert intact(tally)


def test_a_killed_writer_loses_nothing_that_was_committed(tally, path):
    script = PREAMBLE + "\nwhile True:\n    add()\n    print(value(), flush=True)\n"
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE) as process:
        said = [int(process.stdout.readline()) for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().split()]

    assert value(tally) in (said[-1], said[-1] + 1)
    assert intact(tally)
    add(tally)


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
