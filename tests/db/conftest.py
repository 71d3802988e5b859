"""Fixtures of the database seam: a small database, and processes that use it."""

import contextlib
import subprocess
import sys

import pytest
from support.databases import ENGINE, new_database_url
from support.open_files import open_files
from support.tally import PREAMBLE, SCHEMA

from aurora_blobs.db import open_database


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "folder" / "test.sqlite3"


@pytest.fixture
def url(path):
    """The URL of a database that is not there yet, or has no schema."""
    return new_database_url(path)


@pytest.fixture
def tally(url, path):
    database = open_database(url, durable=False)
    database.upgrade(SCHEMA)
    yield database
    with database.read() as tx:
        assert tx.one(IS_SOUND[ENGINE]) == ("ok",)
    database.close()
    assert open_files(path.parent) == []


# On PostgreSQL: whether nobody else is in a transaction, or waits in one.
IS_SOUND = {
    "sqlite": "PRAGMA integrity_check",
    "postgresql": """
        SELECT COALESCE(MIN(state), 'ok')
          FROM pg_stat_activity
         WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()
    """,
}


@pytest.fixture
def run(url):
    """``run(script, count)`` runs it in *count* processes at once; their output after "ready"."""

    def run(script, count=1):
        command = [sys.executable, "-W", "error", "-c", PREAMBLE + script, url]
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
