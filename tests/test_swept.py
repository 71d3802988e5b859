"""An upload whose bytes are collected each time it has stored them."""

import io

import pytest
from fakes import MemoryBackend
from members import jpeg

from aurora_blobs.catalog import accounts
from aurora_blobs.errors import ServiceBusy
from aurora_blobs.manager import BlobManager, UploadRules

ALICE = "did:web:alice.test"


class SweptBackend(MemoryBackend):
    """A store across a network, whose collector takes the row while the bytes are on their way."""

    local = False

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
        blobs.upload(io.BytesIO(jpeg("cat")), did=ALICE)

    assert backend.held == {}
