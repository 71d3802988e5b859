"""A remover whose lock is lost before its bytes go, on an S3 store."""

import pytest
from support.lost_lock import LostLock
from support.s3_access import BUCKET

pytestmark = pytest.mark.live


class TestS3(LostLock):
    @pytest.fixture
    def core(self, open_core, open_s3):
        return open_core(backend=open_s3())

    @pytest.fixture
    def damage(self, core, s3_server):
        """What makes the bytes of an entry wrong, where it is True."""

        def write(entry):
            key = core.backend.key(entry.name)
            s3_server.client().put_object(Bucket=BUCKET, Key=key, Body=b"two")

        return {True: write, False: lambda entry: None}
