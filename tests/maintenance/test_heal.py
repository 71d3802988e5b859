"""A fetch from another server is bounded by what is missing, and goes nowhere else."""

import socket
import threading
from contextlib import contextmanager

import pytest
from support.accounts import ALICE
from support.cids import cid_of

from aurora_blobs.catalog import blobs, references
from aurora_blobs.maintenance.heal import Heal
from aurora_blobs.protocol.blob_refs import Reference
from aurora_blobs.protocol.cid import place_of

DATA = b"a blob of 23 bytes, all"
MOST = 64 * 1024 * 1024  # bytes that an endless body ends after, for a test that fails
BUFFERS = 32 * 1024 * 1024  # more than the kernel holds between two sockets


class OtherServer:
    """Answers each connection by *answer*, which gets it; counts bytes and requests."""

    def __init__(self, answer):
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.sent = 0
        self.asked = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._handle, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _handle(self, connection):
        with connection:
            try:
                self.asked.append(connection.recv(65536).decode())
                self._answer(self, connection)
            except OSError:
                pass

    def send(self, connection, data):
        connection.sendall(data)
        self.sent += len(data)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def serve():
    servers = []

    def serve(answer):
        servers.append(OtherServer(answer))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-test\r\n"


def whole(server, connection):
    server.send(connection, HEAD + b"Content-Length: %d\r\n\r\n" % len(DATA) + DATA)


def endless(server, connection):
    server.send(connection, HEAD + b"\r\n" + DATA[:10])
    while server.sent < MOST:
        server.send(connection, bytes(256 * 1024))


