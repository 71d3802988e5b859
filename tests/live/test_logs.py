"""The logs of a server and of nginx in front: lines to read and to parse, without secrets."""

import json
import re
from base64 import b64encode
from contextlib import closing

import pytest
from support.accounts import ADMIN, GET_BLOB, UPLOAD, blob_path
from support.http_client import call
from support.live_service import Service, becomes
from support.nginx import in_front, service_behind, without_service

pytestmark = pytest.mark.live

SERVER = "/xrpc/com.atproto.server."
GIF = b"GIF89a\x01\x00\x01\x00"
PNG = b"\x89PNG\r\n\x1a\n"
BIG = PNG + bytes(range(256)) * 4096  # 1 MiB
ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+ .*"
)
# What is printed at the start, for whoever has started it.
PRINTED = re.compile(r"aurora_blobs \S+ listens on .*|  curl .*")
# Heads that gunicorn refuses.
BROKEN = [
    b"GET /?t=in-a-head HTTP/1.1\r\nAuthorization Bearer in-a-head\r\n\r\n",
    b"GET /?t=in-a-head HTTP/1.1\r\nAuthorization: Bearer in-a-head\0\r\n\r\n",
    b"GET /?t=in-a-head HTTP/1.1\r\nAuthorization:\r\n Bearer in-a-head\r\n\r\n",
    b"GET /?t=in-a-head HTTP/nine\r\n\r\n",
    b"GET /\t?t=in-a-head&x=' HTTP/1.1\r\n\r\n",
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
        AURORA_BLOBS_LOG_LEVEL="debug",
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
            data=GIF,
            headers=account.headers,
        ),
        service.get(f"/nowhere?t={account.token}"),
        service.get(status, auth=ADMIN),
        service.get(status, auth=("a-token", "x")),
    ]
    for head in BROKEN:
        with service.connect() as connection:
            connection.sendall(head)
            answer = connection.recv(1000).decode()
            assert ID.fullmatch(re.search(r"\r\nX-Request-Id: (.*)\r\n", answer)[1])
    spool = service.folder / "data" / "spool"
    spool.rename(spool.with_name("away"))
    spool.write_bytes(b"")
    failed = service.post(
        f"{UPLOAD}?t=in-the-query",
        data=GIF + bytes(300_000),
        headers=account.headers,
    )
    service.stop()

    assert [answer.status_code for answer in asked] == [401, 200, 404, 200, 401]
    assert (failed.status_code, failed.json["error"]) == (503, "ServiceUnavailable")
    assert re.search(
        r" gunicorn\.access answered .* call=com\.atproto\.repo\.uploadBlob .* status=200 ",
        service.log,
    )
    assert service.log.count("Invalid request from ip=127.0.0.1: ") >= len(BROKEN)
    secrets = ["a wrong horse", "a-token", b64encode(b"a-token:x").decode(), *service.secrets()]
    secrets += ["in-the-query", "in-the-referrer", "in-a-head"]
    secrets += [account.token, account.token.rpartition(".")[2]]
    assert [secret for secret in secrets if secret.strip() in service.log] == []


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param(lambda service: "open sesame", id="of its settings"),
        pytest.param(lambda service: service.account().token, id="a token"),
        pytest.param(
            lambda service: (service.folder / "data" / "jwt.secret").read_text(),
            id="that it has made",
            marks=pytest.mark.sqlite,
        ),
    ],
)
def test_a_service_of_a_test_that_logs_a_secret_fails_the_test(tmp_path, secret):
    with (
        pytest.raises(AssertionError, match=r"service\.log"),
        Service(tmp_path, AURORA_BLOBS_ADMIN_PASSWORD="open sesame") as service,
        (tmp_path / "service.log").open("a") as log,
    ):
        log.write(secret(service))


