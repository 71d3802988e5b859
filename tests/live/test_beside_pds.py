"""The service beside the reference PDS, behind one nginx, for the accounts of the PDS."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.accounts import ADMIN, CAROL, UPLOAD, Account, blob_path
from support.cids import cid_of
from support.live_service import Service
from support.nginx import Nginx, own
from support.project import CACHE, DEPLOY, PHOTO
from support.reference_pds import PASSWORD, ReferencePds, node

pytestmark = pytest.mark.live

HERE = Path(__file__).parent
NODE_PACKAGES = CACHE / "node"
CID = cid_of(PHOTO.read_bytes())

# The server of a PDS, as in docs/beside-a-pds.md.
SERVER = """
    server {
        listen 127.0.0.1:PORT;
        include SNIPPET;
        location / {
            proxy_pass http://127.0.0.1:BEHIND;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
        }
    }
"""


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """nginx at ``url``, the ``service``, and the ``facts`` of the PDS and its account."""
    folder = tmp_path_factory.mktemp("beside")
    socket = folder / "s.sock"
    snippet = (DEPLOY / "beside-pds.conf").read_text()
    assert "unix:/run/aurora-blobs/gunicorn.sock" in snippet
    (folder / "snippet.conf").write_text(
        snippet.replace("/run/aurora-blobs/gunicorn.sock", str(socket))
    )
    nginx: Nginx = own(folder / "nginx", SERVER.replace("SNIPPET", str(folder / "snippet.conf")))
    url = f"http://localhost:{nginx.port}"
    with ReferencePds(folder / "pds", url) as pds:
        facts = pds.facts
        configuration = folder / "nginx" / "nginx.conf"
        configuration.write_text(configuration.read_text().replace("BEHIND", str(facts["port"])))
        ours = Service(
            folder / "service",
            AURORA_BLOBS_BIND=f"unix:{socket}",
            AURORA_BLOBS_PROXY_HOPS="1",
            AURORA_BLOBS_ACCOUNTS="external",
            AURORA_BLOBS_JWT_SECRET=facts["jwtSecret"],
            AURORA_BLOBS_SERVICE_DID="did:web:localhost",
            AURORA_BLOBS_PLC_URL=pds.plc_url,
            AURORA_BLOBS_OAUTH_ISSUER=url,
            AURORA_BLOBS_OAUTH_UNSCOPED="blobs",
            AURORA_BLOBS_DPOP_SECRET=facts["dpopSecret"],
            AURORA_BLOBS_ADMIN_PASSWORD="open sesame",
        )
        with nginx, ours as service:
            yield SimpleNamespace(url=url, nginx=nginx, service=service, pds=pds, facts=facts)


def pds_account(beside):
    """The account of the PDS, which calls nginx."""
    return Account(beside.facts["did"], beside.facts["accessJwt"], beside.nginx)


def run(script: str, *arguments: object) -> Any:
    """Run the Node program *script*; the JSON it prints."""
    done = subprocess.run(
        [node(), HERE / script, NODE_PACKAGES, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_client_logs_in_at_the_pds_and_its_uploads_come_here(beside):
    did = beside.facts["did"]

    seen = run("beside_agent.mjs", beside.url, beside.facts["handle"], PASSWORD, PHOTO)

    assert seen == {
        "did": did,
        "cids": [CID, CID],
        "listed": [],
        "equal": True,
        "handle": "bench.test",
        "serviceTokens": [[200, None], [401, "jwt has been used before"]],
        "refreshToken": [400, "Token could not be verified"],
    }


def test_nginx_refuses_with_an_xrpc_error(beside):
    connection = beside.nginx.connect()
    connection.sendall(
        f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n".encode()
    )
    with connection, connection.makefile("rb") as answer:
        head, _, body = answer.read().partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 413 ")
    assert (
        b"\r\nContent-Type: application/json" in head
        and b"\r\nAccess-Control-Allow-Origin: *" in head
    )
    assert json.loads(body) == {"error": "PayloadTooLarge", "message": "request entity too large"}


def test_a_record_that_the_pds_reports_makes_the_blob_public(beside):
    member = pds_account(beside)
    blob = member.blob(PHOTO.read_bytes())

    reported = beside.service.post(
        "/xrpc/com.atproto.repo.createRecord",
        json={"repo": member.did, "collection": "com.example.file", "record": {"file": blob}},
        auth=ADMIN,
    )
    fetched = member.fetch(CID)

    assert reported.status_code == 200, reported.data
    assert (fetched.status_code, fetched.data) == (200, PHOTO.read_bytes())


def test_the_reference_pds_refuses_a_record_whose_blob_it_does_not_hold_itself(beside):
    """docs/beside-a-pds.md: a PDS has to ask this service instead of its own store."""
    member = pds_account(beside)
    blob = member.blob(PHOTO.read_bytes())

    answer = member.record({"file": blob})

    assert (answer.status_code, answer.json["error"]) == (400, "BlobNotFound")


def test_an_unknown_account_has_no_repository(beside):
    answer = beside.nginx.get(blob_path(CAROL, CID))

    assert (answer.status_code, answer.json["error"]) == (400, "RepoNotFound")


def test_session_methods_are_not_implemented_beside_a_pds(beside):
    answer = beside.service.post("/xrpc/com.atproto.server.createSession", json={})

    assert (answer.status_code, answer.json["error"]) == (501, "MethodNotImplemented")


@pytest.mark.parametrize("scope", ["atproto transition:generic", "atproto blob:image/*"])
def test_an_oauth_client_signs_its_user_in_at_the_pds_and_uploads_here(beside, scope):
    facts = beside.facts

    seen = run(
        "beside_oauth.mjs", beside.url, beside.pds.plc_url, facts["handle"], PASSWORD, scope, PHOTO
    )

    assert seen["did"] == facts["did"]
    assert [status for status, _ in seen["uploads"]] == [200, 200], seen
    assert seen["uploads"][0][1]["blob"]["ref"]["$link"] == CID
    assert seen["missing"] == [200, {"blobs": []}]
    assert seen["atPds"] == 200
