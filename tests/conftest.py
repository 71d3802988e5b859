"""What tests share: a clock, a database, a spool that must be left empty."""

import io
from importlib import resources

import pytest
from depot import ALICE, BOB, Depot
from fakes import Clock
from leaks import open_files

from aurora_blobs.db import open_database
from aurora_blobs.spool import spooled


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def database(tmp_path):
    database = open_database(f"sqlite:{tmp_path / 'aurora.sqlite3'}", durable=False)
    database.upgrade(resources.files("aurora_blobs").joinpath("schema.sql").read_text())
    yield database
    database.close()


@pytest.fixture
def spool_folder(tmp_path):
    folder = tmp_path / "spool"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []
    assert open_files(folder) == []


@pytest.fixture
def store(spool_folder):
    """``store(backend, data)`` puts *data* through the spool into *backend* and returns its CID."""

    def store(backend, data):
        with spooled(
            io.BytesIO(data),
            folder=spool_folder,
            inspect=lambda head: "application/octet-stream",
            max_bytes=len(data),
            declared_size=None,
        ) as blob:
            backend.put(blob)
            return blob.cid

    return store


@pytest.fixture
def depot(tmp_path):
    """A whole store on disk with the accounts `depot.ALICE` and `depot.BOB`."""
    depot = Depot(tmp_path / "depot")
    depot.add_account(ALICE)
    depot.add_account(BOB)
    yield depot
    assert list(depot.spool.iterdir()) == []
    assert open_files(depot.spool) == []
    depot.database.close()
