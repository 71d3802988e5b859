"""An upload whose bytes are collected before its row is written: once, or each time."""

import pytest
from support.accounts import BOB
from support.backends import MemoryBackend

from aurora_blobs.errors import ServiceBusy
from aurora_blobs.storage.disk import DiskBackend


class CollectedStore(MemoryBackend):
    """A network store. A collector takes the row each time while the bytes are on their way."""

    stat_is_cheap = False
    database = None

    def put(self, blob):
        with self.database.write() as tx:
            tx.run("DELETE FROM blob WHERE cid = ?", blob.cid)
        super().put(blob)


def test_an_upload_that_gives_up_leaves_no_bytes(open_core):
    core = open_core(backend=CollectedStore())
    core.backend.database = core.database

    with pytest.raises(ServiceBusy):
        core.upload(b"cat")

    assert core.backend.held == {}


class CollectedDisk(DiskBackend):
    """A disk whose first bytes are taken as soon as they are there."""

    puts = 0

    def put(self, blob):
        super().put(blob)
        self.puts += 1
        if self.puts == 1:
            self.delete(blob.cid)


def test_bytes_that_were_collected_before_their_row_are_stored_again(open_core, tmp_path):
    core = open_core(backend=CollectedDisk(tmp_path / "blobs", durable=False))

    entry = core.upload(b"cat")

    assert core.backend.size(entry.cid) == entry.size
    assert core.backend.puts == 2


class DiskOfMany(DiskBackend):
    """A disk whose bytes are collected after a look, and brought again by another upload."""

    database = None
    puts = 0

    def size(self, cid):
        size = super().size(cid)
        if self.database is not None:
            database, self.database = self.database, None
            with database.write() as tx:
                tx.run("DELETE FROM blob_metadata WHERE cid = ?", cid)
                tx.run("DELETE FROM blob WHERE cid = ?", cid)
        return size

    def put(self, blob):
        self.puts += 1
        super().put(blob)


def test_bytes_that_another_upload_has_brought_are_stored_again(open_core, tmp_path):
    """Without a row, nobody knows whether their name is on the disk."""
    core = open_core(backend=DiskOfMany(tmp_path / "blobs", durable=False))
    core.upload(b"cat")
    core.backend.database = core.database

    core.upload(b"cat", did=BOB)

    assert core.backend.puts == 2
