"""A database of another program: it costs little to read, whatever is in it, and stays as it is."""

import sqlite3
from contextlib import closing

import pytest

from aurora_blobs.db.foreign import ForeignDatabase, ForeignDatabaseError

TABLES = frozenset({"a"})


@pytest.fixture
def foreign(tmp_path):
    """Open a database of some statements."""
    opened = []

    def open_foreign(*statements):
        path = tmp_path / "store.sqlite"
        with closing(sqlite3.connect(path, isolation_level=None)) as store:
            for statement in statements:
                store.execute(statement)
        opened.append(ForeignDatabase(path, TABLES))
        return opened[-1]

    yield open_foreign
    for database in opened:
        database.close()


HUNDRED = (
    "CREATE TABLE a (x TEXT)",
    "INSERT INTO a WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 100)"
    " SELECT x FROM n",
)


def test_there_are_no_more_rows_than_the_file_has_room_for(foreign):
    rows = foreign(*HUNDRED).each("SELECT 1 FROM a, a AS b, a AS c")

    with pytest.raises(ForeignDatabaseError, match="more rows than the file has room for"):
        list(rows)


def test_little_is_done_between_two_rows(foreign):
    rows = foreign(*HUNDRED).each("SELECT 1 FROM a, a AS b, a AS c WHERE a.x || b.x || c.x = ''")

    with pytest.raises(ForeignDatabaseError, match="takes too long"):
        list(rows)


def test_each_row_may_take_some_time(foreign):
    database = foreign(*HUNDRED)

    rows = [database.one("SELECT x FROM a WHERE x || 'y' = '100y'") for _ in range(1_000)]

    assert rows == [("100",)] * 1_000


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT name FROM sqlite_master",
        "SELECT x FROM b",
        "INSERT INTO a VALUES (1)",
        "ATTACH 'other' AS c",
        "PRAGMA journal_mode = DELETE",
        "SELECT hex(x) FROM a",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) SELECT x FROM n",
    ],
)
def test_what_is_not_asked_of_the_tables_is_refused(foreign, sql):
    database = foreign("CREATE TABLE a (x TEXT)", "CREATE TABLE b (x TEXT)")

    with pytest.raises(ForeignDatabaseError, match="cannot be read"):
        database.one(sql)


def test_a_database_of_very_many_tables_is_refused(foreign):
    tables = [f"CREATE TABLE t{number} (x)" for number in range(3_000)]

    with pytest.raises(ForeignDatabaseError, match="takes too long"):
        foreign("CREATE TABLE a (x TEXT)", "BEGIN", *tables, "COMMIT")


def test_a_large_value_is_not_read(foreign):
    database = foreign("CREATE TABLE a (x TEXT)", "INSERT INTO a VALUES (zeroblob(200000))")

    with pytest.raises(ForeignDatabaseError, match="too big"):
        database.one("SELECT x FROM a")


def test_a_name_with_signs_of_an_address_is_a_name(tmp_path):
    path = tmp_path / "did:web:localhost%3A1?mode=rwc#x"
    with closing(sqlite3.connect(path)) as store:
        store.execute("CREATE TABLE a (x TEXT)")

    with closing(ForeignDatabase(path, TABLES)) as database:
        assert database.one("SELECT x FROM a") is None
