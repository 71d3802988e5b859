import os
import random
from contextlib import contextmanager

import pytest
from support.accounts import ADMIN
from support.hostile.objects import ObjectStage
from support.hostile.stage import Stage
from support.live_service import Service
from support.nginx import shipped
from support.object_api import BUCKET
from support.object_api import SETTINGS as OBJECT_SETTINGS
from support.routes import all_routes

_SETTINGS = {
    "AURORA_BLOBS_ADMIN_PASSWORD": ADMIN[1],
    "AURORA_BLOBS_PLC_URL": "http://127.0.0.1:9",  # nothing is asked of another machine
    "AURORA_BLOBS_ALLOWED_MIME_TYPES": "*/*",
}
_OBJECTS = _SETTINGS | OBJECT_SETTINGS


@pytest.fixture(scope="session")
def routes():
    return all_routes()


@pytest.fixture(scope="session")
def seed():
    """What TEST_SEED says, else another one each time: it repeats a run."""
    seed = os.environ.get("TEST_SEED") or str(random.randrange(10**6))
    print(f"TEST_SEED={seed}")
    return seed


@contextmanager
def running_alone(folder, settings=_SETTINGS, stage=Stage):
    """The service with nothing in front of it, that again, and the stage."""
    with Service(folder, **settings) as service:
        yield service, service, stage(service)


@contextmanager
def running_behind_nginx(folder, settings=_SETTINGS, stage=Stage, changes=()):
    """The service, the shipped nginx with *changes* in front of it, and the stage."""
    socket, data = folder / "gunicorn.sock", folder / "service" / "data"
    settings = settings | {
        "AURORA_BLOBS_BIND": f"unix:{socket}",
        "AURORA_BLOBS_PROXY_HOPS": "1",
        "AURORA_BLOBS_ACCEL_REDIRECT": "/_blobs/",
    }
    nginx = shipped(folder / "nginx", socket, data / "blobs", *changes)
    with Service(folder / "service", **settings) as service, nginx:
        yield service, nginx, stage(nginx)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    with running_alone(tmp_path_factory.mktemp("alone")) as scene:
        yield scene


@pytest.fixture(scope="module")
def behind_nginx(tmp_path_factory):
    with running_behind_nginx(tmp_path_factory.mktemp("behind")) as scene:
        yield scene


@pytest.fixture(scope="module")
def objects_alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects")
    with running_alone(folder, _OBJECTS, ObjectStage) as scene:
        yield scene


@pytest.fixture(scope="module")
def objects_behind_nginx(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects-behind")
    changes = (("#pds ", ""), ("pds-blobs", BUCKET))
    with running_behind_nginx(folder, _OBJECTS, ObjectStage, changes) as scene:
        yield scene