def test_every_line_of_a_server_has_a_time_a_level_and_a_logger(service):
    account = service.account()
    account.publish(BIG, "image/png")
    service.get("/nowhere", headers={"User-Agent": "a\x1b[2J\x85b"})
    service.post(f"{SERVER}createSession", json={"identifier": "a", "password": "b"})
    service.stop()

    lines = [line for line in service.log.split("\n")[:-1] if not PRINTED.fullmatch(line)]
    assert len(lines) > 10
    assert [line for line in lines if not LINE.fullmatch(line) or not line.isprintable()] == []


def test_the_bytes_in_the_access_log_are_those_that_were_sent(service):
    account = service.account()
    cid = account.publish(BIG, "image/png").cid
    asked = {
        "whole": account.fetch(cid),
        "part": account.fetch(cid, Range="bytes=5-9"),
        "unchanged": account.fetch(cid, **{"If-None-Match": f'"{cid}"'}),
        "absent": account.fetch(f"{cid[:-4]}aaaa"),
    }
    with closing(service.connect()) as connection:  # takes a part, and goes away
        connection.sendall(
            f"GET {blob_path(account.did, cid)} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        )
        assert connection.recv(4096)
    service.stop()

    found = re.findall(
        r" answered request=(\S+) .* call=com\.atproto\.sync\.getBlob did=(\S+) cid=(\S+) "
        r"status=(\d+) bytes=(\d+) ms=\d+",
        service.log,
    )
    sent = {one: int(count) for one, _, _, _, count in found}
    assert {(did, found_cid) for _, did, found_cid, status, _ in found if status == "200"} == {
        (account.did, cid)
    }
    assert len(asked["whole"].data) == len(BIG)
    for answer in asked.values():
        assert sent[answer.headers["X-Request-Id"]] == len(answer.data)


def test_an_operator_s_own_access_log_format_is_obeyed(tmp_path):
    own = ("--access-logfile", "-", "--access-logformat", "%(m)s %(U)s %(s)s %(b)s")
    with Service(tmp_path, *own) as service:
        account = service.account()
        account.fetch(account.publish(BIG, "image/png").cid)
        service.get("/no%0awhere")
        service.stop()

        assert f"\nGET {GET_BLOB} 200 {len(BIG)}\n" in service.log
        assert "\nGET /no\\nwhere 404 " in service.log


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def behind(folder):
    """The service that logs JSON, behind `front`."""
    with service_behind(
        folder,
        "--access-logfile",
        "-",
        AURORA_BLOBS_ACCEL_REDIRECT="/_blobs/",
        AURORA_BLOBS_LOG_FORMAT="json",
        AURORA_BLOBS_LOG_LEVEL="debug",
    ) as service:
        yield service


@pytest.fixture(scope="module", params=["aurora_blobs", "aurora_blobs_json"])
def front(request, folder, behind):
    """The shipped nginx, in each of its formats."""
    form = ("access.log aurora_blobs buffer=64k flush=1s", f"access.log {request.param}")
    with in_front(behind, folder / request.param, form) as nginx:
        yield nginx


@pytest.fixture(scope="module")
def account(behind):
    return behind.account()


def objects(service):
    """The lines of a log of JSON."""
    lines = [line for line in service.log.split("\n")[:-1] if not PRINTED.fullmatch(line)]
    return [json.loads(line) for line in lines]


def accesses(nginx):
    """The lines of nginx's access log by the id of their request."""
    found = {}
    for line in nginx.access_log.splitlines():
        if line.startswith("{"):
            fields = json.loads(line)
        else:
            head, _, rest = line.partition(" answered ")
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+\d\d:\d\d INFO nginx", head)
            fields = {
                name: value.strip('"') for name, value in re.findall(r'(\w+)=("[^"]*"|\S+)', rest)
            }
        found[fields["request"]] = fields
    return found


def access_of(nginx, request_id):
    """nginx's line about a request, which may come after the answer."""
    assert becomes(lambda: request_id in accesses(nginx))
    return accesses(nginx)[request_id]


def logged(service, request_id, message):
    """The objects in the log of *service* about the request, once there is one with *message*."""

    def about():
        return [one for one in objects(service) if one.get("request") == request_id]

    assert becomes(lambda: any(one["message"] == message for one in about()))
    return about()


def test_an_answer_is_found_by_its_id_in_both_logs(front, behind, account):
    data = PNG + front.folder.name.encode()

    answer = account.at(front).upload(data, "image/png")

    request_id, cid = answer.headers["X-Request-Id"], answer.json["blob"]["ref"]["$link"]
    assert answer.headers.get_all("X-Request-Id") == [request_id]
    (stored,) = [
        one for one in logged(behind, request_id, "answered") if one["message"] == "stored"
    ]
    assert (stored["did"], stored["cid"], stored["bytes"]) == (account.did, cid, len(data))
    access = access_of(front, request_id)
    assert (access["verb"], access["call"]) == ("POST", "com.atproto.repo.uploadBlob")
    assert int(access["bytes"]) == len(answer.data)


def test_a_client_does_not_choose_the_id(front):
    answer = front.get("/xrpc/_health", headers={"X-Request-Id": "chosen"})

    assert answer.headers["X-Request-Id"] != "chosen"
    assert access_of(front, answer.headers["X-Request-Id"])["call"] == "_health"


def test_the_first_fetch_of_a_blob_and_all_others_are_in_nginx_s_log_as_they_were_asked(
    front, account
):
    data = BIG + front.folder.name.encode()
    cid = account.publish(data, "image/png").cid

    fetched = [account.at(front).fetch(cid) for _ in range(2)]
    fetched.append(account.at(front).fetch(cid, Range="bytes=0-9"))

    for answer in fetched:
        access = access_of(front, answer.headers["X-Request-Id"])
        assert (access["verb"], access["call"]) == ("GET", "com.atproto.sync.getBlob")
        assert (access["did"].replace("%3A", ":"), access["cid"]) == (account.did, cid)
        assert int(access["bytes"]) == len(answer.data)
    assert [len(answer.data) for answer in fetched] == [len(data), len(data), 10]


@pytest.mark.parametrize(
    "method, path, body, status",
    [
        ("GET", "/nowhere", None, 404),
        ("GET", "/xrpc/com.example.nothing", None, 501),
        ("POST", UPLOAD, bytes(6_000_000), 413),
        ("GET", f"{GET_BLOB}?did=x&cid=y", None, 400),
    ],
    ids=["not found", "no method", "too large", "refused by the service"],
)
def test_each_answer_has_its_id_and_is_in_nginx_s_log_as_it_was_asked(
    front, method, path, body, status
):
    answer = call(front.connect(), method, path, body)

    assert answer.status_code == status
    (request_id,) = answer.headers.get_all("X-Request-Id")
    access = access_of(front, request_id)
    call_name = path.partition("?")[0].removeprefix("/xrpc/")
    assert (access["verb"], access["call"]) == (method, call_name)
    assert int(access["status"]) == status
    assert int(access["bytes"]) == len(answer.data)


def test_what_nginx_says_alone_has_an_id(folder, behind):
    with without_service(folder) as nginx:
        answer = nginx.get("/xrpc/_health")

    assert answer.status_code == 502
    assert ID.fullmatch(answer.headers["X-Request-Id"])


def test_nothing_that_a_client_sends_breaks_a_line_of_nginx_or_of_the_service(front, behind):
    odd = 'a\x85\x1b[2J\u00e9" x="y'
    for path in ("/img/a/plain/%1b%0a%22/x", "/xrpc/%0aINFO", "/%e2%80%ae\xe9"):
        with front.connect() as connection:
            head = f"GET {path}?token=hush HTTP/1.1\r\nHost: a\r\nUser-Agent: {odd}\r\n"
            head += "Referer: http://x.test/?t=hush\r\nCookie: hush\r\nConnection: close\r\n\r\n"
            connection.sendall(head.encode("latin-1"))
            assert connection.recv(100)

    assert becomes(lambda: front.access_log.count(" token") == 0 and len(accesses(front)) > 2)
    assert all(line.isascii() and line.isprintable() for line in front.access_log.splitlines())
    assert all(json.dumps(one) for one in objects(behind))
    assert "hush" not in front.access_log + behind.log
