"""Clients that stall or trickle do not slow others down, and are dropped in time."""

import os
import time

import pytest
from support.live_service import Service
from support.nginx import shipped
from support.slow_clients import SlowClients, kinds

pytestmark = [pytest.mark.live, pytest.mark.long]

PNG = b"\x89PNG\r\n\x1a\n"


def median_upload_ms(account):
    """The median time of fifteen 1 MB uploads, each on a new connection."""
    took = []
    for _ in range(15):
        began = time.monotonic()
        answer = account.upload(PNG + os.urandom(1_000_000), "image/png")
        took.append(1000 * (time.monotonic() - began))
        assert answer.status_code == 200, answer.data
    return sorted(took)[len(took) // 2]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """gunicorn without a proxy."""
    with Service(tmp_path_factory.mktemp("alone")) as service:
        yield service


@pytest.fixture(scope="module")
def account(alone):
    return alone.account()


@pytest.mark.parametrize(
    "mix",
    [
        ["silent"],
        ["half a head"],
        ["half a body"],
        ["half a chunk"],
        ["silent", "half a head", "half a body", "half a chunk"],
    ],
    ids=["silent", "half a head", "half a body", "half a chunk", "of every kind"],
)
def test_200_stalled_clients_do_not_stop_an_upload(alone, account, mix):
    usual = median_upload_ms(account)
    starts = [kinds(account)[kind] for kind in mix]

    with SlowClients(alone.connect, starts, 200) as slow:
        time.sleep(1)
        among_them = median_upload_ms(account)
        dropped_after = slow.seconds_until_dropped(40)

    print(
        f"upload: usually {usual:.1f} ms, among them {among_them:.1f} ms; dropped after "
        f"{dropped_after:.0f} s"
    )
    assert among_them < 10 * usual + 100
    assert alone.get("/xrpc/_health").status_code == 200


@pytest.mark.parametrize("kind", ["half a head", "half a body"])
def test_200_trickling_clients_do_not_stop_an_upload(alone, account, kind):
    with SlowClients(alone.connect, [kinds(account)[kind]], 200) as slow:
        assert median_upload_ms(account) < 1000
        slow.seconds_until_dropped(60, trickle=b"x")


@pytest.mark.parametrize(
    "mix", [["half a body"], ["silent", "half a head", "half a body", "half a chunk"]]
)
def test_1000_stalled_clients_do_not_stop_an_upload_behind_nginx(tmp_path, mix):
    service = Service(
        tmp_path / "service",
        AURORA_BLOBS_BIND=f"unix:{tmp_path}/gunicorn.sock",
        AURORA_BLOBS_PROXY_HOPS="1",
    )
    nginx = shipped(
        tmp_path / "nginx", tmp_path / "gunicorn.sock", tmp_path / "service" / "data" / "blobs"
    )
    with service, nginx:
        account = service.account().at(nginx)
        starts = [kinds(account)[kind] for kind in mix]
        usual = median_upload_ms(account)

        with SlowClients(nginx.connect, starts, 1000) as slow:
            among_them = median_upload_ms(account)
            slow.seconds_until_dropped(60)

        print(f"upload: usually {usual:.1f} ms, among them {among_them:.1f} ms")
        assert among_them < 10 * usual + 100
