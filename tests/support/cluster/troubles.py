"""What may go wrong with a node of a cluster, or with what all nodes use."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from support.cluster.network import LINKS
from support.cluster.nodes import Node, end_all_sessions
from support.databases import execute
from support.postgresql_server import PostgresqlServer
from support.s3_seaweedfs import SeaweedFS


@dataclass
class Cluster:
    """*nodes* on one database and one store. The first of *servers* is the database."""

    nodes: list[Node]
    servers: list[PostgresqlServer]
    store: SeaweedFS

    @property
    def database(self) -> PostgresqlServer:
        return self.servers[0]


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
