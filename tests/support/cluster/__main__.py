"""A run of a cluster: load on it, one trouble after the other, and what came of it.

``python -m support.cluster FOLDER NODES SECONDS SEED``, in the namespaces of `network.ALONE`,
prints figures of each trouble, and exits with status 1 if a promise was broken.

``python -m support.cluster FOLDER NODES SECONDS SEED STANDBY``: the database has a standby, which
is ``synchronous`` or ``asynchronous``, and takes its place when it crashes. With ``upgrade`` in
place of STANDBY one node after the other gets the next version; with ``clocks`` the clock of the
first node is ten minutes ahead, and that of the second one ten minutes behind.
"""

import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path

from support.cluster.load import (
    QUOTA,
    Follower,
    OneOfMany,
    Person,
    Report,
    Writer,
    new_account,
)
from support.cluster.network import Machine, ip
from support.cluster.nodes import Node, let_everybody_in, postgresql, standby_of
from support.cluster.promises import (
    DatabaseWatch,
    HealthWatch,
    clock_complaints,
    complaints,
)
from support.cluster.troubles import (
    TROUBLES,
    Cluster,
    Trouble,
    node_upgraded,
    none,
    standby_takes_over,
)
from support.databases import execute
from support.live_service import becomes
from support.ports import free_port
from support.s3_seaweedfs import SeaweedFS

_PEOPLE, _CROWD = 6, 4
_LONGEST_SECONDS = 75  # of a trouble
_RECOVERY_SECONDS = 60
_STANDBYS = ("synchronous", "asynchronous")
_OFF_SECONDS = 600  # of a clock


