"""A command's takedown is told to caches by the server."""

import json
from threading import Event

import pytest
from support.document_server import send, serving
from support.live_service import Service, becomes

pytestmark = pytest.mark.live

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"


def test_a_takedown_by_command_is_told_once_by_the_server_also_after_it_was_killed(tmp_path):
    told, is_open = [], Event()

    def cache(handler):
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        if not is_open.is_set():
            return send(handler, b"", 503)
        told.append(json.loads(body))
        return send(handler, b"", 204)

    with serving(cache) as address:
        settings = {"AURORA_BLOBS_PURGE_URL": f"http://{address}/"}
        with Service(tmp_path / "service", **settings) as service:
            alice = service.account()
            published = alice.publish(JPEG)
            service.kill()
            done = service.run("blobs", "takedown", published.cid, "--did", alice.did)
            is_open.set()
            service.start()

            assert becomes(lambda: told)

    assert done.returncode == 0, done.stderr
    assert [(said["did"], said["cid"]) for said in told] == [(alice.did, published.cid)]
