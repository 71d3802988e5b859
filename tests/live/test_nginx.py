"""deploy/nginx.conf on Debian's nginx, in front of the service."""

import os
import random
import re
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.accounts import GET_BLOB, UPLOAD, blob_path, take_down
from support.http_client import call
from support.live_service import becomes
from support.nginx import in_front, service_behind, shipped, without_service

from aurora_blobs.app import create_app
from aurora_blobs.blobs.public_links import EXTENSIONS
from aurora_blobs.config import Config

pytestmark = pytest.mark.live
public_links = pytest.mark.sqlite  # none are made with PostgreSQL

PNG = b"\x89PNG\r\n\x1a\n"
BIG = PNG + bytes(range(256)) * 8192  # 2 MiB
LIMIT = 5_242_880
ASKED = "asked=1"  # an unknown parameter, so that nginx asks the service
SAMPLES = {
    "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "image/png": PNG,
    "image/webp": b"RIFF\x00\x00\x00\x00WEBPVP8 ",
    "image/gif": b"GIF89a\x01\x00\x01\x00",
    "video/mp4": b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom",
    "video/webm": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("nginx")


@pytest.fixture(scope="module")
def service(folder):
    with service_behind(
        folder,
        AURORA_BLOBS_ACCEL_REDIRECT="/_blobs/",
        AURORA_BLOBS_ALLOWED_MIME_TYPES="*/*",
        AURORA_BLOBS_ADMIN_PASSWORD="open sesame",
    ) as service:
        yield service


@pytest.fixture(scope="module")
def nginx(folder, service):
    # Videos count as large from 100 KB on.
    with in_front(service, folder / "nginx", ("[0-9]{8,}", "[0-9]{6,}")) as nginx:
        yield nginx


@pytest.fixture(scope="module")
def alone(folder, nginx):
    """The same nginx without a service: it serves public links, and else answers 502."""
    with without_service(folder) as alone:
        yield alone


@pytest.fixture(scope="module")
def account(service):
    return service.account()


@pytest.fixture(scope="module")
def blob(service, account):
    """The getBlob path and the CID of `BIG`."""
    cid = account.publish(BIG, "image/png").cid
    return blob_path(account.did, cid), cid


@pytest.mark.parametrize(
    "headers, status, part",
    [
        ({}, 200, slice(None)),
        ({"Range": "bytes=5-9"}, 206, slice(5, 10)),
        ({"Range": "bytes=-7"}, 206, slice(-7, None)),
    ],
    ids=["whole", "part", "end"],
)
def test_bytes_sent_by_nginx_have_the_service_s_headers(nginx, blob, headers, status, part):
    path, cid = blob

    got = nginx.get(path, headers=headers)

    assert (got.status_code, got.data) == (status, BIG[part])
    assert got.headers.get_all("ETag") == [f'"{cid}"']
    assert got.headers.get_all("Content-Type") == ["image/png"]
    assert got.headers.get_all("Content-Disposition") == [f'attachment; filename="{cid}"']
    assert got.headers.get_all("Content-Security-Policy") == ["default-src 'none'; sandbox"]
    assert got.headers.get_all("X-Content-Type-Options") == ["nosniff"]
    assert got.headers.get_all("Cache-Control") == ["public, max-age=300, must-revalidate"]
    assert got.headers.get_all("Vary") == ["Authorization"]
    assert got.headers.get_all("Access-Control-Allow-Origin") == ["*"]
    assert got.headers.get_all("Last-Modified") is None
    assert got.headers.get_all("X-Accel-Redirect") is None


@public_links
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", EXTENSIONS.values())
def test_a_public_link_is_served_with_the_service_s_headers(
    nginx, alone, service, account, name, method
):
    mime_type = {extension: mime_type for mime_type, extension in EXTENSIONS.items()}[name]
    content = (SAMPLES.get(mime_type, b"?") + name.encode()).ljust(70_000, b"!")
    path = blob_path(account.did, account.publish(content, mime_type).cid)

    asked, opened = nginx.open(f"{path}&{ASKED}", method=method), alone.open(path, method=method)

    assert asked.status_code == opened.status_code == 200
    assert asked.headers["Content-Type"] == mime_type
    assert asked.data == opened.data == (content if method == "GET" else b"")
    for name in ("Date", "X-Request-Id"):
        del asked.headers[name], opened.headers[name]
    assert sorted(asked.headers.items()) == sorted(opened.headers.items())


@public_links
@pytest.mark.parametrize("part", ["bytes=5-9", "bytes=2000000-", "bytes=-7", "bytes=0-99999999"])
def test_a_range_of_a_public_link_is_served_as_by_the_service(nginx, alone, blob, part):
    path, cid = blob

    for headers in (
        {"Range": part},
        {"Range": part, "If-Range": f'"{cid}"'},
        {"Range": part, "If-Range": '"x"'},
    ):
        asked = nginx.get(f"{path}&{ASKED}", headers=headers)
        opened = alone.get(path, headers=headers)
        assert (asked.status_code, asked.data) == (opened.status_code, opened.data)
        assert asked.headers["Content-Range"] == opened.headers["Content-Range"]
        assert opened.headers.get_all("ETag") == [f'"{cid}"']


SIZES = [1, 9, 10, 11, 99, 100, 101, 345, 999, 1000, 5432]
EDGES = [0, 1, 2, 8, 9, 10, 11, 12, 19, 20, 98, 99, 100, 101, 109, 110, 199, 344, 345, 346, 354]
EDGES += [355, 444, 998, 999, 1000, 1001, 4999, 5431, 5432, 5433, 9999, 10**17, 10**18 - 1]


def ranges(size):
    """Range headers around the edges of *size*, and random ones."""
    chance = random.Random(size)
    numbers = [*EDGES, size - 1, size, size + 1]
    for number in numbers:
        yield f"bytes={number}-"
        yield f"bytes=-{number}"
        yield f"bytes={number}-{number}"
        yield f"bytes=000{number}-00{number + 8}"
    for _ in range(60):
        yield f"bytes={chance.choice(numbers)}-{chance.choice(numbers)}"
        yield f"bytes={chance.randrange(2 * size)}-{chance.randrange(2 * size)}"


@public_links
@pytest.mark.parametrize("size", SIZES)
def test_no_error_of_a_public_link_is_cacheable_and_each_range_has_the_service_s_answer(
    nginx, alone, account, size
):
    data = os.urandom(size)
    path = blob_path(account.did, account.publish(data, "application/octet-stream").cid)
    assert nginx.get(path).data == alone.get(path).data == data

    by_link = {part: alone.get(path, headers={"Range": part}) for part in ranges(size)}
    by_service = {
        part: nginx.get(f"{path}&{ASKED}", headers={"Range": part}) for part in ranges(size)
    }

    served = {part: answer for part, answer in by_link.items() if answer.status_code != 502}
    assert {answer.status_code for answer in served.values()} == {206, 416}
    assert {f"bytes={size - 1}-", "bytes=0-0", f"bytes=-{size}", "bytes=0002-0010"} <= set(served)
    for part, answer in served.items():
        other = by_service[part]
        assert answer.status_code == other.status_code, part
        assert answer.headers["Content-Range"] == other.headers["Content-Range"], part
        assert caching(answer) == CACHING[answer.status_code], part
        assert answer.data == other.data or answer.status_code == 416, part
    for part, answer in by_service.items():
        assert "public" not in caching(answer)[0] or answer.status_code < 300, part


PUBLIC = "public, max-age=300, must-revalidate"
CACHING = {206: (PUBLIC, True), 416: ("no-store", False)}


def caching(answer):
    """All Cache-Control headers, and whether there is an ETag."""
    return " + ".join(answer.headers.get_all("Cache-Control")), "ETag" in answer.headers


@public_links
def test_a_public_link_is_found_for_each_form_of_the_query(nginx, alone, account, blob):
    path, cid = blob
    nginx.get(path)
    encoded = account.did.replace(":", "%3A")

    for query in (
        f"did={account.did}&cid={cid}",
        f"cid={cid}&did={account.did}",
        f"did={encoded}&cid={cid}",
    ):
        assert alone.get(f"{GET_BLOB}?{query}").data == BIG


@public_links
@pytest.mark.parametrize(
    "method, more, headers",
    [
        ("GET", "", {"Authorization": "Bearer x"}),
        ("GET", "", {"If-None-Match": '"x"'}),
        ("GET", "", {"If-Match": '"x"'}),
        ("GET", "", {"If-Unmodified-Since": "Tue, 01 Jan 2019 00:00:00 GMT"}),
        ("GET", "", {"Range": "bytes=0-0,5-6"}),
        ("GET", "", {"Range": "lines=0-1"}),
        ("HEAD", "", {"Range": "bytes=0-0"}),
        ("POST", "", {}),
        ("GET", "&cid=x", {}),
        ("GET", "/../x", {}),
    ],
)
def test_nginx_passes_on_what_it_would_answer_differently(
    nginx, alone, blob, method, more, headers
):
    path, _ = blob
    nginx.get(path)

    assert alone.open(path + more, method=method, headers=headers).status_code == 502


@public_links
def test_a_hidden_blob_has_no_public_link(nginx, alone, service, account):
    cid = account.publish(PNG + b"for a while", "image/png").cid
    path = blob_path(account.did, cid)
    nginx.get(path)
    assert alone.get(path).status_code == 200

    take_down(service, account.did, cid)
    assert (nginx.get(path).json["error"], alone.get(path).status_code) == (
        "BlobNotFound",
        502,
    )

    assert service.run("blobs", "takedown", cid, "--did", account.did, "--lift").returncode == 0
    assert (nginx.get(path).status_code, alone.get(path).status_code) == (200, 200)

    assert service.run("blobs", "takedown", cid).returncode == 0
    assert (nginx.get(path).json["error"], alone.get(path).status_code) == (
        "BlobNotFound",
        502,
    )


def test_a_blob_is_revalidated_by_its_tag_alone(nginx, blob):
    path, cid = blob

    assert nginx.get(path, headers={"If-None-Match": f'"{cid}"'}).status_code == 304
    assert (
        nginx.get(path, headers={"If-Modified-Since": "Tue, 01 Jan 2199 00:00:00 GMT"}).status_code
        == 200
    )
    assert (
        nginx.get(
            path, headers={"If-Unmodified-Since": "Tue, 01 Jan 2019 00:00:00 GMT"}
        ).status_code
        == 200
    )


@pytest.mark.parametrize(
    "tags, expected",
    [
        ('"{}"', (206, "image/png")),
        ('"another", "{}"', (206, "image/png")),
        ("*", (206, "image/png")),
        ('"another"', (412, "application/json; charset=utf-8")),
    ],
)
def test_if_match_sends_that_blob_or_nothing(nginx, blob, tags, expected):
    """Firefox resumes a download in this way."""
    path, cid = blob

    got = nginx.get(path, headers={"Range": "bytes=9-", "If-Match": tags.format(cid)})

    assert (got.status_code, got.headers["Content-Type"]) == expected


@pytest.mark.parametrize("if_range, status", [('"{}"', 206), ('"another"', 200)])
def test_if_range_resumes_the_same_blob_alone(nginx, blob, if_range, status):
    path, cid = blob

    assert (
        nginx.get(path, headers={"Range": "bytes=9-", "If-Range": if_range.format(cid)}).status_code
        == status
    )


def test_ranges_are_answered_as_without_nginx(nginx, service, blob):
    path, _ = blob
    beyond = {"Range": f"bytes={len(BIG)}-"}

    for _ in ("asked of the service", "lies open"):
        refused = nginx.get(path, headers=beyond)

        assert (refused.status_code, refused.json["error"]) == (416, "RangeNotSatisfiable")
        assert refused.headers.get_all("Content-Range") == [f"bytes */{len(BIG)}"]
        assert refused.headers.get_all("Access-Control-Allow-Origin") == ["*"]
        for ignored in ("bytes=0-0,100-200", "bytes=abc", "lines=0-1", "bytes=-"):
            assert nginx.get(path, headers={"Range": ignored}).data == BIG
        assert nginx.head(path, headers=beyond).status_code == 200


@pytest.mark.parametrize(
    "last", ["HTTP/1.0", "HTTP/1.1\r\nConnection: close"], ids=["old", "close"]
)
def test_an_answer_is_whole_whatever_comes_behind_its_request(nginx, account, last):
    """The bytes of a client that nobody reads end a connection when nginx closes it."""
    path = blob_path(account.did, account.publish(BIG + bytes(17), "image/png").cid)
    for _ in range(20):
        with nginx.connect() as connection:
            connection.sendall(f"GET {path} {last}\r\nHost: x\r\n\r\n".encode())
            answer = connection.recv(1000)
            connection.sendall(b"GET /xrpc/_health HTTP/1.1\r\nHost: x\r\n\r\n")
            while piece := connection.recv(1 << 20):
                answer += piece
        assert len(answer.partition(b"\r\n\r\n")[2]) == len(BIG) + 17


def test_head_has_the_size_and_no_body(nginx, blob):
    path, _ = blob

    head = nginx.head(path)

    assert (head.status_code, head.data, head.headers["Content-Length"]) == (
        200,
        b"",
        str(len(BIG)),
    )


def test_a_blob_that_lost_its_bytes_is_not_found(nginx, service, account):
    cid = account.publish(PNG + os.urandom(100_000), "image/png").cid
    next((service.folder / "data" / "blobs").glob(f"*/{cid}")).unlink()

    lost = account.at(nginx).fetch(cid)

    assert (lost.status_code, lost.json) == (
        400,
        {"error": "BlobNotFound", "message": "Blob not found"},
    )


@pytest.mark.parametrize(
    "content, status", [(None, 400), (b"short", 416)], ids=["removed", "cut short"]
)
def test_no_error_about_a_file_that_the_service_has_named_is_cacheable(tmp_path, content, status):
    """The file was removed or cut between the service's look and nginx's."""
    (tmp_path / "blobs" / "00").mkdir(parents=True)
    if content is not None:
        (tmp_path / "blobs" / "00" / "x").write_bytes(content)
    head = f'X-Accel-Redirect: /_blobs/00/x\r\nETag: "x"\r\nCache-Control: {PUBLIC}'
    with (
        answering(tmp_path / "service.sock", f"HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: 0"),
        shipped(tmp_path / "nginx", tmp_path / "service.sock", tmp_path / "blobs") as nginx,
    ):
        answer = nginx.get(f"{GET_BLOB}?did=x&cid=y", headers={"Range": "bytes=9-"})

    assert answer.status_code == status
    assert "no-store" in answer.headers.get_all("Cache-Control")
    assert "ETag" not in answer.headers


@contextmanager
def answering(path, head):
    """A server at the Unix socket *path* that answers one request with *head*."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(f"{head}\r\n\r\n".encode())

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        thread.join(10)


@pytest.mark.parametrize("size, status", [(LIMIT, 200), (LIMIT + 1, 413), (LIMIT + 1_000_000, 413)])
@pytest.mark.parametrize("mime_type", ["image/png", "video/webm"])
def test_the_limit_is_the_service_s_and_its_refusal_is_json(
    nginx, account, mime_type, size, status
):
    magic = {
        "image/png": PNG,
        "video/webm": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm",
    }[mime_type]

    answer = account.at(nginx).upload(magic + bytes(size - len(magic)), mime_type)

    assert answer.status_code == status
    assert answer.json.get("error", "PayloadTooLarge") == "PayloadTooLarge"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_a_video_of_unknown_length_is_taken(nginx, account):
    webm = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm" + bytes(1_000_000)
    pieces = (webm[start : start + 100_000] for start in range(0, len(webm), 100_000))

    answer = account.at(nginx).upload(pieces, "video/webm")

    assert (answer.status_code, answer.json["blob"]["size"]) == (200, len(webm))


@pytest.mark.parametrize("mime_type", ["image/png", "video/webm"], ids=["buffered", "passed on"])
@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer nonsense"}],
    ids=["without a token", "with a bad token"],
)
def test_an_early_refusal_always_reaches_the_client(nginx, headers, mime_type):
    statuses = {
        nginx.post(
            UPLOAD, data=bytes(4_900_000), headers={**headers, "Content-Type": mime_type}
        ).status_code
        for _ in range(60)
    }

    assert statuses <= {400, 401}


@pytest.mark.parametrize(
    "path, headers, status, error",
    [
        ("/other", {}, 404, "NotFound"),
        ("/xrpc/app.bsky.feed.getTimeline", {}, 501, "MethodNotImplemented"),
        ("/_video", {}, 404, "NotFound"),
        ("/_error", {}, 404, "NotFound"),
        ("/_blobs/00/x", {}, 400, "BlobNotFound"),
        ("/_blobs/..%2f..%2faurora.sqlite3", {}, 400, "InvalidRequest"),
        ("/" + "long" * 10_000, {}, 414, "InvalidRequest"),
        ("/", {"X-Long": "long" * 10_000}, 400, "InvalidRequest"),
    ],
)
def test_nginx_refuses_with_json(nginx, path, headers, status, error):
    refused = nginx.get(path, headers=headers)

    assert (refused.status_code, refused.json["error"]) == (status, error)
    assert refused.headers["Content-Type"] == "application/json; charset=utf-8"
    assert refused.headers["Access-Control-Allow-Origin"] == "*"
    assert refused.headers["Cache-Control"] == "no-store"


def test_every_method_of_the_service_is_routed_to_it_and_nothing_else_is(tmp_path):
    rules = create_app(Config(data_dir=tmp_path / "data")).url_map.iter_rules()
    paths = {re.sub(r"<[^>]*>", "x", rule.rule) for rule in rules}
    with shipped(tmp_path / "nginx", tmp_path / "nobody.sock", tmp_path) as nginx:
        answers = {path: nginx.get(path).status_code for path in sorted(paths)}

    # 502: routed to the service, which does not run.
    assert {path: status for path, status in answers.items() if status != 502} == {}
    assert len(paths) > 20


def test_a_service_that_is_down_is_reported_in_json(tmp_path):
    with shipped(tmp_path / "nginx", tmp_path / "nobody.sock", tmp_path) as nginx:
        answer = nginx.post(UPLOAD, data=bytes(1_000_000))

    assert (answer.status_code, answer.json["error"]) == (502, "UpstreamFailure")
    assert answer.headers["Retry-After"] == "5"


def test_a_service_that_does_not_answer_is_reported_in_json(tmp_path):
    mute = socket.socket(socket.AF_UNIX)
    mute.bind(str(tmp_path / "mute.sock"))
    mute.listen()
    quick = ("proxy_read_timeout 180s;", "proxy_read_timeout 1s;")
    with mute, shipped(tmp_path / "nginx", tmp_path / "mute.sock", tmp_path, quick) as nginx:
        answer = nginx.get("/xrpc/_health")

    assert (answer.status_code, answer.json["error"]) == (504, "UpstreamTimeout")


def test_an_address_over_its_rate_is_refused_with_json(tmp_path, folder, service):
    counted = ("127.0.0.0/8 0;", "127.0.0.0/8 1;")
    with in_front(service, tmp_path / "nginx", counted) as nginx:
        answers = [nginx.get("/xrpc/_health") for _ in range(1000)]

    refused = [answer for answer in answers if answer.status_code == 429]
    assert answers[0].status_code == 200
    assert refused[0].json["error"] == "RateLimitExceeded"
    assert refused[0].headers["Retry-After"] == "1"


def test_forwarded_headers_of_a_client_are_overwritten(nginx, service, account):
    forged = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Proto": "https",
    }

    answer = nginx.get("/xrpc/com.atproto.server.describeServer", headers=forged)

    assert answer.status_code == 200
    assert b"evil" not in answer.data


@pytest.mark.parametrize("length", [1000, 4000, 7000])
def test_a_preflight_that_asks_for_many_headers_is_answered(nginx, length):
    asked = {"Access-Control-Request-Headers": "x" * length}

    answer = call(nginx.connect(), "OPTIONS", UPLOAD, None, asked)

    assert answer.status_code == 204


def test_connections_to_the_service_are_kept(nginx, service):
    for _ in range(20):
        nginx.get("/xrpc/_health")

    sockets = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    ours = [
        fields for fields in sockets if fields[5] == "03" and fields[-1] == str(service.socket)
    ]  # 03: connected

    assert 1 <= len(ours) < 20


def test_the_access_log_tells_no_secrets(nginx, account):
    nginx.get("/xrpc/com.atproto.server.getSession?token=hush", headers=account.headers)

    assert becomes(lambda: "getSession" in nginx.access_log)
    assert "hush" not in nginx.access_log
    assert account.token not in nginx.access_log


def test_the_lines_for_tls_serve_https(tmp_path, folder, service, over_tls):
    with in_front(service, tmp_path / "nginx", *over_tls.changes) as nginx:
        answer = call(over_tls.connection(nginx), "GET", "/xrpc/_health")

    assert answer.status_code == 200
