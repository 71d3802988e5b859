"""An upload whose bytes are collected when it has stored them, once or each time."""

import io

import pytest
from support.accounts import ALICE
from support.backends import MemoryBackend
from support.media_samples import jpeg

from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.upload import Incoming, UploadRules
from aurora_blobs.catalog import accounts
from aurora_blobs.errors import ServiceBusy
from aurora_blobs.storage.disk import DiskBackend


class SweptBackend(MemoryBackend):
    """A store across a network, whose collector takes the row while the bytes are on their way."""

    stat_is_cheap = False

    def __init__(self, database):
        super().__init__()
        self._database = database

    def put(self, blob):
        with self._database.write() as tx:
            tx.run("DELETE FROM blob WHERE cid = ?", blob.cid)
        super().put(blob)


def test_an_upload_that_gives_up_leaves_no_bytes(database, spool_folder, clock):
    with database.write() as tx:
        accounts.make_external(tx, ALICE, clock())
    backend = SweptBackend(database)
    blobs = BlobManager(backend, database, spool=spool_folder, rules=UploadRules(), clock=clock)

    with pytest.raises(ServiceBusy):
        blobs.upload(Incoming(stream=io.BytesIO(jpeg("cat")), did=ALICE))

    assert backend.held == {}


class SweptDisk(DiskBackend):
    """A disk from which the bytes of the first upload are taken as soon as they are there."""

    puts = 0

    def put(self, blob):
        super().put(blob)
        self.puts += 1
        if self.puts == 1:
            self.delete(blob.cid)


def test_bytes_that_were_collected_before_their_row_are_stored_again(
    database, spool_folder, tmp_path, clock
):
    with database.write() as tx:
        accounts.make_external(tx, ALICE, clock())
    backend = SweptDisk(tmp_path / "blobs", durable=False)
    blobs = BlobManager(backend, database, spool=spool_folder, rules=UploadRules(), clock=clock)

    entry = blobs.upload(Incoming(stream=io.BytesIO(jpeg("cat")), did=ALICE))

    assert backend.size(entry.cid) == entry.size
    assert backend.puts == 2
