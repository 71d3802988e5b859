"""The logs of a server hold no credentials, not even of failed requests."""

from base64 import b64encode

import pytest
from support.accounts import ADMIN, UPLOAD
from support.live_service import Service

pytestmark = pytest.mark.live

SERVER = "/xrpc/com.atproto.server."
# Heads that gunicorn refuses.
BROKEN = [
    b"GET /?t=in-a-head HTTP/1.1\r\nAuthorization Bearer in-a-head\r\n\r\n",
    b"GET /?t=in-a-head HTTP/1.1\r\nAuthorization: Bearer in-a-head\0\r\n\r\n",
    b"GET /?t=in-a-head HTTP/1.1\r\nAuthorization:\r\n Bearer in-a-head\r\n\r\n",
    b"GET /?t=in-a-head HTTP/nine\r\n\r\n",
    b"Bearer in-a-head\r\n\r\n",
    b"POST /?t=in-a-head HTTP/1.1\r\nAuthorization: Bearer in-a-head\r\nContent-Length: x\r\n\r\n",
    b"POST /?t=in-a-head HTTP/1.1\r\nAuthorization: Bearer in-a-head\r\nTransfer-Encoding: "
    b"x\r\n\r\n",
]


@pytest.fixture
def service(tmp_path):
    with Service(
        tmp_path,
        "--access-logfile",
        "-",
        "--log-level",
        "debug",
        AURORA_BLOBS_ADMIN_PASSWORD="open sesame",
    ) as service:
        yield service


def test_no_log_of_a_server_holds_a_credential(service):
    account = service.account()
    guess = {"identifier": "alice.test", "password": "a wrong horse"}
    status = f"/xrpc/com.atproto.admin.getSubjectStatus?did={account.did}&t=in-the-query"
    asked = [
        service.post(
            f"{SERVER}createSession",
            json=guess,
            headers={"Referer": "http://x.test/?t=in-the-referrer"},
        ),
        service.post(
            f"{UPLOAD}?access_token=in-the-query",
            data=b"GIF89a\x01\x00\x01\x00",
            headers=account.headers,
        ),
        service.get(f"/nowhere?t={account.token}"),
        service.get(status, auth=ADMIN),
        service.get(status, auth=("a-token", "x")),
    ]
    for head in BROKEN:
        with service.connect() as connection:
            connection.sendall(head)
            assert connection.recv(1000)
    spool = service.folder / "data" / "spool"
    spool.rename(spool.with_name("away"))
    spool.write_bytes(b"")
    failed = service.post(
        f"{UPLOAD}?t=in-the-query",
        data=b"GIF89a\x01\x00\x01\x00" + bytes(300_000),
        headers=account.headers,
    )
    service.stop()

    assert [answer.status_code for answer in asked] == [401, 200, 404, 200, 401]
    assert (failed.status_code, failed.json["error"]) == (503, "ServiceUnavailable")
    assert f'"POST {UPLOAD} HTTP/1.1" 200' in service.log
    assert service.log.count("Invalid request from ip=127.0.0.1: ") >= len(BROKEN)
    secrets = ["correct horse", "a wrong horse", "open sesame", "a-token"]
    secrets += ["in-the-query", "in-the-referrer", "in-a-head"]
    secrets += [
        account.token,
        account.token.rpartition(".")[2],
        (service.folder / "data" / "jwt.secret").read_text(),
    ]
    secrets += [b64encode(b"admin:open sesame").decode(), b64encode(b"a-token:x").decode()]
    assert [secret for secret in secrets if secret.strip() in service.log] == []