@contextmanager
def running(folder: Path, count: int, scene: str = "") -> Iterator[tuple[Cluster, str]]:
    """A cluster of *count* nodes, and the URL of its database."""
    ip("link", "set", "lo", "up")
    with ExitStack() as stack:
        database = postgresql(folder / "postgresql", free_port())
        database.make()
        let_everybody_in(database)
        database.start()
        stack.callback(database.stop)
        execute(database.url, "CREATE DATABASE aurora TEMPLATE template0 ENCODING 'UTF8'")
        store = SeaweedFS(folder / "store", bind="0.0.0.0")
        stack.callback(store.stop)
        store.start()
        servers = [database]
        if scene in _STANDBYS:
            standby = standby_of(database, folder / "standby", free_port())
            stack.callback(standby.stop)
            servers.append(standby)
        if scene == "synchronous":
            execute(database.url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
            execute(database.url, "SELECT pg_reload_conf()")
        ports = [int(str(server.settings["port"])) for server in servers]
        nodes = [
            Node(folder / f"node{number}", Machine(number), ports, store.ports[0], QUOTA)
            for number in range(1, count + 1)
        ]
        if scene == "clocks":
            nodes[0].clock_ahead_seconds = _OFF_SECONDS
            nodes[1].clock_ahead_seconds = -_OFF_SECONDS
        for node in nodes:
            stack.enter_context(node)
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        url = f"postgresql://postgres@{hosts}/aurora?target_session_attrs=read-write"
        yield Cluster(nodes, servers, store), url


class Run:
    """Load on *cluster*, by *seed*. `report` is what its clients saw."""

    def __init__(self, cluster: Cluster, database_url: str, seed: str) -> None:
        self.cluster = cluster
        self.report = Report()
        self.chance = random.Random(seed)
        self._url = database_url
        self._over = threading.Event()
        self._quiet = threading.Event()
        with_all = (cluster.nodes, self.report)
        account = new_account(cluster.nodes, "crowd")
        crowd = [
            OneOfMany(account, *with_all, f"many{number}", seed, self._over)
            for number in range(_CROWD)
        ]
        people = [
            Person(*with_all, f"person{number}", seed, self._over) for number in range(_PEOPLE)
        ]
        self._writers: list[Writer] = [*crowd, *people]
        self._follower = Follower(crowd, database_url, *with_all, "follower", seed, self._quiet)
        self._health = {node.name: HealthWatch(node, self._quiet) for node in cluster.nodes}
        self._watch = DatabaseWatch(database_url, self._quiet)

    def start(self) -> None:
        for node in self.cluster.nodes:
            node.collect()
        for thread in self._threads():
            thread.start()

    def go_through(self, trouble: Trouble, node: Node, seconds: float) -> None:
        """Let *trouble* last for *seconds*, and print a line about it."""
        before = self.report.answers.copy()
        lost = len(self.report.lost)
        self.report.slowest_seconds = 0
        began = time.monotonic()
        with trouble(self.cluster, node):
            time.sleep(seconds)
        healed = time.monotonic()
        recovered = [self._recovery(one, healed) for one in self.cluster.nodes]
        ill = self._health[node.name].seconds_until_ill(began)
        found = self.report.answers - before
        acknowledged = found.pop("acknowledged", 0)
        print(
            f"{trouble.__name__} ({node.name}, {healed - began:.0f} s):"
            f" {acknowledged} uploads acknowledged, {len(self.report.lost) - lost} blobs lost,"
            f" {dict(sorted(found.items()))}, slowest {self.report.slowest_seconds:.1f} s,"
            f" ill after {'-' if ill is None else f'{ill:.1f} s'},"
            f" recovered after {max(recovered):.1f} s",
            flush=True,
        )

    def _recovery(self, node: Node, since: float) -> float:
        probe = self._writers[0]

        def works() -> bool:
            if not node.is_answering() or node.get("/xrpc/_health").status_code != 200:
                return False
            data = self.chance.randbytes(100)
            return probe.account.at(node).upload(data, "text/plain").status_code == 200

        def works_now() -> bool:
            try:
                return works()
            except OSError:
                return False

        if not becomes(works_now, _RECOVERY_SECONDS):
            self.report.wrong.append(f"{node.name} has not recovered")
        node.recovered()
        return time.monotonic() - since

    def finish(self) -> list[str]:
        """End all, and look; what is wrong."""
        self._over.set()
        for writer in self._writers:
            writer.join()
        time.sleep(1)  # the follower has asked once more
        self._quiet.set()
        for thread in self._threads():
            thread.join()
        for node in self.cluster.nodes:
            node.end_collecting()
        found = complaints(self.cluster, self._url, self._writers, self._follower)
        found = list(chain(found, self._watch.complaints()))
        return [*self.report.lost, *self.report.wrong, *found]

    def _threads(self) -> list[threading.Thread]:
        return [*self._writers, self._follower, *self._health.values(), self._watch]


def one_after_the_other(run: Run, seconds: float) -> None:
    """All troubles, in any order, again and again for *seconds*."""
    nodes, chance = run.cluster.nodes, run.chance
    until = time.monotonic() + seconds
    longest = min(_LONGEST_SECONDS, 0.8 * seconds / len(TROUBLES))
    while True:
        for trouble in chance.sample(TROUBLES, len(TROUBLES)):
            if time.monotonic() > until:
                return
            run.go_through(trouble, chance.choice(nodes), chance.uniform(0.4, 1) * longest)


def main(folder: Path, count: int, seconds: float, seed: str, scene: str = "") -> int:
    with running(folder, count, scene) as (cluster, url):
        run = Run(cluster, url, seed)
        print(f"{count} nodes, CLUSTER_SEED={seed}", scene, flush=True)
        run.start()
        if scene == "upgrade":
            for node in cluster.nodes:
                run.go_through(node_upgraded, node, seconds / count)
        elif scene in _STANDBYS:
            run.go_through(none, cluster.nodes[0], seconds / 2)
            run.go_through(standby_takes_over, cluster.nodes[0], 0)
            run.go_through(none, cluster.nodes[0], seconds / 2)
        else:
            run.go_through(none, cluster.nodes[0], 3)
            one_after_the_other(run, seconds)
        wrong = run.finish()
        if scene == "clocks":
            wrong.extend(clock_complaints(*cluster.nodes))
        print(f"{len(run.report.lost)} lost, {len(wrong)} complaints", *wrong[:30], sep="\n")
        return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:]))
