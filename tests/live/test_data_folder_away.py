"""The data folder disappears for a while, like a mount: the service reports it and recovers."""

import os
import time

import pytest
from support.live_service import Service, becomes

from aurora_blobs.storage.health import FRESH_SECONDS

pytestmark = pytest.mark.live

PNG = b"\x89PNG\r\n\x1a\n"
BODY = PNG + os.urandom(3_000_000)  # too large to be in memory
HEALTH = "/xrpc/_health"


@pytest.fixture
def service(tmp_path):
    with Service(tmp_path, AURORA_BLOBS_WORKERS="3") as service:
        yield service


def statuses_of_health(service, seconds):
    """The answers of _health on new connections, which any worker may take."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield service.get(HEALTH).status_code
        time.sleep(0.02)


def test_after_the_first_503_no_process_says_that_all_is_well(service):
    assert set(statuses_of_health(service, 1)) == {200}
    data = service.folder / "data"

    data.rename(service.folder / "away")
    statuses = list(statuses_of_health(service, 2.5 * FRESH_SECONDS))
    (service.folder / "away").rename(data)

    assert 503 in statuses
    assert set(statuses[statuses.index(503) :]) == {503}
    assert becomes(lambda: service.get(HEALTH).status_code == 200, 2 * FRESH_SECONDS)
    assert set(statuses_of_health(service, 1)) == {200}
