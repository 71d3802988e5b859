"""The contract of every store, kept by S3."""

import pytest
from support.backend_contract import StoreContract

pytestmark = pytest.mark.live


class TestS3(StoreContract):
    @pytest.fixture(params=[{}, {"max_put": 1}], ids=["whole", "in parts"])
    def backend(self, open_s3, request):
        return open_s3(**request.param)
