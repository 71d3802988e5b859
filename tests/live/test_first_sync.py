"""The first run over a large PDS: how fast it is, in how much memory, and after it was killed."""

import signal
import subprocess
import time

import pytest
from support.fake_pds import FakePds
from support.followed_pds import Mirror
from support.live_service import Service
from support.process_watch import resident_bytes
from support.static_pds import StaticPds

from aurora_blobs.blobs.together import MOST_TOGETHER
from aurora_blobs.clock import system_clock
from aurora_blobs.mirror.fetcher import THREADS

pytestmark = [pytest.mark.live, pytest.mark.long]

ACCOUNTS, EACH, SIZE = 1000, 20, 16_384
BLOBS = ACCOUNTS * EACH


@pytest.fixture
def pds(tmp_path):
    with FakePds(system_clock).serving() as stream:
        pds = StaticPds(tmp_path / "pds", stream.url, accounts=ACCOUNTS, each=EACH, size=SIZE)
        with pds.nginx:
            yield pds


@pytest.fixture
def mirror(pds, tmp_path):
    with Service(
        tmp_path / "mirror",
        AURORA_BLOBS_MIRROR="pds",
        AURORA_BLOBS_FOLLOW=pds.url,
        AURORA_BLOBS_PLC_URL=pds.url,
    ) as service:
        mirror = Mirror(service, tmp_path)
        mirror.start()
        yield mirror
        assert mirror.end() == 0
        assert "Traceback" not in mirror.log


def held(mirror):
    with mirror.service.database() as database:
        return database.one_shot().one("SELECT COUNT(*) FROM blob_metadata")[0]


def wait_for(mirror, count):
    """Until *count* blobs are here; the seconds, and the memory now and then."""
    began, memory = time.monotonic(), []
    while held(mirror) < count:
        memory.append(resident_bytes(mirror.pid))
        time.sleep(0.5)
        assert time.monotonic() - began < 900, mirror.log[-5000:]
    return time.monotonic() - began, memory


def fetched_by_curl(pds, folder):
    """The seconds that curl takes for all blobs, 50 at once."""
    folder.mkdir()
    (folder / "list").write_text(
        "".join(
            f'url = "{pds.url_of(did, cid)}"\noutput = "{folder}/{number}"\n'
            for number, (did, cid) in enumerate(pds.blobs)
        )
    )
    began = time.monotonic()
    subprocess.run(["curl", "-sS", "--parallel", "--config", str(folder / "list")], check=True)
    return time.monotonic() - began


def test_a_large_pds_is_here_soon_in_flat_memory_and_a_kill_costs_nothing(pds, mirror, tmp_path):
    wait_for(mirror, BLOBS // 10)
    seconds, memory = wait_for(mirror, BLOBS // 2)
    rate = (BLOBS // 2 - BLOBS // 10) / seconds
    before = held(mirror)
    mirror.end(signal.SIGKILL)
    mirror.start()
    wait_for(mirror, BLOBS)

    curl = BLOBS / fetched_by_curl(pds, tmp_path / "curl")
    asked = pds.asked("getBlob")[:-BLOBS]
    print(f"{rate:.0f} blobs a second, curl {curl:.0f}: {rate / curl:.2f} of it")
    print(f"{min(memory) / 2**20:.0f} to {max(memory) / 2**20:.0f} MiB")
    print(f"{len({connection for connection, _ in asked})} connections, {len(asked)} requests")
    assert before < BLOBS
    assert max(memory) - memory[0] < 16 * 2**20
    # What was under way when it was killed; and some are asked for again, as each is within a day.
    assert len(asked) <= BLOBS + 2 * THREADS * MOST_TOGETHER
    assert len(pds.asked("getRepo")) <= ACCOUNTS + 8
    assert len({connection for connection, _ in asked}) < len(asked) / 20
