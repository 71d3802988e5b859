"""The S3 stores for tests."""

import os
from contextlib import contextmanager

from support.s3_ceph import CephRgw
from support.s3_seaweedfs import SeaweedFS
from support.s3_swift import SwiftS3

_STORES = {"seaweedfs": SeaweedFS, "ceph": CephRgw, "swift": SwiftS3}


@contextmanager
def running_store(folder):
    """Run SeaweedFS, or the store that TEST_S3_STORE names, with its data in *folder*."""
    server = _STORES[os.environ.get("TEST_S3_STORE", "seaweedfs")](folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
