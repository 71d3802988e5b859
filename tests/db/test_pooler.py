"""PostgreSQL behind pgbouncer, which gives each transaction another session of few."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import pytest
from support.live_service import becomes
from support.tally import add, value
from support.threads import in_threads

from aurora_blobs.config import Config
from aurora_blobs.db import account_key, open_database

pytestmark = pytest.mark.postgresql

PORT = 6432  # a socket's name in a folder has it


@pytest.fixture
def pooled(tally, url):
    """``pooled(mode)`` is the URL of the database of `tally` by way of pgbouncer."""
    with contextlib.ExitStack() as stack:
        yield lambda mode: stack.enter_context(_pooler(url, mode))


@contextlib.contextmanager
def _pooler(url, mode):
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    settings = {
        "pool_mode": mode,
        "listen_port": PORT,
        "unix_socket_dir": folder,
        "auth_type": "any",
        "default_pool_size": 3,
        "ignore_startup_parameters": "options,extra_float_digits",
    }
    lines = [f"{name} = {setting}" for name, setting in settings.items()]
    server = os.environ["TEST_POSTGRESQL_FOLDER"]
    (folder / "pgbouncer.ini").write_text(
        "\n".join(["[databases]", f"* = host={server} user=postgres", "[pgbouncer]", *lines, ""])
    )
    shutil.chown(folder, "postgres", "postgres")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
            + ["/usr/sbin/pgbouncer", folder / "pgbouncer.ini"],
            stdout=log,
            stderr=log,
        )
    try:
        assert becomes((folder / f".s.PGSQL.{PORT}").exists), (folder / "log").read_text()
        name = url.removeprefix("postgresql:///").partition("?")[0]
        place = quote(str(folder), safe="")
        yield f"postgresql:///{name}?host={place}&port={PORT}&user=postgres"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "mode, prepares", [("transaction", False), ("session", True), ("session", False)]
)
def test_many_may_read_and_write_by_few_sessions(tally, pooled, mode, prepares):
    url = pooled(mode)
    sessions = Counter()
    with contextlib.ExitStack() as stack:
        connections = 4 if mode == "transaction" else 1
        nodes = [
            stack.enter_context(
                contextlib.closing(
                    open_database(url, durable=False, connections=connections, prepares=prepares)
                )
            )
            for _ in range(3)
        ]
        remaining = iter(nodes * 4)

        def use():
            node = next(remaining)
            for number in range(20):
                add(node)
                with node.write(keys=(account_key(threading.current_thread().name),)) as tx:
                    names = [(f"{threading.get_ident()} {number} {more}", 1) for more in range(3)]
                    tx.run_each("INSERT INTO tally (name, value) VALUES (?, ?)", names)
                with node.read() as tx:
                    sessions[tx.one("SELECT pg_backend_pid()")] += 1
                    found = list(tx.each("SELECT name FROM tally WHERE value >= ?", 0))
                assert len(found) > 3 * number
                assert node.one_shot().one("SELECT 7 WHERE 1 = ?", 1) == (7,)

        assert in_threads(use, 12) == []

    assert value(tally) == 240
    assert tally.one_shot().one("SELECT COUNT(*) FROM tally") == (1 + 12 * 20 * 3,)
    assert 1 < len(sessions) <= 3


def test_a_service_prepares_unless_it_is_told_not_to(open_app):
    prepares = {"on": [], "off": []}
    for setting, seen in prepares.items():
        database = open_app(DATABASE_PREPARE=setting).extensions["aurora_blobs"].database
        with database.read() as tx:
            for _ in range(3):
                tx.one("SELECT COUNT(*) FROM account WHERE did = ?", "did:web:a.test")
            seen += tx.one(
                "SELECT COUNT(*) FROM pg_prepared_statements WHERE statement LIKE ?",
                "%FROM account%",
            )

    assert prepares == {"on": [1], "off": [0]}
    assert Config.from_environ({}).database_prepare == "on"
