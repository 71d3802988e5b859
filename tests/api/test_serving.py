"""com.atproto.sync.getBlob: conditions, ranges and headers."""

import os
from dataclasses import replace

import pytest
from support.accounts import UPLOAD, blob_path, sign_up
from support.open_files import open_files
from support.services import services_of

from aurora_blobs.app import create_app
from aurora_blobs.config import Config

BIG = bytes(range(256)) * 1024  # sent from its file
SMALL = b"\x89PNG\r\n\x1a\n" + bytes(range(200))  # read and sent with the head


@pytest.fixture
def config(tmp_path):
    return Config(data_dir=tmp_path / "data", durability="os", allowed_mime_types=("*/*",))


@pytest.fixture
def service(config, tmp_path):
    app = create_app(config)
    yield app
    services_of(app).database.close()
    assert open_files(tmp_path / "data" / "blobs") == []


@pytest.fixture
def alice(service):
    return sign_up(service.test_client())


@pytest.fixture
def publish(alice):
    """``publish(content)`` uploads it and names it in a record; its path and CID."""

    def publish(content, mime_type="application/octet-stream"):
        uploaded = alice.client.post(
            UPLOAD,
            data=content,
            headers={**alice.headers, "Content-Type": mime_type},
            environ_overrides={"CONTENT_LENGTH": str(len(content))},  # the client leaves a 0 out
        )
        assert uploaded.status_code == 200, uploaded.json
        assert alice.record({"file": uploaded.json["blob"]}).status_code == 200
        cid = uploaded.json["blob"]["ref"]["$link"]
        return blob_path(alice.did, cid), cid

    return publish


@pytest.mark.parametrize(
    "content", [SMALL, BIG, b"x", b""], ids=["small", "big", "one byte", "empty"]
)
def test_a_blob_is_served_with_its_headers(service, publish, content):
    path, cid = publish(content)

    with service.test_client().get(path) as got:
        assert (got.status_code, got.data) == (200, content)
        assert got.headers["Content-Length"] == str(len(content))
        assert got.headers["ETag"] == f'"{cid}"'
        assert got.headers["Accept-Ranges"] == "bytes"
        assert got.headers.getlist("Cache-Control") == ["public, max-age=300, must-revalidate"]
        assert got.headers.getlist("Vary") == ["Authorization"]
        assert got.headers["Content-Disposition"] == f'attachment; filename="{cid}"'
        assert got.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        assert got.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    "declared, served",
    [
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("text/plain; charset=ISO-8859-1", "text/plain; charset=ISO-8859-1"),
        ('text/csv; header=present; charset="shift_jis"', "text/csv; charset=shift_jis"),
        ("text/plain; charset=a/b", "text/plain; charset=utf-8"),
        ("text/plain; charset=" + "x" * 41, "text/plain; charset=utf-8"),
        ("application/x-test; charset=koi8-r", "application/x-test"),
    ],
)
def test_a_text_is_served_in_its_declared_charset(service, publish, declared, served):
    path, _ = publish("für alle".encode("latin-1"), declared)

    assert service.test_client().get(path).headers["Content-Type"] == served
    assert service.test_client().head(path).headers["Content-Type"] == served


def test_xml_says_its_charset_itself(service, publish):
    path, _ = publish(b'<?xml version="1.0" encoding="iso-8859-1"?><svg/>', "image/svg+xml")

    assert service.test_client().get(path).headers["Content-Type"] == "image/svg+xml"


def test_a_charset_goes_with_its_blob(service, alice):
    alice.blob(b"gone", "text/plain; charset=koi8-r")
    database = services_of(service).database

    with database.write() as tx:
        assert tx.all("SELECT did, charset FROM blob_charset") == [(alice.did, "koi8-r")]
        tx.run("DELETE FROM blob_metadata WHERE creator_did = ?", alice.did)
        assert tx.all("SELECT did FROM blob_charset") == []


def test_head_has_the_headers_of_get_and_no_body(service, publish):
    path, _ = publish(BIG)
    client = service.test_client()

    head = client.head(path, headers={"Range": "bytes=0-0"})

    with client.get(path) as got:
        assert (head.status_code, head.data) == (200, b"")
        assert head.headers.pop("X-Request-Id") != got.headers.pop("X-Request-Id")
        assert dict(head.headers) == dict(got.headers)


@pytest.mark.parametrize("content", [SMALL, BIG], ids=["small", "big"])
@pytest.mark.parametrize(
    "asked, start, stop",
    [("0-0", 0, 1), ("5-9", 5, 10), ("100-", 100, None), ("-7", -7, None), ("0-", 0, None)],
)
def test_a_range_is_answered_with_the_part(service, publish, content, asked, start, stop):
    path, cid = publish(content)
    part = content[start:stop]

    with service.test_client().get(path, headers={"Range": f"bytes={asked}"}) as got:
        assert (got.status_code, got.data) == (206, part)
        first = range(len(content))[start]
        assert (
            got.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        )
        assert got.headers["Content-Length"] == str(len(part))
        assert got.headers["ETag"] == f'"{cid}"'
        assert got.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_a_range_beyond_the_end_is_refused_with_the_size(service, publish):
    path, _ = publish(SMALL)

    refused = service.test_client().get(path, headers={"Range": f"bytes={len(SMALL)}-"})

    assert (refused.status_code, refused.json["error"]) == (416, "RangeNotSatisfiable")
    assert refused.headers["Content-Range"] == f"bytes */{len(SMALL)}"


