"""What is PostgreSQL's own: its locks, its connections, and what goes wrong with a server."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import count
from urllib.parse import quote

import pytest
from support.accounts import ALICE, BOB, GET_BLOB, sign_up
from support.cids import cid_in, cid_of
from support.databases import database_url, execute
from support.live_service import becomes
from support.media_samples import jpeg
from support.ports import free_port
from support.services import close, services_of
from support.tally import PREAMBLE, SCHEMA, add, value
from support.threads import in_threads

from aurora_blobs import open_store
from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.app import create_app, create_command_app
from aurora_blobs.catalog.jobs import Counts
from aurora_blobs.clock import SharedClock
from aurora_blobs.config import Config, ConfigError
from aurora_blobs.db import (
    SCHEMA_VERSION,
    account_key,
    blob_key,
    is_there,
    open_database,
    postgresql,
    row_key,
    seam,
)
from aurora_blobs.errors import DatabaseError, ServiceBusy, StoreNotOurs
from aurora_blobs.patience import OneRequest

pytestmark = pytest.mark.postgresql

END_ALL = """
    SELECT pg_terminate_backend(pid)
      FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def end_by_the_server(url):
    """Each session is told why, and ends."""
    execute(url, END_ALL)


def cut(url):
    """Each connection of this process to a server is over, without a word."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as connection:
            if ".s.PGSQL." in str(connection.getpeername()):
                connection.shutdown(socket.SHUT_RDWR)


lost = pytest.mark.parametrize("lose", [end_by_the_server, cut])
KEYS = {
    "nothing": (),
    "alice": (account_key("did:web:alice.test"),),
    "bob": (account_key("did:web:bob.test"),),
    "a blob of alice": (account_key("did:web:alice.test"), blob_key("bafkrei1")),
    "the same in the other order": (blob_key("bafkrei1"), account_key("did:web:alice.test")),
    "a blob of bob": (blob_key("bafkrei1"), account_key("did:web:bob.test")),
}


@pytest.fixture
def opened(url):
    """``opened(…)`` is one more process, as it were, that uses the database of `tally`."""
    with contextlib.ExitStack() as stack:

        def opened(url=url, before_commit=None, **options):
            hook = {} if before_commit is None else {"before_commit": before_commit}
            return stack.enter_context(
                contextlib.closing(open_database(url, durable=False, **hook, **options))
            )

        yield opened


@pytest.fixture
def impatient(tally, url):
    """``impatient(connections)`` waits for a connection or a lock for at most 0.3 s."""
    with contextlib.ExitStack() as stack:
        yield lambda connections=8: stack.enter_context(
            contextlib.closing(
                postgresql.PostgresqlDatabase(
                    url, durable=False, busy_seconds=0.3, connections=connections
                )
            )
        )


@contextlib.contextmanager
def busy(work):
    """Around a block: *work* has begun in a thread, which goes on until the block ends."""
    begun, over = threading.Event(), threading.Event()

    def run():
        with work:
            begun.set()
            over.wait(20)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(20)
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(
    "one, other",
    [
        ("nothing", "nothing"),
        ("nothing", "alice"),
        ("alice", "nothing"),
        ("alice", "alice"),
        ("alice", "a blob of alice"),
        ("a blob of alice", "a blob of bob"),
        ("a blob of alice", "the same in the other order"),
    ],
)
def test_writers_that_share_a_key_take_turns(tally, impatient, one, other):
    with (
        busy(tally.write(keys=KEYS[one])),
        pytest.raises(ServiceBusy),
        impatient().write(keys=KEYS[other]),
    ):
        pytest.fail("the block ran")


@pytest.mark.parametrize("one, other", [("alice", "bob"), ("a blob of bob", "alice")])
def test_writers_without_a_common_key_run_at_the_same_time(tally, impatient, one, other):
    with busy(tally.write(keys=KEYS[one])), impatient().write(keys=KEYS[other]) as tx:
        assert tx.one("SELECT value FROM tally") == (0,)


@pytest.mark.parametrize("keys", KEYS)
def test_nobody_writes_while_another_has_the_database_alone(tally, impatient, url, keys):
    other = impatient()

    with tally.alone() as tx:
        tx.run("UPDATE tally SET value = 7")
        with pytest.raises(ServiceBusy), other.write(keys=KEYS[keys]):
            pytest.fail("the block ran")
        with pytest.raises(Exception, match="due to lock timeout"):
            execute(url, "SET lock_timeout = '300ms'; UPDATE tally SET value = 8")
        assert value(other) == 0

    assert value(other) == 7


def test_a_transaction_that_has_the_database_alone_may_last(tally):
    with tally.alone() as tx:
        limits = [
            tx.one("SELECT current_setting(?)", name)[0]
            for name in ("statement_timeout", "idle_in_transaction_session_timeout")
        ]

    assert limits == ["0", "10min"]


def test_a_writer_sees_what_the_one_before_it_has_committed(tally, opened):
    other = opened()
    seen = []

    def read_then_add():
        with other.write() as tx:
            seen.append(tx.one("SELECT value FROM tally")[0])

    with tally.write() as tx:
        waiting = threading.Thread(target=read_then_add)
        waiting.start()
        time.sleep(0.3)
        tx.run("UPDATE tally SET value = 7")
    waiting.join()

    assert seen == [7]


SLOW_ROWS = """
    CREATE FUNCTION slow() RETURNS TRIGGER LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_sleep(0.002);
        RETURN NEW;
    END $$;
    CREATE TRIGGER slow BEFORE INSERT ON tally FOR EACH ROW EXECUTE FUNCTION slow();
