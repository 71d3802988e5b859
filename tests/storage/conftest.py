"""Stores, and a server of objects that can be told to err."""

import os
import tempfile
from pathlib import Path

import pytest
from support.backends import MemoryBackend
from support.odd_store import odd_store
from support.open_files import open_files
from support.s3_access import KEYS

from aurora_blobs.storage.disk import DiskBackend
from aurora_blobs.storage.pair import PairBackend


@pytest.fixture
def server(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with odd_store() as server:
        yield server


@pytest.fixture
def memory():
    return MemoryBackend()


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "blobs"
    backend = DiskBackend(folder, durable=False)
    backend.prepare()
    yield backend
    assert open_files(folder) == []


@pytest.fixture
def mounted_disk(tmp_path):
    """A disk on another file system than the spool, so that nothing can be linked to it."""
    places = ("/dev/shm", tempfile.gettempdir())
    other = next(place for place in places if os.stat(place).st_dev != tmp_path.stat().st_dev)
    with tempfile.TemporaryDirectory(dir=other) as folder:
        backend = DiskBackend(Path(folder), durable=True)
        backend.prepare()
        yield backend
        assert open_files(folder) == []


@pytest.fixture
def pair(disk, memory):
    return PairBackend(disk, memory)
