"""The S3 stores that tests can have."""

import os
from contextlib import contextmanager

from support.s3_ceph import CephRgw
from support.s3_seaweedfs import SeaweedFS
from support.s3_swift import SwiftS3

_STORES = {"seaweedfs": SeaweedFS, "ceph": CephRgw, "swift": SwiftS3}


@contextmanager
def running_store(folder):
    """A real store on loopback, its data in *folder*: SeaweedFS, or what TEST_S3_STORE names."""
    server = _STORES[os.environ.get("TEST_S3_STORE", "seaweedfs")](folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
