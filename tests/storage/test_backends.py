"""The contract, for each store without a server, and for a pair."""

import pytest
from support.backend_contract import BackendContract, StoreContract

from aurora_blobs.storage.base import Store


class TestStores(StoreContract):
    @pytest.fixture(params=["memory", "disk", "mounted_disk"])
    def backend(self, request):
        return request.getfixturevalue(request.param)


class TestPair(BackendContract):
    @pytest.fixture
    def backend(self, pair):
        return pair


def test_a_backend_that_forgets_an_operation_cannot_be_made():
    class Forgetful(Store):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Forgetful()
