"""A database takes the place of another: it is looked at first, and the old one is kept."""

import os
import sqlite3
from contextlib import closing

import pytest
from support.accounts import ALICE

from aurora_blobs.catalog import accounts
from aurora_blobs.db import SCHEMA, open_database
from aurora_blobs.db.replacement import DatabaseRefused, copy_checked, put_in_place

pytestmark = pytest.mark.sqlite

TEXT = SCHEMA.read_text()


@pytest.fixture
def saved(tmp_path):
    """A backup with one account in it."""
    path = tmp_path / "saved.sqlite3"
    with closing(open_database(f"sqlite:{path}", durable=False)) as database:
        database.upgrade(TEXT)
        with database.write() as tx:
            accounts.make_external(tx, ALICE, 7)
    (tmp_path / "saved.sqlite3-lock").unlink()
    return path


@pytest.fixture
def live(tmp_path):
    path = tmp_path / "live" / "aurora.sqlite3"
    with closing(open_database(f"sqlite:{path}", durable=False)) as database:
        database.upgrade(TEXT)
    return path


def changed(path, *statements):
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def dids(path):
    with closing(sqlite3.connect(path)) as connection:
        return [did for (did,) in connection.execute("SELECT did FROM account")]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_copy_has_what_was_saved_and_is_its_owner_s_alone(saved, tmp_path):
    copy_checked(saved, tmp_path / "copy", TEXT)

    assert dids(tmp_path / "copy") == [ALICE]
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["copy", "saved.sqlite3"]


