"""How much memory a body takes: none that grows with it."""

import re
import threading
from pathlib import Path

import pytest
from service import UPLOAD, Service

pytestmark = [pytest.mark.live, pytest.mark.long]

PNG = b"\x89PNG\r\n\x1a\n"
MB = 1_000_000
SIZE = 300 * MB


def memory_of(service: Service) -> int:
    """Bytes of the whole process tree; what processes share counts once."""
    pids = [service.process.pid, *service.workers()]
    rolled_up = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    return sum(1024 * int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1]) for text in rolled_up)


def test_eight_uploads_of_300_mb_at_once_take_64_mb(tmp_path):
    service = Service(
        tmp_path, AURORA_BLOBS_WORKERS="2", AURORA_BLOBS_MAX_BLOB_SIZE="400MB", AURORA_BLOBS_DURABILITY="os"
    ).start()
    statuses = []

    def upload(number: int) -> None:
        start = PNG + bytes([number]) * (MB - len(PNG))
        pieces = (start, *[bytes(MB)] * (SIZE // MB - 1))
        headers = {**account.headers, "Content-Type": "image/png", "Content-Length": str(SIZE)}
        statuses.append(service.call("POST", UPLOAD, iter(pieces), headers).status)

    try:
        account = service.account()
        # What the first requests load and make is not what a body takes.
        for content in (PNG + b"x", PNG + bytes(MB)):
            service.publish(account, content, "image/png")
        idle = memory_of(service)
        uploads = [threading.Thread(target=upload, args=(number,)) for number in range(8)]
        for thread in uploads:
            thread.start()
        peak = idle
        while any(thread.is_alive() for thread in uploads):
            peak = max(peak, memory_of(service))
            uploads[0].join(0.05)
    finally:
        service.stop()

    print(f"idle {idle // MB} MB, {(peak - idle) // MB} MB more at the peak")
    assert statuses == [200] * 8
    assert peak - idle < 64 * MB
