"""Two nodes on one PostgreSQL, of which one follows; each follower is a process of its own."""

import signal
import subprocess
import sys

import pytest
from support.cids import cid_of
from support.databases import database_settings
from support.live_service import Service, becomes
from support.project import ROOT

pytestmark = pytest.mark.postgresql

CAROL = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"


class Node:
    """A machine that follows. Its folder has everything but the blobs, which all nodes share."""

    def __init__(self, folder, mirror):
        config = mirror.services.config
        folder.mkdir()
        (folder / "blobs").symlink_to(config.data_folder.blobs)
        self._log = folder / "log"
        service = Service(
            folder,
            AURORA_BLOBS_DATA_DIR=str(folder),
            AURORA_BLOBS_MIRROR="pds",
            AURORA_BLOBS_FOLLOW=mirror.url,
            AURORA_BLOBS_PLC_URL=mirror.url,
            AURORA_BLOBS_NODE=folder.name,
            **database_settings(config.data_folder.path / "aurora.sqlite3"),
        )
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "aurora_blobs", "follow"],
                cwd=ROOT,
                env=service.environ(),
                stdout=log,
                stderr=log,
            )

    @property
    def log(self):
        return self._log.read_text()

    def send(self, number):
        self._process.send_signal(number)

    def end(self, number=signal.SIGTERM):
        """Let it end by the signal *number*, and say how it did."""
        self.send(number)
        self.send(signal.SIGCONT)
        return self._process.wait(30)

    def follows(self):
        return becomes(lambda: "lists 1 accounts" in self.log, 30)

    def waits(self):
        return becomes(lambda: "followed by another process" in self.log, 30)


@pytest.fixture
def mirror(open_mirror):
    """A mirror that is looked at, and does not follow itself."""
    return open_mirror()


@pytest.fixture
def start(mirror, tmp_path):
    """``start(name)`` is a node that follows, or waits."""
    nodes = []

    def start(name):
        nodes.append(Node(tmp_path / name, mirror))
        return nodes[-1]

    yield start
    for node in nodes:
        node.end(signal.SIGKILL)
        assert "Traceback" not in node.log


@pytest.fixture
def publish(pds):
    """``publish(data)`` has CAROL publish *data*."""
    pds.add(CAROL)

    def publish(data):
        path = f"com.example.file/{cid_of(data)[-8:]}"
        pds.write(CAROL, {path: {"$type": "com.example.file", "file": pds.blob(CAROL, data)}})

    return publish


def let_the_lease_expire(mirror):
    """As a minute does."""
    with mirror.services.database.write() as tx:
        tx.run("UPDATE lease SET expires_at = ? WHERE name > 'follow/'", tx.now() - 1)


def test_another_node_goes_on_where_the_one_was_that_was_killed(pds, mirror, start, publish):
    first = start("first")
    assert first.follows()
    second = start("second")
    assert second.waits()
    publish(b"one")
    assert mirror.serves(CAROL, b"one")
    assert mirror.has_handled(pds)

    first.end(signal.SIGKILL)
    publish(b"two")
    let_the_lease_expire(mirror)

    assert mirror.serves(CAROL, b"two", 20)
    assert pds.streams == [None, "1"]
    assert len([path for path in pds.asked if "getRepo?" in path]) == 1


def test_a_node_that_ends_lets_another_one_go_on_at_once(mirror, start, publish):
    first = start("first")
    assert first.follows()
    assert start("second").waits()

    assert first.end() == 0
    publish(b"one")

    assert mirror.serves(CAROL, b"one", 15)


def test_a_node_that_stood_still_changes_nothing_any_more(pds, mirror, start, publish):
    first = start("first")
    assert first.follows()
    second = start("second")
    assert second.waits()

    publish(b"one")
    assert mirror.serves(CAROL, b"one")
    assert becomes(lambda: mirror.rows()["upstream_blob"] == [])
    assert mirror.has_handled(pds)

    first.send(signal.SIGSTOP)
    publish(b"two")  # lies in its connection when it goes on
    let_the_lease_expire(mirror)
    assert mirror.serves(CAROL, b"two", 20)
    assert mirror.has_handled(pds)
    before = mirror.account(CAROL), mirror.host().cursor
    first.send(signal.SIGCONT)

    assert becomes(lambda: "has taken follow/" in first.log)
    assert becomes(lambda: first.log.endswith("followed by another process\n"))
    assert (mirror.account(CAROL), mirror.host().cursor) == before
    publish(b"three")
    assert mirror.serves(CAROL, b"three")
    assert second.end() == 0
    publish(b"four")
    assert mirror.serves(CAROL, b"four", 15)
