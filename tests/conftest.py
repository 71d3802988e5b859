"""Fixtures of all tests: a clock, a database, a spool, an application, a core."""

import io
import logging
from contextlib import ExitStack

import pytest
from support.accounts import ALICE, BOB, sign_up
from support.clock import Clock
from support.databases import ENGINE, database_settings, database_url, forgotten_afterwards
from support.open_files import open_files
from support.service_core import ServiceCore
from support.services import close, services_of

from aurora_blobs import logs
from aurora_blobs.app import create_app
from aurora_blobs.config import Config
from aurora_blobs.db import SCHEMA, open_database
from aurora_blobs.intake.spool import spooled
from aurora_blobs.protocol.cid import object_name
from aurora_blobs.thumbnails.pool import WorkerPool

ENGINES = {"sqlite", "postgresql"}


def pytest_collection_modifyitems(config, items):
    """Leave out what looks into the other engine of the database."""
    (other,) = ENGINES - {ENGINE}
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker(other)])
    items[:] = [item for item in items if not item.get_closest_marker(other)]


@pytest.fixture(autouse=True)
def empty_databases():
    """No test finds the rows of another one."""
    with forgotten_afterwards():
        yield


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="module")
def pool():
    pool = WorkerPool()
    yield pool
    pool.close()


@pytest.fixture
def database(tmp_path):
    database = open_database(database_url(tmp_path / "aurora.sqlite3"), durable=False)
    database.upgrade(SCHEMA.read_text())
    yield database
    database.close()


@pytest.fixture
def spool_folder(tmp_path):
    folder = tmp_path / "spool"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []
    assert open_files(folder) == []


@pytest.fixture
def store(spool_folder):
    """``store(backend, data)`` puts *data* into *backend*; its name, which is the CID."""

    def store(backend, data, number=0):
        with received(data, spool_folder) as blob:
            blob.name = object_name(blob.cid, number)
            backend.put(blob)
            return blob.name

    return store


@pytest.fixture
def store_many(spool_folder):
    """``store_many(backend, many)`` puts all of *many* into *backend* at once; their CIDs."""

    def store_many(backend, many):
        with ExitStack() as held:
            blobs = [held.enter_context(received(data, spool_folder)) for data in many]
            backend.put_many(blobs)
            return [blob.cid for blob in blobs]

    return store_many


def received(data, folder):
    return spooled(
        io.BytesIO(data),
        folder=folder,
        inspect=lambda head: "application/octet-stream",
        max_bytes=len(data),
        declared_size=None,
    )


@pytest.fixture
def open_app(tmp_path, clock):
    """``open_app(NAME=value, …)`` makes an application with those settings, unprefixed."""
    opened = []

    def open_app(**settings):
        environ = {f"AURORA_BLOBS_{name}": value for name, value in settings.items()}
        environ.setdefault("AURORA_BLOBS_DATA_DIR", str(tmp_path / f"data{len(opened)}"))
        environ.setdefault("AURORA_BLOBS_DISK_RESERVE", "0")
        folder = environ["AURORA_BLOBS_DATA_DIR"]
        environ = database_settings(f"{folder}/aurora.sqlite3") | environ
        app = create_app(Config.from_environ(environ), clock=clock)
        opened.append(app)
        return app

    yield open_app
    for app in opened:
        close(app)
        assert list(services_of(app).config.data_folder.spool.iterdir()) == []


@pytest.fixture
def app(open_app):
    """An application with an administrator whose password is "open sesame"."""
    return open_app(ADMIN_PASSWORD="open sesame")


@pytest.fixture
def services(app):
    """The `Services` of `app`."""
    return services_of(app)


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def alice(client):
    """A local account, which calls `client`."""
    return sign_up(client)


@pytest.fixture
def log_lines():
    """``log_lines()`` gives the lines of the service's log, as text, down to debug."""
    stream, log = io.StringIO(), logging.getLogger("aurora_blobs")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter())
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield lambda: stream.getvalue().splitlines()
    log.removeHandler(handler)
    log.setLevel(logging.NOTSET)


@pytest.fixture
def open_core(tmp_path):
    """``open_core(backend=…)`` opens the core of a service, with the accounts ALICE and BOB."""
    opened = []

    def open_core(**options):
        core = ServiceCore(tmp_path / f"core{len(opened)}", **options)
        core.add_account(ALICE)
        core.add_account(BOB)
        opened.append(core)
        return core

    yield open_core
    for core in opened:
        assert open_files(core.spool) == []
        core.database.close()


@pytest.fixture
def core(open_core):
    core = open_core()
    yield core
    assert list(core.spool.iterdir()) == []
