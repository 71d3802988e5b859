"""What may go wrong with a node of a cluster, or with what all nodes use."""

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.cluster.network import LINKS
from support.cluster.nodes import Node, end_all_sessions
from support.databases import execute
from support.postgresql_server import PostgresqlServer
from support.project import PACKAGE, ROOT
from support.s3_seaweedfs import SeaweedFS

from aurora_blobs.db import SCHEMA_VERSION


@dataclass
class Cluster:
    """*nodes* on one database and one store. The first of *servers* is the database."""

    nodes: list[Node]
    servers: list[PostgresqlServer]
    store: SeaweedFS

    @property
    def database(self) -> PostgresqlServer:
        return self.servers[0]


_STEP = """
CREATE TABLE later (name TEXT PRIMARY KEY);
ALTER TABLE blob_metadata ADD COLUMN later TEXT;
CREATE INDEX blob_metadata_later ON blob_metadata (later);
"""

# Trouble that lasts for the block, of one node or of all.
Trouble = Callable[[Cluster, Node], AbstractContextManager[object]]


@contextmanager
def none(cluster: Cluster, node: Node) -> Iterator[None]:
    yield


@contextmanager
def node_killed(cluster: Cluster, node: Node) -> Iterator[None]:
    node.is_troubled = True
    node.kill()
    yield
    node.start()


@contextmanager
def node_stands_still(cluster: Cluster, node: Node) -> Iterator[None]:
    node.is_troubled = True
    node.pause()
    yield
    node.go_on()


@contextmanager
def node_cut_off(cluster: Cluster, node: Node) -> Iterator[None]:
    """From everything."""
    node.is_troubled = True
    for link in LINKS:
        node.machine.cut(link)
    yield
    node.join_all()


@contextmanager
def node_cut_off_from_database(cluster: Cluster, node: Node) -> Iterator[None]:
    node.machine.cut("database")
    yield
    node.join_all()


@contextmanager
def node_deaf_to_database(cluster: Cluster, node: Node) -> Iterator[None]:
    node.machine.deafen("database")
    yield
    node.join_all()


@contextmanager
def node_cut_off_from_store(cluster: Cluster, node: Node) -> Iterator[None]:
    node.is_troubled = True  # a download that has begun breaks
    node.machine.cut("store")
    yield
    node.join_all()


@contextmanager
def node_deaf_to_store(cluster: Cluster, node: Node) -> Iterator[None]:
    node.is_troubled = True
    node.machine.deafen("store")
    yield
    node.join_all()


@contextmanager
def database_crashes(cluster: Cluster, node: Node) -> Iterator[None]:
    cluster.database.stop()
    yield
    cluster.database.start()


@contextmanager
def database_restarts(cluster: Cluster, node: Node) -> Iterator[None]:
    cluster.database.stop(signal.SIGINT)
    cluster.database.start()
    yield


@contextmanager
def sessions_are_ended(cluster: Cluster, node: Node) -> Iterator[None]:
    over = threading.Event()

    def end() -> None:
        while not over.wait(0.3):
            end_all_sessions(cluster.database)

    thread = threading.Thread(target=end)
    thread.start()
    yield
    over.set()
    thread.join()


@contextmanager
def store_stands_still(cluster: Cluster, node: Node) -> Iterator[None]:
    assert cluster.store.process is not None
    for one in cluster.nodes:
        one.is_troubled = True
    cluster.store.process.send_signal(signal.SIGSTOP)
    yield
    cluster.store.process.send_signal(signal.SIGCONT)


@contextmanager
def standby_takes_over(cluster: Cluster, node: Node) -> Iterator[None]:
    """The database crashes for good. Its standby, cut off a second before, is promoted."""
    primary, standby = cluster.servers
    execute(standby.url, "ALTER SYSTEM SET primary_conninfo = ''")
    execute(standby.url, "SELECT pg_reload_conf()")
    time.sleep(1)
    primary.stop()
    cluster.servers = [standby]
    execute(standby.url, "SELECT pg_promote()")
    yield


@contextmanager
def node_upgraded(cluster: Cluster, node: Node) -> Iterator[None]:
    """To a version whose database has another table, column and index."""
    node.root = _next_version(node.folder / "next")
    node.is_troubled = True
    node.stop()
    node.start()
    logs = "".join(one.log for one in cluster.nodes)
    assert f"the database goes from version {SCHEMA_VERSION} to {SCHEMA_VERSION + 1}" in logs
    yield


def _next_version(folder: Path) -> Path:
    """Make *folder* a checkout of what may come after this one."""
    shutil.copytree(PACKAGE, folder / "aurora_blobs")
    for name in ("wsgi.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / name, folder)
    seam = folder / "aurora_blobs" / "db" / "seam.py"
    line = f"SCHEMA_VERSION = {SCHEMA_VERSION}\n"
    text = seam.read_text()
    assert line in text
    seam.write_text(text.replace(line, f"SCHEMA_VERSION = {SCHEMA_VERSION + 1}\n"))
    (seam.parent / "steps" / f"{SCHEMA_VERSION + 1}.sql").write_text(_STEP)
    return folder


TROUBLES: tuple[Trouble, ...] = (
    node_killed,
    node_stands_still,
    node_cut_off,
    node_cut_off_from_database,
    node_deaf_to_database,
    node_cut_off_from_store,
    node_deaf_to_store,
    database_crashes,
    database_restarts,
    sessions_are_ended,
    store_stands_still,
)
