"""deploy/nginx-balancer.conf on Debian's nginx, in front of two nodes on PostgreSQL and S3."""

import os
import secrets
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.accounts import GET_BLOB, UPLOAD, blob_path, sign_up
from support.http_client import call
from support.live_service import becomes
from support.nginx import balancer
from support.ports import free_port

pytestmark = pytest.mark.live

PNG = b"\x89PNG\r\n\x1a\n"
_LOGGED = ("--access-logfile", "-")


def test_its_lines_for_tls_serve_https(tmp_path, over_tls):
    with balancer(tmp_path / "nginx", [free_port(), free_port()], *over_tls.changes) as nginx:
        answer = call(over_tls.connection(nginx), "GET", "/xrpc/_health")

    assert (answer.status_code, answer.json["error"]) == (502, "UpstreamFailure")


@pytest.fixture
def nodes(start_node):
    return [start_node(*_LOGGED, AURORA_BLOBS_PROXY_HOPS="1") for _ in range(2)]


@pytest.fixture
def front(nodes, tmp_path):
    with balancer(tmp_path / "nginx", [node.port for node in nodes]) as front:
        yield front


@pytest.fixture
def account(front):
    return sign_up(front, f"person-{secrets.token_hex(4)}.test")


def test_what_came_by_one_node_goes_out_by_each(front, nodes, account):
    body = PNG + os.urandom(1_000_000)

    cid = account.publish(body, "image/png").cid

    for server in (front, *nodes):
        part = server.get(blob_path(account.did, cid), headers={"Range": "bytes=10-99"})
        assert account.at(server).fetch(cid).data == body
        assert (part.status_code, part.data) == (206, body[10:100])


def test_nothing_fails_when_a_node_is_killed_but_what_it_was_answering(front, nodes, account):
    body = PNG + os.urandom(10_000)
    cid = account.publish(body, "image/png").cid

    def read():
        try:
            return account.fetch(cid).data
        except IncompleteRead:  # its head was sent: nobody can ask another node now
            return None

    with ThreadPoolExecutor(4) as readers:
        reads = [readers.submit(read) for _ in range(1000)]
        assert reads[300].result() == body
        nodes[0].kill()
        answers = [answer.result() for answer in reads]
    uploads = [account.upload(PNG + os.urandom(1000), "image/png") for _ in range(40)]

    assert answers.count(None) <= 4  # one of each reader
    assert set(answers) <= {body, None}
    assert {answer.status_code for answer in uploads} == {200}


def test_a_node_that_is_back_is_asked_again(front, nodes, account):
    cid = account.publish(PNG + os.urandom(1000), "image/png").cid
    nodes[0].kill()
    assert {account.fetch(cid).status_code for _ in range(20)} == {200}
    nodes[0].start()
    before = nodes[0].log.count("getBlob")

    assert becomes(
        lambda: account.fetch(cid).status_code == 200 and nodes[0].log.count("getBlob") > before
    )


@contextmanager
def silent(answer=b""):
    """A node that says *answer* to each request: its port, and the methods it was sent."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append(self.command)
            self.wfile.write(answer)
            self.close_connection = True

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def silent_nodes(tmp_path):
    """A balancer in front of two silent nodes, and what these were sent."""
    with (
        silent() as (one, to_one),
        silent() as (other, to_other),
        balancer(tmp_path / "nginx", [one, other]) as front,
    ):
        yield front, to_one, to_other


def test_an_upload_that_was_sent_is_not_sent_to_another_node(silent_nodes):
    front, to_one, to_other = silent_nodes

    answer = front.post(UPLOAD, data=PNG, headers={"Content-Type": "image/png"})

    assert (answer.status_code, answer.json["error"]) == (502, "UpstreamFailure")
    assert answer.headers["Retry-After"] == "5"
    assert to_one + to_other == ["POST"]


def test_a_read_is_sent_to_each_node_until_one_answers(silent_nodes):
    front, to_one, to_other = silent_nodes

    answer = front.get("/xrpc/_health")

    assert (answer.status_code, answer.json["error"]) == (502, "UpstreamFailure")
    assert (to_one, to_other) == (["GET"], ["GET"])


def test_a_blob_comes_from_another_node_if_one_is_gone_without_a_word(tmp_path):
    sooner = ("proxy_read_timeout 40s;", "proxy_read_timeout 1s;")
    with (
        socket.create_server(("127.0.0.1", 0)) as gone,
        silent(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nblob") as (port, _),
        balancer(tmp_path / "nginx", [gone.getsockname()[1], port], sooner) as front,
    ):
        answers = [front.get(f"{GET_BLOB}?cid=any") for _ in range(2)]

    assert [answer.data for answer in answers] == [b"blob", b"blob"]
    assert "upstream timed out" in front.log


def test_an_upload_goes_to_another_node_if_one_cannot_be_reached(tmp_path):
    with silent() as (port, seen), balancer(tmp_path / "nginx", [free_port(), port]) as front:
        for _ in range(2):
            front.post(UPLOAD, data=PNG, headers={"Content-Type": "image/png"})

    assert seen == ["POST", "POST"]
