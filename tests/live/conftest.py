import random
import subprocess
import sys
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from support.databases import Server, execute, url_of
from support.faulty_link import FaultyLink
from support.followed_pds import Upstream, following
from support.live_service import Service
from support.nginx import OverTls, in_front
from support.project import ROOT
from support.reference_pds import ReferencePds
from support.s3_access import BUCKET, KEYS
from support.s3_stores import running_store

from aurora_blobs.storage import s3_client
from aurora_blobs.storage.s3 import S3Backend
from aurora_blobs.storage.s3_bucket import Bucket
from aurora_blobs.storage.s3_client import S3Client, Timeouts


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The package as a file."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT]
    subprocess.run(command, check=True, timeout=300)
    [wheel] = folder.iterdir()
    return wheel


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    with running_store(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_keys(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def link(s3_server):
    link = FaultyLink(("127.0.0.1", s3_server.ports[0]))
    yield link
    link.close()


@pytest.fixture
def open_s3(s3_server, s3_keys, tmp_path: Path, monkeypatch):
    """``open_s3(url=…)`` opens a store for this test. At a *url*, timeouts are a tenth."""
    monkeypatch.setattr(s3_client, "PAUSE_SECONDS", 0.02)

    faulty = {
        "timeouts": Timeouts(connect=1.5, read=1.5, total=4),
        "brief_timeouts": Timeouts(connect=1.5, read=1.5, total=2),
    }

    def open_s3(url: str | None = None, **sizes: int) -> S3Backend:
        client = S3Client(
            endpoint_url=url or s3_server.url,
            region=None,
            addressing_style="path",
            **(faulty if url else {}),
        )
        return S3Backend(Bucket(BUCKET, client), prefix=f"{tmp_path.name}/", **sizes)

    return open_s3


@pytest.fixture(scope="session")
def nodes_database():
    """The URL of a database on PostgreSQL, whatever the other tests are on."""
    server = Server()
    execute(url_of(server.folder, "postgres"), "CREATE DATABASE nodes TEMPLATE aurora_template")
    yield url_of(server.folder, "nodes")
    server.stop()


@pytest.fixture
def start_node(nodes_database, s3_server, tmp_path):
    """``start_node(…)`` starts one more service on a database and a store that all nodes have."""
    numbers = count(1)
    with ExitStack() as running:
        yield lambda *arguments, **settings: running.enter_context(
            Service(
                tmp_path / f"node{next(numbers)}",
                *arguments,
                **KEYS,
                AURORA_BLOBS_DATABASE_URL=nodes_database,
                AURORA_BLOBS_JWT_SECRET="a secret of all nodes",
                AURORA_BLOBS_STORAGE="s3",
                AURORA_BLOBS_S3_BUCKET=BUCKET,
                AURORA_BLOBS_S3_PREFIX="nodes/",
                AURORA_BLOBS_S3_ENDPOINT_URL=s3_server.url,
                AURORA_BLOBS_S3_ADDRESSING_STYLE="path",
                **settings,
            )
        )


@pytest.fixture
def over_tls(tmp_path):
    """A certificate for localhost, and the shipped nginx's lines for TLS with it."""
    return OverTls(tmp_path)


@pytest.fixture
def some_bytes():
    return lambda size: random.Random(size).randbytes(size)


@pytest.fixture
def nginx(tmp_path, service):
    """The shipped nginx in front of *service*, which is behind one."""
    with in_front(service, tmp_path / "nginx") as nginx:
        yield nginx


@pytest.fixture
def pds(tmp_path):
    """A reference PDS that is followed."""
    with ReferencePds(tmp_path / "pds", "http://localhost:2583") as pds:
        yield pds


@pytest.fixture
def upstream(pds):
    return Upstream(pds)


@pytest.fixture
def mirror(pds, tmp_path):
    with following(pds, tmp_path) as mirror:
        yield mirror
