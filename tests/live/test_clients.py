"""The AT Protocol client libraries for Python and JavaScript."""

import json
import subprocess
from pathlib import Path

import pytest
from atproto import Client
from atproto.exceptions import BadRequestError, UnauthorizedError
from support.cids import cid_of
from support.live_service import Service
from support.project import CACHE, PHOTO

pytestmark = pytest.mark.live

PASSWORD = "correct horse"
NODE = CACHE / "node"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with Service(tmp_path_factory.mktemp("clients")) as service:
        yield service


@pytest.fixture(scope="module")
def cid():
    return cid_of(PHOTO.read_bytes())


@pytest.fixture
def python_client(service):
    """``python_client()`` makes a client. Its open connections are closed after the test."""
    clients = []

    def python_client():
        clients.append(Client(f"http://127.0.0.1:{service.port}"))
        return clients[-1]

    yield python_client
    for client in clients:
        client.request.close()


# The client passes its body to httpx in a deprecated way.
@pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")
def test_atproto_for_python_logs_in_and_posts_a_photo(service, python_client, cid):
    service.account("python.test")
    client = python_client()

    me = client.login("python.test", PASSWORD)
    uploaded = client.upload_blob(PHOTO.read_bytes())
    posted = client.send_image("a photo", PHOTO.read_bytes(), "a rocket")
    rkey = posted.uri.rpartition("/")[2]
    image = client.get_post(rkey, me.did).value.embed.images[0].image
    resumed = python_client()
    resumed.login(session_string=client.export_session_string())

    assert (me.did, me.handle) == ("did:web:python.test", "python.test")
    assert (uploaded.blob.ref.link, uploaded.blob.mime_type, uploaded.blob.size) == (
        cid,
        "image/jpeg",
        PHOTO.stat().st_size,
    )
    assert image.ref.link == cid
    where = {"did": me.did, "cid": cid}
    assert resumed.com.atproto.sync.get_blob(where) == PHOTO.read_bytes()
    assert resumed.com.atproto.sync.list_blobs({"did": me.did}).cids == [cid]
    status = resumed.com.atproto.server.check_account_status()
    assert (status.expected_blobs, status.imported_blobs, status.valid_did) == (1, 1, True)

    client.delete_post(posted.uri)

    assert client.com.atproto.sync.list_blobs({"did": me.did}).cids == []
    with pytest.raises(BadRequestError) as refusal:
        python_client().com.atproto.sync.get_blob(where)
    assert refusal.value.response.content.error == "BlobNotFound"
    with pytest.raises(UnauthorizedError) as refusal:
        python_client().login("python.test", "not the password")
    assert refusal.value.response.content.error == "AuthenticationRequired"


def test_atproto_api_for_javascript_makes_an_account_and_posts_a_photo(service, cid):
    url = f"http://127.0.0.1:{service.port}"
    script = Path(__file__).with_name("atp_agent.mjs")

    run = subprocess.run(
        ["node", script, NODE, url, "node.test", PASSWORD, PHOTO],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {
        "dids": ["did:web:node.test"] * 2,
        "pdsUrl": f"{url}/",
        "cids": [cid] * 3,
        "mimeTypes": ["image/jpeg"] * 3,
        "equal": True,
        "type": "image/jpeg",
        "avatarEqual": True,
        "listed": [cid],
        "recordCid": cid,
        "displayName": "Node",
        "counts": [1, 1, 2],
        "states": [True, True],
        "limit": 5_242_880,
        "refusals": [[400, "InvalidRequest"], [401, "AuthenticationRequired"]],
    }
