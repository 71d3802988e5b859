import pytest
from support.accounts import ADMIN
from support.object_api import SETTINGS, SignedClient

from aurora_blobs.clock import system_clock


@pytest.fixture
def clock():
    """That of the machine: signatures are botocore's, which asks no other."""
    return system_clock


@pytest.fixture
def open_objects(open_app):
    """``open_objects(NAME=value, …)``: an application with the object API."""
    needed = {name.removeprefix("AURORA_BLOBS_"): value for name, value in SETTINGS.items()}

    def open_objects(**settings):
        return open_app(**(needed | {"ADMIN_PASSWORD": ADMIN[1], "DURABILITY": "os"} | settings))

    return open_objects


@pytest.fixture
def objects_app(open_objects):
    return open_objects()


@pytest.fixture
def pds(objects_app):
    """A PDS that keeps its blobs in `objects_app`."""
    return SignedClient(objects_app.test_client())
