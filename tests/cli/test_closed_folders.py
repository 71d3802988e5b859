"""Commands on a folder that their user may not open end with one line that says so."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from io import BytesIO

import pytest
from support.accounts import ALICE
from support.cluster.nodes import NOT_ROOT
from support.project import ROOT

from aurora_blobs import open_store
from aurora_blobs.cli.options import user_name

pytestmark = pytest.mark.sqlite

RELEASED = ROOT / "tests" / "db" / "released" / "0.1.0.sql"


@pytest.fixture
def run(tmp_path):
    """``run("blobs", …)`` runs a command as a user to whom ``closed`` is closed."""
    (tmp_path / "closed" / "in").mkdir(parents=True)
    (tmp_path / "readable" / "blobs").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "readable").chmod(0o500)
    (tmp_path / "closed").chmod(0)

    def run(*words, data="data"):
        environment = {"AURORA_BLOBS_DATA_DIR": data, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [*NOT_ROOT, sys.executable, "-m", "aurora_blobs", *words],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "AURORA_BLOBS_LOG_LEVEL": "error", **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    yield run
    (tmp_path / "closed").chmod(0o700)


@pytest.fixture
def data(tmp_path):
    with open_store(tmp_path / "data", durable=False) as store:
        store.upload(BytesIO(b"bytes"), did=ALICE)


@pytest.fixture
def old_data(tmp_path):
    (tmp_path / "data" / "blobs").mkdir(parents=True)
    with closing(sqlite3.connect(tmp_path / "data" / "aurora.sqlite3")) as connection:
        connection.executescript(RELEASED.read_text())


def said_of(done):
    """What the command said as it ended, without the name of its user."""
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    return line.partition(": the user ")[0]


@pytest.mark.parametrize("command", ["init-db", "run"])
@pytest.mark.parametrize("folder", ["closed", "closed/in", "closed/new", "readable/new"])
def test_an_upgrade_keeps_nothing_there_and_leaves_the_database(
    run, old_data, tmp_path, command, folder
):
    before = (tmp_path / "data" / "aurora.sqlite3").read_bytes()

    said = said_of(run(command, "--backup", folder))

    assert said.startswith(f"Error: {folder}")
    assert said.endswith(": Permission denied")
    assert (tmp_path / "data" / "aurora.sqlite3").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        *("backup make {}", "backup restore {} --yes"),
        *("blobs import {}", "blobs import {} --layout pds", "blobs import readable --db {}"),
        *(f"blobs export {{}} --did {ALICE}", "blobs export {} --layout pds"),
        "blobs give-back --to {}",
    ],
)
@pytest.mark.parametrize("folder", ["closed", "closed/in"])
def test_each_command_names_the_folder(run, data, words, folder):
    said = said_of(run(*words.format(folder).split()))

    assert said.startswith(f"Error: {folder}")
    assert said.endswith(": Permission denied")


@pytest.mark.parametrize("way", ["sqlite:data/aurora.sqlite3 {}", "{} sqlite:new.sqlite3"])
@pytest.mark.parametrize("folder", ["closed", "closed/in"])
def test_a_database_is_neither_copied_there_nor_from_there(run, data, tmp_path, way, folder):
    path = tmp_path / folder / "x.sqlite3"

    said = said_of(run("database", "copy", *way.format(f"sqlite:{path}").split()))

    assert said == f"Error: {path}: Permission denied"
    assert not (tmp_path / "new.sqlite3").exists()


def test_a_file_where_a_folder_has_to_be_is_named(run, data):
    assert said_of(run("backup", "make", "file/in")) == "Error: file/in: Not a directory"


def test_the_user_who_needs_access_is_named(run, data):
    user = user_name(1000)

    assert (
        f": the user {user}, who runs this, needs access" in run("backup", "make", "closed").stderr
    )
