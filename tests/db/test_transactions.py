"""What every engine of the database promises: the contract of the seam."""

import signal
import subprocess
import sys

import pytest
from support.tally import PREAMBLE, SCHEMA, add, value
from support.threads import in_threads

from aurora_blobs.config import ConfigError
from aurora_blobs.db import SCHEMA_VERSION, open_database
from aurora_blobs.errors import DatabaseError


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


def test_a_transaction_that_may_be_begun_again_gives_what_its_work_does(tally):
    with pytest.raises(ZeroDivisionError):
        tally.transact(lambda tx: tx.run("UPDATE tally SET value = 6") / 0)

    assert tally.transact(lambda tx: tx.run("UPDATE tally SET value = value + 7")) == 1
    assert value(tally) == 7


def test_statements_that_are_run_together_are_all_run_or_none(tally):
    add_one = "UPDATE tally SET value = value + ?"
    with tally.write() as tx:
        tx.run_all((add_one, (1,)), (add_one, (2,)))
        assert tx.one("SELECT value FROM tally") == (3,)
    with pytest.raises(DatabaseError), tally.write() as tx:
        tx.run_all((add_one, (1,)), (add_one, (-9,)), (add_one, (20,)))

    assert value(tally) == 3
    add(tally)
    assert value(tally) == 4


def test_a_change_by_one_statement_is_there_at_once(tally):
    add_one = "UPDATE tally SET value = value + ? WHERE name = ? RETURNING value"

    found = [tally.one_change(keys=()).one(add_one, 1, "n") for _ in range(2)]
    with pytest.raises(DatabaseError):
        tally.one_change(keys=()).one(add_one, -9, "n")

    assert found == [(1,), (2,)]
    assert tally.one_change(keys=()).all(add_one, 1, "another") == []
    assert value(tally) == 2


def test_who_has_the_database_alone_changes_it_or_nothing(tally):
    called = []
    with pytest.raises(ZeroDivisionError), tally.alone() as tx:
        tx.run("UPDATE tally SET value = 6")
        raise ZeroDivisionError
    with tally.alone() as tx:
        tx.after_commit.append(lambda: called.append(value(tally)))
        assert tx.run("UPDATE tally SET value = value + 7") == 1

    assert called == [7]


@pytest.mark.parametrize(
    "error, statement",
    [
        (ZeroDivisionError, "SELECT 1"),
        (DatabaseError, "UPDATE tally SET value = -1"),
        (DatabaseError, "INSERT INTO note (name, text) VALUES ('unknown', 'x')"),
        (DatabaseError, "SELECT nothing FROM nowhere"),
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


def test_many_processes_may_make_the_same_new_database_at_once(run):
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


def test_an_upgrade_keeps_what_is_there(tally):
    add(tally)

    tally.upgrade(SCHEMA)

    assert value(tally) == 1
    with tally.read() as tx:
        assert tx.all("SELECT version FROM schema_version") == [(SCHEMA_VERSION,)]


def test_a_new_database_that_fails_half_way_is_empty(url):
    database = open_database(url, durable=False)
    with pytest.raises(DatabaseError):
        database.upgrade(SCHEMA + "CREATE TABLE broken (;\n")

    database.upgrade(SCHEMA)

    assert value(database) == 0
    database.close()


def test_a_database_of_a_newer_program_is_refused(tally):
    with tally.write() as tx:
        tx.run("UPDATE schema_version SET version = ?", SCHEMA_VERSION + 1)

    with pytest.raises(
        ConfigError,
        match=f"version {SCHEMA_VERSION + 1}, .* up to {SCHEMA_VERSION}: install .*`backup res",
    ):
        tally.upgrade(SCHEMA)


def test_a_database_of_another_program_is_refused(tally):
    with tally.write() as tx:
        tx.run("DROP TABLE schema_version")

    with pytest.raises(ConfigError, match="none of this program"):
        tally.upgrade(SCHEMA)


def test_a_one_shot_sees_what_is_committed_and_changes_nothing(tally):
    one_shot = tally.one_shot()

    before = one_shot.one("SELECT value FROM tally")
    add(tally)

    assert before == (0,)
    assert one_shot.all("SELECT value FROM tally") == [(1,)]
    with pytest.raises(RuntimeError):
        one_shot.run("DELETE FROM tally")


def test_a_closed_database_opens_again(tally):
    add(tally)

    tally.close()

    assert value(tally) == 1


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


def test_a_killed_writer_loses_nothing_that_was_committed(tally, url):
    script = PREAMBLE + "\nwhile True:\n    add()\n    print(value(), flush=True)\n"
    with subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE) as process:
        said = [int(process.stdout.readline()) for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().split()]

    assert value(tally) in (said[-1], said[-1] + 1)
    add(tally)
