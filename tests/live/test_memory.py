"""Memory does not grow with the size of blobs, as measured by the kernel."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.accounts import blob_path
from support.live_service import Service
from support.process_watch import peak_bytes, resident_bytes, status_bytes

pytestmark = pytest.mark.live

SIZE = 300_000_000
BLOCK = bytes(range(256)) * 4096  # 1 MiB
MB = 1_000_000


@pytest.fixture
def service(tmp_path):
    with Service(
        tmp_path, AURORA_BLOBS_MAX_BLOB_SIZE="400MB", AURORA_BLOBS_ALLOWED_MIME_TYPES="*/*"
    ) as service:
        yield service


def body(first):
    """SIZE bytes that begin with *first*, in pieces."""
    yield first
    left = SIZE - len(first)
    while left:
        block = BLOCK[:left]
        yield block
        left -= len(block)


def upload(account, first):
    answer = account.upload(body(first), "application/x-test", **{"Content-Length": str(SIZE)})
    assert answer.status_code == 200, answer.data
    return answer.json["blob"]["ref"]["$link"]


def download(service, account, cid):
    connection = service.connect()
    try:
        request = f"GET {blob_path(account.did, cid)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        token = f"Authorization: {account.headers['Authorization']}\r\n"
        connection.sendall(f"{request}{token}\r\n".encode())
        received = 0
        while data := connection.recv(1 << 20):
            received += len(data)
        return received
    finally:
        connection.close()


@pytest.mark.sqlite  # the driver of PostgreSQL comes on top
def test_a_worker_takes_and_sends_300_mb_in_less_than_64(service):
    account = service.account()

    cid = upload(account, b"one")
    received = download(service, account, cid)

    assert received > SIZE
    assert max(map(peak_bytes, service.workers())) < 64 * MB


def test_eight_uploads_of_300_mb_at_once_take_less_than_64_more_than_none(service):
    account = service.account()
    upload(account, b"warm")
    idle = sum(map(resident_bytes, service.workers()))

    with ThreadPoolExecutor(8) as pool:
        cids = list(pool.map(lambda number: upload(account, b"%d" % number), range(8)))

    # The peak of each worker without shared pages, its program and libraries.
    peak = sum(
        peak_bytes(pid) - status_bytes(pid, "RssFile") - status_bytes(pid, "RssShmem")
        for pid in service.workers()
    )
    assert len(set(cids)) == 8
    assert peak - idle < 64 * MB