def endless_in_chunks(server, connection):
    server.send(connection, HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while server.sent < MOST:
        server.send(connection, b"40000\r\n" + bytes(0x40000) + b"\r\n")


def far_too_long(server, connection):
    server.send(connection, HEAD + b"Content-Length: %d\r\n\r\n" % MOST)
    while server.sent < MOST:
        server.send(connection, bytes(256 * 1024))


def drip(server, connection, after=HEAD + b"Content-Length: 23\r\n\r\n", count=23):
    connection.sendall(after)
    ends = threading.Event()
    for _ in range(count):
        ends.wait(0.1)
        server.send(connection, b"x")


def dripping_head(server, connection):
    drip(server, connection, after=b"HTTP/1.1 200 OK\r\nX-", count=200)


def silent(server, connection):
    connection.settimeout(30)
    connection.recv(1)


@pytest.fixture
def missing(core):
    """Alice lacks the bytes of a blob that she owns."""
    entry = core.upload(DATA)
    core.backend.delete(entry.cid)
    with core.database.write() as tx:
        blobs.mark_lost(tx, entry.cid, core.clock())
    return entry.cid


@contextmanager
def watched(spool):
    """The most bytes that lie in the folder *spool* while the block runs, in a list."""
    seen, ends = [0], threading.Event()

    def watch():
        while not ends.wait(0.002):
            seen[0] = max(seen[0], sum(path.stat().st_size for path in spool.iterdir()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ends.set()
        watcher.join()


def healed(core, url, *, most=1000, seconds=30.0):
    job = Heal(core.database, core.blobs, url, max_blob_bytes=most, answer_seconds=seconds)
    return [(finding.subject, finding.detail) for finding in job.run()], job.healed


def test_what_is_missing_comes_back(core, missing, serve):
    assert healed(core, serve(whole).url) == ([], 1)
    assert core.read(core.entry(ALICE, missing)) == DATA


@pytest.mark.parametrize("name", ["{}", "{}.7"], ids=["by its CID", "stored for the second time"])
def test_what_a_backup_has_comes_back(core, missing, tmp_path, name):
    kept = tmp_path / "backup" / "blobs" / place_of(name.format(missing))
    kept.parent.mkdir(parents=True)
    kept.write_bytes(DATA)

    assert healed(core, str(tmp_path / "backup")) == ([], 1)
    assert core.read(core.entry(ALICE, missing)) == DATA


@pytest.mark.parametrize("content", [None, b"", DATA[:-1] + b"?", DATA + b"?"], ids=str)
def test_what_a_backup_has_not_or_wrong_stays_missing(core, missing, tmp_path, content):
    kept = tmp_path / "backup" / "blobs" / place_of(missing)
    kept.parent.mkdir(parents=True)
    if content is not None:
        kept.write_bytes(content)

    findings, count = healed(core, str(tmp_path / "backup"))

    assert ([subject for subject, _ in findings], count) == ([missing], 0)
    assert list(core.spool.iterdir()) == []


@pytest.mark.parametrize("answer", [endless, endless_in_chunks, far_too_long])
@pytest.mark.parametrize("owned", [True, False], ids=["lost", "named with a size"])
def test_no_more_is_read_than_the_blob_has(core, missing, serve, answer, owned):
    server = serve(answer)
    own = {True: lambda: None, False: lambda: name_alone(core, missing, len(DATA))}
    own[owned]()

    with watched(core.spool) as most:
        findings, count = healed(core, server.url)

    assert ([subject for subject, _ in findings], count) == ([missing], 0)
    assert server.sent < BUFFERS
    assert most[0] <= len(DATA)


def name_alone(core, cid, size):
    """A record names the blob, which nobody owns."""
    with core.database.write() as tx:
        blobs.remove_owner(tx, ALICE, cid)
        blobs.forget(tx, cid)
        uri = f"at://{ALICE}/app.test/1"
        references.add(tx, ALICE, uri, Reference(cid, "image/jpeg", size), "3kabc")


@pytest.mark.parametrize("size", [None, 10**15], ids=["of no size", "of a size without measure"])
@pytest.mark.parametrize("answer", [endless, endless_in_chunks, far_too_long])
def test_a_blob_that_is_only_named_has_the_limit_of_an_upload(core, missing, serve, size, answer):
    name_alone(core, missing, size)
    server = serve(answer)

    with watched(core.spool) as most:
        findings, _ = healed(core, server.url, most=1000)

    assert len(findings) == 1
    assert server.sent < BUFFERS
    assert most[0] <= 1000


@pytest.mark.parametrize("answer", [drip, dripping_head, silent])
def test_a_blob_has_one_deadline_whatever_trickles_in(core, missing, serve, answer):
    server = serve(answer)

    findings, _ = healed(core, server.url, seconds=0.5)

    assert len(findings) == 1
    assert server.sent < 23  # bytes, ten of them a second


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(core, missing, serve, status):
    elsewhere = serve(whole)

    def answer(server, connection):
        place = f"Location: {elsewhere.url}/x\r\nContent-Length: 0\r\n\r\n"
        server.send(connection, f"HTTP/1.1 {status} Moved\r\n{place}".encode())

    assert healed(core, serve(answer).url) == (
        [(missing, f"{ALICE}: the other server answers {status}")],
        0,
    )
    assert elsewhere.asked == []


def test_no_proxy_of_the_environment_is_asked(core, missing, serve, monkeypatch):
    proxy, server = serve(silent), serve(whole)
    monkeypatch.setenv("http_proxy", proxy.url)

    assert healed(core, server.url) == ([], 1)
    assert proxy.asked == []


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://127.0.0.1/", "file:///etc", "gopher://h", "//h", "h", "", "http:", "http://"),
        *("http://h:port", "http://h:0x", "http://[::", "https://h/?query", "HTTPS//h"),
    ],
)
def test_only_the_address_of_a_web_server_is_accepted(core, url):
    with pytest.raises(ValueError, match="accepted is a URL like https://pds.example.com"):
        Heal(core.database, core.blobs, url, max_blob_bytes=1)


def test_a_path_before_the_call_is_kept(core, missing, serve):
    server = serve(whole)

    healed(core, f"{server.url}/pds/")

    (head,) = server.asked
    assert head.startswith("GET /pds/xrpc/com.atproto.sync.getBlob?did=did%3Aweb%3Aalice.test&cid=")
    assert f"Host: {server.url.removeprefix('http://')}\r\n" in head


@pytest.mark.parametrize(
    "answer", [lambda server, connection: None, silent], ids=["gone", "silent"]
)
def test_a_server_that_never_answers_is_left_alone_soon(core, serve, answer):
    for number in range(12):
        name_alone_of(core, cid_of(b"%d" % number), number)
    server = serve(answer)

    findings, _ = healed(core, server.url, seconds=0.2)

    assert len(server.asked) == 5
    assert findings[-1] == ("all others", "the other server seems to be away")


def name_alone_of(core, cid, number):
    with core.database.write() as tx:
        uri = f"at://{ALICE}/app.test/{number}"
        references.add(tx, ALICE, uri, Reference(cid, "image/jpeg", 1), "3kabc")


@pytest.mark.parametrize(
    "answer",
    [
        lambda server, connection: server.send(
            connection, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 999
        ),
        lambda server, connection: server.send(connection, b"SSH-2.0\r\n\r\n"),
        lambda server, connection: server.send(
            connection, b"HTTP/1.1 200 OK\r\nX: " + bytes(99_999)
        ),
        lambda server, connection: server.send(connection, HEAD + b"Content-Length: 23\r\n\r\nx"),
        lambda server, connection: server.send(
            connection, HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
        ),
        lambda server, connection: server.send(
            connection, HEAD + b"Content-Length: 23\r\n\r\n" + bytes(23)
        ),
    ],
    ids=["many lines", "another protocol", "a long line", "cut off", "no chunk", "other bytes"],
)
def test_a_broken_answer_is_a_finding(core, missing, serve, answer):
    findings, count = healed(core, serve(answer).url, seconds=2)

    assert ([subject for subject, _ in findings], count) == ([missing], 0)
    assert core.stored() == set()