def test_commits_beside_a_file_that_was_copied_by_hand_come_along(saved, tmp_path):
    with closing(sqlite3.connect(saved, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("INSERT INTO account (did, created_at) VALUES ('did:web:new', 8)")
        for suffix in ("", "-wal"):
            (tmp_path / f"hand{suffix}").write_bytes(
                saved.with_name(saved.name + suffix).read_bytes()
            )

    copy_checked(tmp_path / "hand", tmp_path / "copy", TEXT)

    assert sorted(dids(tmp_path / "copy")) == ["did:web:alice.test", "did:web:new"]


def test_a_database_of_before_the_newest_tables_is_completed(saved, tmp_path):
    changed(
        saved,
        "DROP TABLE store",
        "ALTER TABLE blob DROP COLUMN number",
        "ALTER TABLE derivative DROP COLUMN checksum",
        "UPDATE schema_version SET version = 1",
    )

    copy_checked(saved, tmp_path / "copy", TEXT)

    changed(tmp_path / "copy", "SELECT * FROM store")


def test_the_statistics_of_analyze_are_nobody_s_harm(saved, tmp_path):
    changed(saved, "ANALYZE")

    copy_checked(saved, tmp_path / "copy", TEXT)


TRIGGER = """
CREATE TRIGGER planted AFTER INSERT ON account
BEGIN UPDATE account SET takedown_at = NULL; END
"""


@pytest.mark.parametrize(
    "statements, told",
    [
        ([TRIGGER], "has a trigger 'planted', which is not ours"),
        (["CREATE VIEW planted AS SELECT 1"], "has a view 'planted', which is not ours"),
        (["CREATE TABLE planted (x)"], "has a table 'planted', which is not ours"),
        (["CREATE INDEX planted ON account (email)"], "has a index 'planted', which is not ours"),
        (["CREATE VIRTUAL TABLE planted USING fts5(x)"], "which is not ours"),
        (
            ["DROP TABLE job", "CREATE VIEW job AS SELECT 1 AS name, 2 AS position"],
            "has a view 'job', which is not ours",
        ),
        (["ALTER TABLE account ADD COLUMN planted TEXT"], "table 'account' is not as ours is"),
        (
            ["ALTER TABLE account ADD COLUMN planted TEXT AS (upper(did))"],
            "table 'account' is not as ours is",
        ),
        (["DROP TABLE job", "CREATE TABLE job (name)"], "table 'job' is not as ours is"),
        (
            ["DROP TABLE job", "CREATE VIRTUAL TABLE job USING fts5(name, position, updated_at)"],
            "which is not ours",
        ),
        (
            ["DROP INDEX session_by_did", "CREATE INDEX session_by_did ON session (id)"],
            "index 'session_by_did' is not as ours is",
        ),
        (
            ["DROP INDEX blob_not_stored", "CREATE INDEX blob_not_stored ON blob (created_at)"],
            "index 'blob_not_stored' is not as ours is",
        ),
        (["DROP TABLE session"], "has no table 'session': it is not ours"),
        (["DELETE FROM schema_version"], "does not say which version its schema has"),
        (["UPDATE schema_version SET version = 'x'"], "does not say which version"),
        (["UPDATE schema_version SET version = 0"], "does not say which version"),
        (["INSERT INTO schema_version VALUES (1)"], "does not say which version"),
        (["UPDATE schema_version SET version = 999"], "has schema version 999, this program knows"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_database_that_is_not_ours_is_refused_with_one_line(saved, tmp_path, statements, told):
    changed(saved, *statements)
    before = saved.read_bytes()

    with pytest.raises(DatabaseRefused) as refusal:
        copy_checked(saved, tmp_path / "copy", TEXT)

    assert told in str(refusal.value)
    assert str(refusal.value).startswith(str(saved))
    assert "\n" not in str(refusal.value)
    assert (names(tmp_path), saved.read_bytes()) == (["saved.sqlite3"], before)


def damaged(path):
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 40] = bytes(40)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a database " * 1000),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        damaged,
        lambda path: path.write_bytes(path.read_bytes()[:100] + os.urandom(20_000)),
        lambda path: (path.unlink(), path.with_name("saved.sqlite3").mkdir()),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.unlink(), path.symlink_to("/etc/passwd")),
        lambda path: os.mkfifo(f"{path}-wal"),
        lambda path: path.unlink(),
    ],
    ids=[
        *("empty", "another kind of file", "cut off", "pages lost", "random", "a folder", "a FIFO"),
        *("a link", "a FIFO for a log", "gone"),
    ],
)
def test_what_is_no_database_is_refused_with_one_line_and_hangs_nobody(saved, tmp_path, break_it):
    break_it(saved)
    before = names(tmp_path)

    with pytest.raises(DatabaseRefused) as refusal:
        copy_checked(saved, tmp_path / "copy", TEXT)

    assert str(refusal.value).startswith(str(saved))
    assert "\n" not in str(refusal.value)
    assert names(tmp_path) == before


def test_the_old_database_is_kept_whole(saved, live, tmp_path):
    changed(live, "INSERT INTO account (did, created_at) VALUES ('did:web:old', 8)")
    copy_checked(saved, live.with_name("copy"), TEXT)

    kept = put_in_place(live.with_name("copy"), live)

    assert (dids(live), dids(kept)) == ([ALICE], ["did:web:old"])
    assert kept.name.startswith("aurora.sqlite3.before-restore-")
    assert names(live.parent) == sorted([live.name, kept.name, "aurora.sqlite3-lock"])


def test_a_second_database_is_kept_beside_the_first(saved, live):
    kept = []
    for _ in range(3):
        copy_checked(saved, live.with_name("copy"), TEXT)
        kept.append(put_in_place(live.with_name("copy"), live))

    assert len(set(kept)) == 3
    assert all(path.is_file() for path in kept)


def test_there_may_have_been_no_database(saved, tmp_path):
    copy_checked(saved, tmp_path / "copy", TEXT)

    assert put_in_place(tmp_path / "copy", tmp_path / "live.sqlite3") is None
    assert dids(tmp_path / "live.sqlite3") == [ALICE]


def test_a_database_that_is_in_use_is_not_replaced(saved, live):
    copy_checked(saved, live.with_name("copy"), TEXT)
    with closing(open_database(f"sqlite:{live}", durable=False)) as user:
        with user.read() as tx:
            tx.one("SELECT 1 FROM account")

        with pytest.raises(DatabaseRefused, match="is in use: stop the service"):
            put_in_place(live.with_name("copy"), live)

    assert dids(live) == []


def test_a_damaged_database_can_be_replaced(saved, live):
    live.write_bytes(b"not a database " * 1000)
    live.with_name("aurora.sqlite3-wal").write_bytes(b"its log")
    copy_checked(saved, live.with_name("copy"), TEXT)

    kept = put_in_place(live.with_name("copy"), live)

    assert dids(live) == [ALICE]
    assert kept.read_bytes().startswith(b"not a database")
    assert not live.with_name("aurora.sqlite3-wal").exists()


def test_a_database_behind_a_link_is_replaced_where_it_is(saved, live, tmp_path):
    link = tmp_path / "link.sqlite3"
    link.symlink_to(live)
    copy_checked(saved, live.with_name("copy"), TEXT)

    put_in_place(live.with_name("copy"), link)

    assert link.is_symlink()
    assert dids(live) == [ALICE]
