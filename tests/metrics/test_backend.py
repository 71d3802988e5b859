"""What a store is asked to do is counted, and what it fails to do by kind."""

import pytest
from support.backends import MemoryBackend
from support.cids import cid_of

from aurora_blobs.errors import BackendTimeout, BlobNotFound
from aurora_blobs.metrics.backend import MeteredBackend
from aurora_blobs.metrics.families import STORE, STORE_ERRORS
from aurora_blobs.metrics.meter import Meter


class SlowBackend(MemoryBackend):
    """A store on a network, that does not answer in time where a size is asked for."""

    stat_is_cheap = False

    def size(self, cid):
        raise BackendTimeout()


@pytest.fixture
def meter():
    return Meter([], parts=1)


def test_operations_are_counted(meter, store):
    measured = MeteredBackend(MemoryBackend(), meter)

    name = store(measured, b"a blob")
    for _ in range(2):
        measured.open(name)
    measured.size(name)
    measured.delete(name)
    measured.delete_many([name])
    measured.probe()

    counted = {found.labels: found.counts[-1] for found in meter.read() if found.family is STORE}
    assert counted == {("put",): 1, ("open",): 2, ("delete",): 2, ("probe",): 1}


def test_failures_are_counted_by_their_kind(meter):
    measured = MeteredBackend(SlowBackend(), meter)

    with pytest.raises(BackendTimeout):
        measured.size(cid_of(b"a blob"))
    with pytest.raises(BlobNotFound):
        measured.open(cid_of(b"a blob"))

    failures = {found.labels: found.value for found in meter.read() if found.family is STORE_ERRORS}
    assert failures == {("size", "BackendTimeout"): 1, ("open", "BlobNotFound"): 1}
