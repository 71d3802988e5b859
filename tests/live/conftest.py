import os
import random
from pathlib import Path

import pytest
from ceph import CephRgw
from faults import FaultyLink
from seaweed import BUCKET, KEYS, SeaweedFS
from swift import SwiftS3

from aurora_blobs.backends.s3 import S3Backend
from aurora_blobs.backends.s3_bucket import Bucket
from aurora_blobs.backends.s3_client import Patience, S3Client

STORES = {"seaweedfs": SeaweedFS, "ceph": CephRgw, "swift": SwiftS3}


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """A real store, on loopback: SeaweedFS, or what TEST_S3_STORE names."""
    server = STORES[os.environ.get("TEST_S3_STORE", "seaweedfs")](tmp_path_factory.mktemp("s3"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def s3_keys(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def link(s3_server):
    link = FaultyLink(("127.0.0.1", s3_server.ports[0]))
    yield link
    link.close()


@pytest.fixture
def open_s3(s3_server, s3_keys, tmp_path: Path):
    """Opens a store of this test's own, at another URL if need be; waits are shorter than in production."""

    def open_s3(url: str = s3_server.url) -> S3Backend:
        client = S3Client(
            endpoint_url=url,
            region=None,
            addressing_style="path",
            patient=Patience(connect=3, silence=3, total=8),
            brief=Patience(connect=3, silence=3, total=4),
        )
        return S3Backend(Bucket(BUCKET, client), prefix=f"{tmp_path.name}/")

    return open_s3


@pytest.fixture
def some_bytes():
    return lambda size: random.Random(size).randbytes(size)