"""
# More than is on the way at once.
MANY_ROWS = """
from aurora_blobs.db import account_key
names = [(f"{number} {'x' * 200}", 1) for number in range(5000)]
with database.write(keys=(account_key("did:web:alice.test"),)) as tx:
    tx.run_each("INSERT INTO tally (name, value) VALUES (?, ?)", names)
"""


def test_whoever_stands_still_among_many_statements_loses_what_it_has(tally, url):
    execute(url, SLOW_ROWS)
    soon = f"{url}&options={quote('-c idle_in_transaction_session_timeout=1s')}"
    process = subprocess.Popen([sys.executable, "-c", PREAMBLE + MANY_ROWS, soon])
    sleeping = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    try:
        assert becomes(lambda: execute(url, sleeping))
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        add_for(tally, KEYS["alice"])
    finally:
        process.kill()
        process.wait()

    assert time.monotonic() - began < 5
    assert tally.one_shot().all("SELECT name, value FROM tally") == [("n", 1)]


@lost
def test_connections_that_were_lost_are_replaced_without_a_failure(tally, url, lose):
    def all_at_once():
        with tally.read() as tx:
            barrier.wait(20)
            tx.one("SELECT 1")

    barrier = threading.Barrier(4)
    assert in_threads(all_at_once, 4) == []

    lose(url)
    assert tally.one_shot().one("SELECT value FROM tally") == (0,)
    lose(url)
    assert value(tally) == 0
    lose(url)
    add(tally)

    assert value(tally) == 1


@lost
def test_a_change_by_one_statement_is_made_although_the_connection_was_lost(tally, url, lose):
    lose(url)

    changed = tally.one_change(keys=()).one("UPDATE tally SET value = 7 RETURNING value")

    assert changed == (7,)
    assert value(tally) == 7


def test_a_change_by_one_statement_waits_for_others_and_stops_no_thread(tally, impatient):
    other = impatient()
    with busy(tally.write(keys=KEYS["alice"])):
        with pytest.raises(ServiceBusy):
            other.one_change(keys=KEYS["alice"]).one("UPDATE tally SET value = 7 RETURNING value")
        assert other.one_change(keys=KEYS["bob"]).one("SELECT value FROM tally") == (0,)

    assert value(other) == 0


@lost
def test_a_transaction_whose_connection_is_lost_is_worth_another_try(tally, url, lose):
    with pytest.raises(ServiceBusy) as refusal, tally.write() as tx:
        tx.run("UPDATE tally SET value = 7")
        lose(url)
        tx.one("SELECT value FROM tally")

    assert refusal.value.retry_after > 0
    assert value(tally) == 0


@lost
def test_a_commit_without_an_answer_is_worth_another_try(tally, opened, url, lose):
    @contextlib.contextmanager
    def lost_at_the_commit(tx):
        lose(url)
        yield

    database = opened(before_commit=lost_at_the_commit)
    began = []

    def change(tx):
        began.append(tx.run("UPDATE tally SET value = 7"))

    with pytest.raises(ServiceBusy):
        database.transact(change)

    assert len(began) == 1  # it may have been done
    assert value(tally) == 0


def test_two_that_wait_for_each_other_are_both_done(tally):
    """The server ends one of them, which is begun again."""
    with tally.write() as tx:
        tx.run("INSERT INTO tally (name, value) VALUES ('m', 0)")
    both_have_one = threading.Barrier(2)
    began, numbers = Counter(), count()

    def add_to_both(tx, mine, first, second):
        began[mine] += 1
        tx.run("UPDATE tally SET value = value + 1 WHERE name = ?", first)
        if began[mine] == 1:
            both_have_one.wait(20)
        tx.run("UPDATE tally SET value = value + 1 WHERE name = ?", second)

    def add_once():
        mine = next(numbers)
        names = ("m", "n") if mine else ("n", "m")
        tally.transact(lambda tx: add_to_both(tx, mine, *names), keys=(row_key("tally", names[0]),))

    assert in_threads(add_once, 2) == []

    assert tally.one_shot().all("SELECT name, value FROM tally ORDER BY name") == [
        ("m", 2),
        ("n", 2),
    ]
    assert sum(began.values()) > 2


@pytest.mark.parametrize("others, runs, is_done", [(1, 2, True), (9, 3, False)])
def test_a_transaction_that_no_order_makes_right_is_begun_again_a_few_times(
    tally, opened, url, others, runs, is_done
):
    strict = opened(f"{url}&options={quote('-c default_transaction_isolation=serializable')}")
    seen = []

    def read_then_add(tx):
        now = tx.one("SELECT value FROM tally")[0]
        seen.append(now)
        if len(seen) <= others:  # somebody who does not know of our keys
            execute(url, "UPDATE tally SET value = value + 10")
        tx.run("UPDATE tally SET value = ?", now + 1)

    with contextlib.nullcontext() if is_done else pytest.raises(ServiceBusy):
        strict.transact(read_then_add)

    assert seen == [10 * number for number in range(runs)]
    assert value(tally) == 10 * min(others, runs) + is_done


def test_a_server_that_crashes_fails_nobody_for_good_and_loses_no_commit(tally, url):
    """All of its processes end at once, and it recovers by itself."""
    database = open_database(url, durable=True)
    counts = Counter()
    until = time.monotonic() + 4

    def add_again_and_again():
        while time.monotonic() < until:
            try:
                add(database)
                counts["added"] += 1
            except ServiceBusy:
                counts["busy"] += 1
                time.sleep(0.05)

    (process,) = database.one_shot().one("SELECT pg_backend_pid()")
    timer = threading.Timer(1, os.kill, (process, signal.SIGQUIT))
    timer.start()
    errors = in_threads(add_again_and_again, 6)
    timer.join()
    database.close()

    assert errors == []
    assert counts["busy"] > 0
    # A commit whose answer was lost may have happened: one of each thread.
    assert counts["added"] <= value(tally) <= counts["added"] + 6


def test_a_transaction_of_which_a_statement_failed_is_not_committed(tally):
    with pytest.raises(DatabaseError, match="nothing was committed"), tally.write() as tx:
        tx.run("UPDATE tally SET value = 7")
        with contextlib.suppress(Exception):
            tx.run("UPDATE tally SET value = -1")

    assert value(tally) == 0


def test_who_waits_too_long_for_a_connection_is_told_to_come_again(impatient):
    database = impatient(1)

    with busy(database.read()):
        began = time.monotonic()
        with pytest.raises(ServiceBusy):
            value(database)

    assert 0.2 < time.monotonic() - began < 5
    assert value(database) == 0


def test_the_transactions_of_a_request_wait_no_longer_together_than_one(tally, url):
    patient = postgresql.PostgresqlDatabase(url, durable=False, busy_seconds=4, connections=8)
    with contextlib.closing(patient), OneRequest():
        holder = threading.Thread(target=hold, args=(tally, KEYS["alice"], 1.5))
        began = time.monotonic()
        with busy(tally.write(keys=KEYS["bob"])):
            holder.start()
            time.sleep(0.2)
            patient.one_change(keys=KEYS["alice"]).one("SELECT 1")
            waited = time.monotonic() - began
            with pytest.raises(ServiceBusy):
                add_for(patient, KEYS["bob"])
            together = time.monotonic() - began
        holder.join()
        add_for(patient, KEYS["bob"])

    assert 1.2 < waited < together
    assert 3.5 < together < 5


def hold(database, keys, seconds):
    with database.write(keys=keys):
        time.sleep(seconds)


def add_for(database, keys):
    with database.write(keys=keys) as tx:
        tx.run("UPDATE tally SET value = value + 1")


def test_who_reads_has_a_connection_while_all_who_write_wait(tally, opened):
    database = opened(connections=4)

    with busy(tally.write()):
        writers = [threading.Thread(target=add, args=(database,)) for _ in range(8)]
        for writer in writers:
            writer.start()
        time.sleep(0.5)
        began = time.monotonic()
        assert value(database) == 0
        assert time.monotonic() - began < 5
    for writer in writers:
        writer.join()

    assert value(tally) == 8


def test_a_process_has_no_more_connections_than_it_may(tally, opened, url):
    database = opened(connections=3)

    assert in_threads(lambda: add(database, 5), 20) == []

    [(connections,)] = execute(
        url, "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()"
    )
    assert connections <= 1 + 3 + 1  # those of `tally` and of the question itself
    assert value(tally) == 100


def test_a_server_that_is_away_is_worth_another_try(tmp_path, opened):
    database = opened(f"postgresql://me:geheim@127.0.0.1:{free_port()}/db")

    for use in (value, add, lambda database: database.one_shot().one("SELECT 1")):
        with pytest.raises(ServiceBusy) as refusal:
            use(database)
        assert "geheim" not in str(refusal.value)


def test_a_start_that_changes_nothing_waits_for_nobody(tally, opened):
    with busy(tally.write()) as _, busy(tally.read()):
        began = time.monotonic()
        opened().upgrade(SCHEMA)

    assert time.monotonic() - began < 5


def test_nodes_go_on_while_others_bring_the_database_to_a_newer_version(
    tally, url, opened, monkeypatch, tmp_path
):
    (tmp_path / f"{SCHEMA_VERSION + 1}.sql").write_text("ALTER TABLE tally ADD COLUMN more TEXT;")
    newer = [opened() for _ in range(3)]
    errors = []
    nodes = [
        threading.Thread(target=lambda: errors.extend(in_threads(lambda: add(tally, 40), 2))),
        threading.Thread(
            target=lambda: errors.extend(in_threads(lambda: [value(tally) for _ in range(80)], 2))
        ),
    ]
    for node in nodes:
        node.start()

    for module in (seam, postgresql):
        monkeypatch.setattr(module, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(postgresql, "STEPS", tmp_path)
    remaining = iter(newer)
    errors.extend(in_threads(lambda: next(remaining).upgrade(SCHEMA), 3))
    for node in nodes:
        node.join()

    assert errors == []
    assert value(tally) == 80
    assert tally.version() == SCHEMA_VERSION + 1
    assert tally.one_shot().one("SELECT more FROM tally") == (None,)


def test_a_node_of_an_older_version_does_not_start_on_a_newer_database(tally):
    with tally.write() as tx:
        tx.run("UPDATE schema_version SET version = ?", SCHEMA_VERSION + 1)

    with pytest.raises(ConfigError, match="this program knows up to"):
        tally.check_version()
    add(tally)  # whoever runs goes on


def test_a_command_that_only_looks_makes_no_table_and_no_folder(url, tmp_path):
    settings = {
        "AURORA_BLOBS_DATABASE_URL": f"{url}&password=geheim",
        "AURORA_BLOBS_JWT_SECRET": "a secret of all processes",
        "AURORA_BLOBS_DATA_DIR": str(tmp_path / "data"),
    }
    app = create_command_app(Config.from_environ(settings))
    commands = app.test_cli_runner()

    looked = commands.invoke(args=["account", "list"])
    has_folder = (tmp_path / "data").exists()
    made = commands.invoke(args=["init-db"])
    close(app)

    assert looked.exit_code == 1
    assert looked.output.startswith("aurora_blobs: no database at postgresql:///")
    assert not has_folder
    assert made.exit_code == 0
    assert made.output.endswith("is ready\n")
    assert "geheim" not in looked.output + made.output


def test_no_tables_are_made_beside_the_store_of_another_database(url, tmp_path):
    with open_store(tmp_path, durable=False):
        pass
    settings = {
        "AURORA_BLOBS_DATABASE_URL": f"{url}&password=geheim",
        "AURORA_BLOBS_JWT_SECRET": "a secret of all processes",
        "AURORA_BLOBS_DATA_DIR": str(tmp_path),
    }

    with pytest.raises(StoreNotOurs) as refusal:
        create_app(Config.from_environ(settings))

    assert refusal.value.message.startswith("no database at postgresql:///")
    assert "geheim" not in refusal.value.message
    assert not is_there(url)


def test_a_server_that_is_away_ends_the_start_with_one_line(tmp_path):
    url = f"postgresql://me:geheim@127.0.0.1:{free_port()}/db"
    settings = {
        "AURORA_BLOBS_DATABASE_URL": url,
        "AURORA_BLOBS_JWT_SECRET": "a secret of all processes",
        "AURORA_BLOBS_DATA_DIR": str(tmp_path / "data"),
    }

    with pytest.raises(ConfigError) as refusal:
        create_app(Config.from_environ(settings))

    assert "Connection refused" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert "geheim" not in str(refusal.value)


def test_texts_are_compared_by_their_bytes(tally):
    names = ["B", "a", "b", "~", "\x7f", "é"]
    with tally.write() as tx:
        for name in names:
            tx.run("INSERT INTO tally (name, value) VALUES (?, 1)", name)

    with tally.read() as tx:
        found = tx.all("SELECT name FROM tally WHERE value = 1 AND name < ? ORDER BY name", "\x7f")
        [(collation,)] = tx.all("SELECT datlocprovider FROM pg_database LIMIT 1")

    assert collation == "i"  # the database itself has a language's order
    assert [name for (name,) in found] == ["B", "a", "b", "~"]


def test_a_database_of_another_encoding_is_refused(tally, url, opened):
    execute(
        url,
        "CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LOCALE 'C' LOCALE_PROVIDER libc",
    )
    try:
        with (
            contextlib.closing(open_database(f"{url}&dbname=latin", durable=True)) as database,
            pytest.raises(ConfigError, match="LATIN1: accepted is UTF8"),
        ):
            database.upgrade(SCHEMA)
    finally:
        execute(url, "DROP DATABASE latin")


@pytest.mark.parametrize("durable, commits", [(True, "on"), (False, "off")])
def test_a_session_does_not_keep_others_waiting(tally, url, durable, commits):
    with (
        contextlib.closing(open_database(url, durable=durable)) as database,
        database.read() as tx,
    ):
        settings = {
            name: tx.one("SELECT current_setting(?)", name)[0]
            for name in (
                *("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"),
                *("client_connection_check_interval", "synchronous_commit", "application_name"),
            )
        }

    assert settings == {
        "lock_timeout": "10s",
        "statement_timeout": "30s",
        "idle_in_transaction_session_timeout": "6s",
        "client_connection_check_interval": "5s",
        "synchronous_commit": commits,
        "application_name": "aurora_blobs",
    }


def test_what_the_url_says_wins(tally, opened, url):
    options = quote("-c statement_timeout=7s")
    database = opened(f"{url}&options={options}&application_name=mine")

    with database.read() as tx:
        assert tx.one("SELECT current_setting('statement_timeout')") == ("7s",)
        assert tx.one("SELECT current_setting('lock_timeout')") == ("10s",)
        assert tx.one("SELECT current_setting('application_name')") == ("mine",)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:geheim@[host/db",
        "postgresql://me:geheim/geheim@host/db",
        "postgresql://me:12345/geheim@host/db",
        "postgresql://host/db?pasword=geheim",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(opened, url):
    with pytest.raises(ConfigError) as refusal:
        opened(url)

    assert "geheim" not in str(refusal.value)


def test_rows_are_read_when_they_are_taken(tally):
    with tally.read() as tx:
        numbers = tx.each("SELECT generate_series(1, ?)", 10**9)
        others = tx.each("SELECT generate_series(1, 40)")

        assert [next(numbers)[0] for _ in range(50)] == list(range(1, 51))
        assert [number for (number,) in others] == list(range(1, 41))
        numbers.close()

    assert value(tally) == 0


def test_the_rows_of_every_table_are_looked_at(database):
    """But the version's, those that need no key, and those of jobs by family.

    Nothing is decided by a counter, nor by what caches are to be told.
    """
    with database.read() as tx:
        tables = tx.all(
            """
            SELECT t.tablename
              FROM pg_tables t
             WHERE t.schemaname = 'public'
               AND NOT EXISTS (SELECT 1 FROM pg_trigger g
                                WHERE g.tgrelid = t.tablename::regclass AND g.tgname LIKE 'keys_%')
             ORDER BY t.tablename
            """
        )

    assert [name for (name,) in tables] == [
        "job",
        "lease",
        "purge",
        "schema_version",
        "usage_counter",
    ]


@pytest.mark.parametrize(
    "key, statement",
    [
        (account_key(BOB), "UPDATE account SET rev = '2' WHERE did = ?"),
        (account_key(ALICE), "DELETE FROM blob_metadata WHERE creator_did = ?"),
        (blob_key(cid_of(b"of alice")), "DELETE FROM blob_metadata WHERE creator_did = ?"),
        (row_key("identity", BOB), "INSERT INTO identity (did, fetched_at) VALUES (?, 0)"),
    ],
)
def test_a_row_that_is_changed_without_its_key_is_found_by_the_tests(core, key, statement):
    """The databases of the tests look at each row themselves: `support/databases.py`."""
    core.upload(b"of alice")

    with (
        pytest.raises(DatabaseError, match="without the key"),
        core.database.write(keys=(key,)) as tx,
    ):
        tx.run(statement, ALICE)


def test_an_account_does_not_wait_for_another_one(core):
    with busy(core.database.write(keys=KEYS["alice"])):
        began = time.monotonic()
        core.upload(b"of bob", did=BOB)
        core.write("com.example.a", "1", {"a": 1}, did=BOB)

    assert time.monotonic() - began < 5


def test_sign_ups_takedowns_and_jobs_do_not_wait_for_another_account(services, client):
    counts = Counts(blobs=0, bytes=0, findings=0, repaired=0)
    with busy(services.database.write(keys=KEYS["alice"])):
        began = time.monotonic()
        services.sign_ups.invite(uses=1)
        bob = sign_up(client, "bob.test")
        cid = cid_in(bob.publish(jpeg("of bob")).blob)
        for subject in (Subject(bob.did, cid), Subject(bob.did, None)):
            services.moderation.take_down(subject, None)
            assert services.moderation.lift(subject)
        with services.job_log.run("gc", lambda: counts):
            pass

    assert time.monotonic() - began < 5
    assert services.job_log.statuses()[0].state == "ok"


def test_no_links_for_nginx_are_made_and_those_of_before_go(open_app, tmp_path):
    """A takedown on one node could not remove the links of another."""
    old = tmp_path / "data" / "public" / ALICE / "cid.jpg"
    old.parent.mkdir(parents=True)
    old.symlink_to("../../blobs/x")
    app = open_app(ACCEL_REDIRECT="/_blobs/", DATA_DIR=str(tmp_path / "data"))
    alice = sign_up(app.test_client())
    cid = cid_in(alice.publish(jpeg("cat")).blob)

    answer = app.test_client().get(f"{GET_BLOB}?did={alice.did}&cid={cid}")

    assert answer.headers["X-Accel-Redirect"].endswith(cid)
    assert not (tmp_path / "data" / "public").exists()


def test_a_service_goes_by_the_clock_of_its_database(tmp_path):
    url = database_url(tmp_path / "aurora.sqlite3")
    environ = {"DATA_DIR": str(tmp_path), "DATABASE_URL": url, "JWT_SECRET": "of all the nodes"}
    app = create_app(
        Config.from_environ({f"AURORA_BLOBS_{name}": value for name, value in environ.items()})
    )
    clock = services_of(app).clock

    assert isinstance(clock, SharedClock)
    assert abs(clock() - services_of(app).database.one_shot().now()) < 1_000_000
    assert app.test_client().get("/xrpc/_health").status_code == 200
    close(app)


def test_the_health_of_a_node_that_is_cut_off_from_its_database_is_said_in_time(services, client):
    """A process of the server that stands still is one of which nothing is heard."""
    (process,) = services.database.one_shot().one("SELECT pg_backend_pid()")
    statuses = [client.get("/xrpc/_health").status_code]
    os.kill(process, signal.SIGSTOP)
    began = time.monotonic()
    for _ in range(2):  # the second one's question is the first one's, which is under way
        statuses.append(client.get("/xrpc/_health").status_code)
    seconds = time.monotonic() - began
    os.kill(process, signal.SIGCONT)
    time.sleep(0.5)
    statuses.append(client.get("/xrpc/_health").status_code)

    assert statuses == [200, 503, 503, 200]
    assert seconds < 2 * 2.5
