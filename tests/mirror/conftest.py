"""A PDS that may lie, and a mirror of it."""

import threading

import pytest
from support.accounts import ADMIN
from support.fake_pds import FakePds
from support.mirror import Mirror


@pytest.fixture
def pds(clock):
    with FakePds(clock).serving() as pds:
        yield pds


@pytest.fixture
def open_mirror(open_app, pds):
    """``open_mirror(NAME=value, …)`` is a mirror of `pds` with these settings, not started yet."""
    opened = []

    def open_mirror(**settings):
        settings = {"FOLLOW": pds.url, "PLC_URL": pds.url, **settings}
        opened.append(Mirror(open_app(MIRROR="pds", **settings)))
        return opened[-1]

    yield open_mirror
    for mirror in opened:
        mirror.stop()
    assert [thread for thread in threading.enumerate() if "Pool" in thread.name] == []


@pytest.fixture
def mirror(open_mirror):
    """A mirror that follows `pds`."""
    return open_mirror().start()


@pytest.fixture
def open_network(open_app, pds):
    """``open_network(NAME=value, …)`` is a mirror of the network in which `pds` is."""

    def open_network(**settings):
        settings = {"FOLLOW": pds.url, "PLC_URL": pds.url, "ADMIN_PASSWORD": ADMIN[1], **settings}
        return Mirror(open_app(MIRROR="network", **settings))

    return open_network


@pytest.fixture
def network(open_network):
    return open_network()
