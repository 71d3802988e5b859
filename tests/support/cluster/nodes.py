"""The servers of a cluster: nodes of the service on machines of their own, and what they use."""

import math
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

from support.accounts import ADMIN
from support.cluster.network import LINKS, Machine
from support.databases import execute
from support.live_service import Service
from support.postgresql_server import PostgresqlServer
from support.project import TESTS
from support.s3_access import BUCKET, KEYS

ANSWER_SECONDS = 20  # that a client waits
# PostgreSQL refuses to run as root: it gets a user of its own, who is root out there.
NOT_ROOT = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"]
_SETTINGS = {
    "AURORA_BLOBS_STORAGE": "s3",
    "AURORA_BLOBS_S3_BUCKET": BUCKET,
    "AURORA_BLOBS_S3_ADDRESSING_STYLE": "path",
    "AURORA_BLOBS_JWT_SECRET": "a secret of all nodes",
    "AURORA_BLOBS_ADMIN_PASSWORD": ADMIN[1],
    "AURORA_BLOBS_ALLOWED_MIME_TYPES": "*/*",
    "AURORA_BLOBS_SIGNUPS_PER_ADDRESS": "0",
    "AURORA_BLOBS_WORKERS": "2",
    "AURORA_BLOBS_THREADS": "32",
}


def postgresql(folder: Path, port: int, **settings: object) -> PostgresqlServer:
    """A server that is not started yet, for connections by TCP from everywhere."""
    folder.mkdir()
    url = f"postgresql:///postgres?host={quote(str(folder), safe='')}&port={port}&user=postgres"
    usual = {
        "listen_addresses": "*",
        "port": port,
        "unix_socket_directories": folder,
        "max_connections": 200,
        "fsync": "off",  # it is killed, the machine goes on
        "shared_buffers": "32MB",
        "log_lock_waits": "on",
    }
    return PostgresqlServer(folder, NOT_ROOT, url, **(usual | settings))


def let_everybody_in(server: PostgresqlServer) -> None:
    """Take connections from the network, for data and for a standby."""
    with open(server.folder / "data" / "pg_hba.conf", "a") as rules:
        rules.write("host all all all trust\nhost replication all all trust\n")


def standby_of(primary: PostgresqlServer, folder: Path, port: int) -> PostgresqlServer:
    """A server that has all that *primary* has, and follows it; it is started."""
    standby = postgresql(folder, port)
    source = f"host=127.0.0.1 port={primary.settings['port']} user=postgres"
    words = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--dbname", source)
    standby.run("pg_basebackup", "--pgdata", folder / "data", *words)
    standby.start()
    return standby


class Node(Service):
    """The service on *machine*.

    `is_troubled` while its clients have to expect connections that break. Its programs see a clock
    that is `clock_ahead_seconds` ahead.
    """

    def __init__(
        self, folder: Path, machine: Machine, database_ports: list[int], store_port: int, quota: int
    ) -> None:
        hosts = ",".join(f"{machine.address_beyond('database')}:{port}" for port in database_ports)
        store = f"http://{machine.address_beyond('store')}:{store_port}"
        super().__init__(
            folder,
            **KEYS,
            **_SETTINGS,
            AURORA_BLOBS_DATABASE_URL=f"postgresql://postgres@{hosts}/aurora",
            AURORA_BLOBS_S3_ENDPOINT_URL=store,
            AURORA_BLOBS_NODE=folder.name,
            AURORA_BLOBS_QUOTA=str(quota),
            AURORA_BLOBS_BIND=f"{machine.address('clients')}:2583",
        )
        self.name = folder.name
        self.machine = machine
        self.prefix = machine.prefix
        self.is_troubled = False
        self.clock_ahead_seconds = 0
        self._recovered_at = 0.0
        self._went_on_at = 0.0
        self._collector: subprocess.Popen[bytes] | None = None

    def environ(self) -> dict[str, str]:
        environ = super().environ() | {"PYTHONPATH": f"{self.root}:{TESTS}"}
        if self.clock_ahead_seconds:
            [library] = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
            environ |= {
                "LD_PRELOAD": str(library),
                "FAKETIME": f"{self.clock_ahead_seconds:+}s",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # who sets a clock does not change that
            }
        return environ

    def connect(self) -> socket.socket:
        return socket.create_connection(
            (self.machine.address("clients"), 2583), timeout=ANSWER_SECONDS
        )

    def was_calm(self, since: float) -> bool:
        """Whether nobody has troubled it since *since*, by `time.monotonic`."""
        return not self.is_troubled and self._recovered_at < since

    def stood_still(self, since: float) -> bool:
        """Whether it was paused at or after *since*."""
        return self._went_on_at >= since

    def recovered(self) -> None:
        self.is_troubled = False
        self._recovered_at = time.monotonic()

    def collect(self) -> None:
        """Collect until `end_collecting`, with a grace time of a second."""
        with open(self.folder / "collector.log", "ab") as log:
            self._collector = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "support.impatient_collector", "1"],
                cwd=self.root,
                env=self.environ(),
                stderr=log,
            )

    def end_collecting(self) -> None:
        if self._collector is not None:
            self._collector.kill()
            self._collector.wait()

    def collect_all(self) -> None:
        """Collect once, without a grace time."""
        subprocess.run(
            [*self.prefix, sys.executable, "-m", "support.impatient_collector"],
            cwd=self.root,
            env=self.environ(),
            check=True,
        )

    def pause(self) -> None:
        self._went_on_at = math.inf
        super().pause()

    def go_on(self) -> None:
        super().go_on()
        self._went_on_at = time.monotonic()

    def join_all(self) -> None:
        for link in LINKS:
            self.machine.join(link)


def end_all_sessions(server: PostgresqlServer) -> None:
    """End the connections of all nodes, as an operator does, or a pooler."""
    execute(
        server.url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'aurora'",
    )