def test_a_range_of_another_version_is_answered_with_the_whole(service, publish):
    path, _ = publish(SMALL)

    got = service.test_client().get(path, headers={"Range": "bytes=0-0", "If-Range": '"another"'})

    assert (got.status_code, got.data) == (200, SMALL)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', '"x", "{}"', "*"])
def test_a_blob_the_client_has_is_not_sent_again(service, publish, method, form):
    path, cid = publish(BIG)

    got = service.test_client().open(
        path, method=method, headers={"If-None-Match": form.format(cid), "Range": "bytes=0-0"}
    )

    assert (got.status_code, got.data) == (304, b"")
    assert got.headers["ETag"] == f'"{cid}"'
    assert got.headers.getlist("Cache-Control") == ["public, max-age=300, must-revalidate"]
    assert got.headers.getlist("Vary") == ["Authorization"]


@pytest.mark.parametrize("method, body", [("GET", SMALL), ("HEAD", b"")])
@pytest.mark.parametrize("form", ['"{}"', '"x", "{}"', "*"])
def test_if_match_with_the_right_tag_sends_the_blob(service, publish, method, body, form):
    path, cid = publish(SMALL)

    got = service.test_client().open(path, method=method, headers={"If-Match": form.format(cid)})

    assert (got.status_code, got.data) == (200, body)


@pytest.mark.parametrize("method, error", [("GET", b"PreconditionFailed"), ("HEAD", b"")])
@pytest.mark.parametrize("form", ['"x"', ""])
def test_if_match_with_another_tag_sends_nothing(service, publish, method, error, form):
    path, _ = publish(SMALL)

    refused = service.test_client().open(path, method=method, headers={"If-Match": form})

    assert refused.status_code == 412
    assert error in refused.data
    assert SMALL not in refused.data


def test_the_owner_s_own_view_is_private(service, alice, publish):
    path, _ = publish(SMALL)

    got = service.test_client().get(path, headers=alice.headers)

    assert got.data == SMALL
    assert got.headers.getlist("Cache-Control") == ["private"]
    assert got.headers.getlist("Vary") == ["Authorization"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "damage", [os.unlink, lambda path: os.truncate(path, 100)], ids=["gone", "cut short"]
)
def test_lost_bytes_are_not_found_and_an_upload_heals_them(
    service, publish, config, method, damage
):
    path, cid = publish(BIG)
    damage(next((config.data_dir / "blobs").glob(f"*/{cid}")))
    client = service.test_client()

    lost = client.open(path, method=method)
    publish(BIG)

    assert lost.status_code == 400
    with client.get(path) as got:
        assert got.data == BIG


class TestBehindNginx:
    """With AURORA_BLOBS_ACCEL_REDIRECT nginx sends the bytes and ranges."""

    @pytest.fixture
    def config(self, config):
        return replace(config, accel_redirect="/_blobs/")

    @pytest.mark.parametrize(
        "method, headers",
        [("GET", {}), ("GET", {"Range": "bytes=5-9"}), ("HEAD", {})],
        ids=["whole", "part", "head"],
    )
    def test_the_bytes_are_left_to_nginx(self, service, publish, config, method, headers):
        path, cid = publish(BIG)

        got = service.test_client().open(path, method=method, headers=headers)

        assert (got.status_code, got.data) == (200, b"")
        location = got.headers["X-Accel-Redirect"]
        assert (config.data_dir / "blobs" / location.removeprefix("/_blobs/")).read_bytes() == BIG
        assert got.headers["ETag"] == f'"{cid}"'
        assert got.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"

    def test_a_blob_the_client_has_is_not_sent_again(self, service, publish):
        path, cid = publish(BIG)

        got = service.test_client().get(path, headers={"If-None-Match": f'"{cid}"'})

        assert got.status_code == 304
        assert "X-Accel-Redirect" not in got.headers

    @pytest.mark.parametrize(
        "method, headers, status",
        [
            ("GET", {"Range": "bytes=abc"}, 200),
            ("GET", {"Range": "bytes=0-0,9-9"}, 200),
            ("GET", {"Range": "bytes=0-4,5-9"}, 206),
            ("GET", {"Range": f"bytes=0-{'9' * 40}"}, 206),
            ("HEAD", {"Range": "bytes=5-9"}, 200),
            ("GET", {"If-Match": "*"}, 200),
            ("GET", {"If-Unmodified-Since": "Tue, 01 Jan 2019 00:00:00 GMT"}, 200),
        ],
    )
    def test_a_range_that_nginx_reads_differently_is_not_left_to_it(
        self, service, publish, method, headers, status
    ):
        path, _ = publish(BIG)

        with service.test_client().open(path, method=method, headers=headers) as got:
            assert got.status_code == status
            assert "X-Accel-Redirect" not in got.headers

    def test_a_range_beyond_the_end_is_refused(self, service, publish):
        path, _ = publish(BIG)

        refused = service.test_client().get(path, headers={"Range": f"bytes={len(BIG)}-"})

        assert refused.status_code == 416
        assert "X-Accel-Redirect" not in refused.headers

    def test_lost_bytes_are_not_found(self, service, publish, config):
        path, cid = publish(BIG)
        next((config.data_dir / "blobs").glob(f"*/{cid}")).unlink()

        assert service.test_client().get(path).json["error"] == "BlobNotFound"
