"""A PDS that may lie, and a mirror of it."""

import threading

import pytest
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
        app = open_app(MIRROR="pds", FOLLOW=pds.url, PLC_URL=pds.url, **settings)
        opened.append(Mirror(app))
        return opened[-1]

    yield open_mirror
    for mirror in opened:
        mirror.stop()
    assert [thread for thread in threading.enumerate() if "Pool" in thread.name] == []


@pytest.fixture
def mirror(open_mirror):
    """A mirror that follows `pds`."""
    return open_mirror().start()
