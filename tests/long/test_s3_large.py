"""A blob of 1 GiB to S3 and back in constant memory."""

from hashlib import sha256

import pytest
from support.accounts import UPLOAD
from support.http_client import call
from support.live_service import Service
from support.process_watch import peak_bytes
from support.s3_access import BUCKET, KEYS

pytestmark = [pytest.mark.live, pytest.mark.long]

GIB = 2**30
PIECE = bytes(range(256)) * 4096  # 1 MiB
MAX_WORKER_BYTES = 96 * 2**20


def test_a_gibibyte_passes_in_constant_memory(tmp_path, s3_server):
    with Service(
        tmp_path / "service",
        **KEYS,
        AURORA_BLOBS_STORAGE="s3",
        AURORA_BLOBS_S3_BUCKET=BUCKET,
        AURORA_BLOBS_S3_PREFIX=f"{tmp_path.name}/",
        AURORA_BLOBS_S3_ENDPOINT_URL=s3_server.url,
        AURORA_BLOBS_S3_ADDRESSING_STYLE="path",
        AURORA_BLOBS_MAX_BLOB_SIZE="1GiB",
        AURORA_BLOBS_ALLOWED_MIME_TYPES="*/*",
    ) as service:
        alice = service.account()
        headers = {
            **alice.headers,
            "Content-Type": "application/x-test",
            "Content-Length": str(GIB),
        }

        connection = service.connect()
        connection.settimeout(600)  # the store answers at the end
        uploaded = call(connection, "POST", UPLOAD, (PIECE for _ in range(1024)), headers)
        cid = uploaded.json["blob"]["ref"]["$link"]
        part = alice.fetch(cid, **alice.headers, Range=f"bytes={GIB - 200 * 2**20}-")
        peaks = [peak_bytes(pid) for pid in service.workers()]

    assert uploaded.json["blob"]["size"] == GIB
    assert part.status_code == 206
    assert sha256(part.data).digest() == sha256(PIECE * 200).digest()
    assert max(peaks) < MAX_WORKER_BYTES, peaks
