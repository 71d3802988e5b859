"""The contract, for each store without a server, and for a pair."""

import pytest
from support.backend_contract import SMALL, BackendContract, StoreContract, nobody

from aurora_blobs.config import STORES
from aurora_blobs.errors import StoreNotOurs
from aurora_blobs.metrics.backend import MeteredBackend
from aurora_blobs.metrics.meter import Meter
from aurora_blobs.storage import OPENERS
from aurora_blobs.storage.base import Store
from aurora_blobs.storage.pair import PairBackend


class TestStores(StoreContract):
    @pytest.fixture(params=["memory", "disk", "mounted_disk"])
    def backend(self, request):
        return request.getfixturevalue(request.param)


class TestPair(BackendContract):
    @pytest.fixture
    def backend(self, pair):
        return pair


class TestMeteredBackend(BackendContract):
    @pytest.fixture(params=["memory", "disk", "pair"])
    def backend(self, request):
        return MeteredBackend(request.getfixturevalue(request.param), Meter([], parts=1))


def test_a_pair_removes_nothing_if_one_of_its_stores_lacks_its_mark(memory, disk, store):
    pair = PairBackend(disk, memory)
    cid = store(disk, SMALL)
    store(memory, SMALL)
    disk.guard(nobody, "mine")

    with pytest.raises(StoreNotOurs):
        pair.delete(cid)
    with pytest.raises(StoreNotOurs):
        pair.delete_many([cid])

    assert memory.size(cid) == len(SMALL)


def test_a_backend_that_forgets_an_operation_cannot_be_made():
    class Forgetful(Store):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Forgetful()


def test_every_store_that_a_setting_may_name_can_be_opened():
    assert set(OPENERS) == set(STORES)
