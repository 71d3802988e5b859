"""What a page of another origin may read of an answer: of the service's, and of nginx's own."""

import pytest
from support.accounts import UPLOAD, blob_path
from support.browser import fetch
from support.live_service import Service
from support.nginx import in_front, service_behind

pytestmark = pytest.mark.live

BIG = b"\x89PNG\r\n\x1a\n" + bytes(300_000)
SESSION = "/xrpc/com.atproto.server.createSession"
# What a page needs, and CORS shows to none without being told to.
NEEDED = {
    *("accept-ranges", "content-disposition", "content-range", "etag"),
    *("ratelimit-limit", "ratelimit-policy", "ratelimit-remaining", "ratelimit-reset"),
    *("dpop-nonce", "retry-after", "www-authenticate", "x-request-id"),
}
# Method and path, headers, status, and what of the needed the answer has.
ANSWERS = {
    "a blob": ("GET BLOB", {}, 200, {"accept-ranges", "content-disposition", "etag"}),
    "a part": (
        "GET BLOB",
        {"Range": "bytes=5-9"},
        206,
        {"content-disposition", "content-range", "etag"},
    ),
    "a blob that is known": ("GET BLOB", {"If-None-Match": "*"}, 304, {"etag"}),
    "no such part": ("GET BLOB", {"Range": "bytes=9999999-"}, 416, {"content-range"}),
    "no such method": ("GET /xrpc/com.example.nothing", {}, 501, set()),
    "no such page": ("GET /nowhere", {}, 404, set()),
    "too large": (f"POST {UPLOAD}", {"Content-Length": "99999999"}, 413, set()),
    "a head too long": (f"GET {SESSION}?{'x' * 5000}", {}, 414, set()),
}


@pytest.fixture(scope="module", params=["alone", "behind nginx"])
def served(request, tmp_path_factory):
    """The service, whatever stands before it, and the path of a blob."""
    folder = tmp_path_factory.mktemp("served")
    with (
        Service(folder / "alone") as alone,
        service_behind(folder, AURORA_BLOBS_ACCEL_REDIRECT="/_blobs/") as service,
        in_front(service, folder / "nginx") as nginx,
    ):
        rim, behind = {"alone": (alone, alone), "behind nginx": (nginx, service)}[request.param]
        account = behind.account()
        cid = account.publish(BIG, "image/png").cid
        yield rim, blob_path(account.did, cid), account


@pytest.mark.parametrize("line, headers, status, has", ANSWERS.values(), ids=ANSWERS)
def test_a_page_may_read_every_header_that_it_needs(served, line, headers, status, has):
    rim, path, account = served
    request = f"{line.replace('BLOB', path)} HTTP/1.1"
    lines = {"Host": "x", "Connection": "close", **account.headers, **headers}
    head = "\r\n".join([request, *(f"{name}: {value}" for name, value in lines.items()), "", ""])

    with rim.connect() as connection, connection.makefile("rb") as received:
        connection.sendall(head.encode())
        answer = b"".join(iter(received.readline, b"\r\n"))

    first, *fields = answer.decode("latin-1").lower().splitlines()
    sent = [field.partition(": ")[::2] for field in fields]
    exposed = [value.split(", ") for name, value in sent if name == "access-control-expose-headers"]
    assert first.split()[1] == str(status)
    assert len(exposed) == 1
    assert has <= NEEDED & {name for name, _ in sent} <= set(exposed[0])


def test_chromium_shows_a_page_of_another_origin_what_it_needs(served, tmp_path):
    rim, path, _ = served
    url = f"http://127.0.0.1:{rim.port}{path}"

    for turn in ("asked", "open"):  # nginx asks the service once; then the blob lies open
        got = fetch(url, tmp_path / turn, Range="bytes=5-9")

        assert (got.get("error"), got["status"], got["size"]) == (None, 206, 5)
        assert got["headers"]["content-range"] == f"bytes 5-9/{len(BIG)}"
        assert got["headers"]["content-length"] == "5"
        assert got["headers"]["etag"].startswith('"bafkrei')
