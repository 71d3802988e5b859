"""The service with its blobs in S3: direct, by redirect, through nginx, and on failures."""

import http.client
import json
import os
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from itertools import count

import pytest
from support import nginx
from support.accounts import blob_path, take_down
from support.browser import fetch
from support.cids import cid_of
from support.live_service import Service, becomes
from support.pages import blocks
from support.ports import free_port
from support.project import ROOT
from support.s3_access import BUCKET, KEYS

from aurora_blobs.protocol.cid import place_of
from aurora_blobs.server.restarts import RETRY_SECONDS
from aurora_blobs.storage.base import MARK

pytestmark = pytest.mark.live

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}


@pytest.fixture
def start(tmp_path, s3_server):
    """``start(url=…, **settings)`` starts the service on the store at *url*."""
    running = ExitStack()
    numbers = count()

    def start(url=s3_server.url, **settings):
        service = Service(
            tmp_path / f"service{next(numbers)}",
            **KEYS,
            AURORA_BLOBS_STORAGE="s3",
            AURORA_BLOBS_S3_BUCKET=BUCKET,
            AURORA_BLOBS_S3_PREFIX=f"{tmp_path.name}/",
            AURORA_BLOBS_S3_ENDPOINT_URL=url,
            AURORA_BLOBS_S3_ADDRESSING_STYLE="path",
            AURORA_BLOBS_ALLOWED_MIME_TYPES="*/*",
            **settings,
        )
        return running.enter_context(service)

    with running:
        yield start


def test_bytes_pass_through_whole_and_in_part(start, some_bytes):
    service = start()
    alice = service.account()
    data = some_bytes(1_000_000)
    cid = alice.publish(data, "application/x-test").cid

    whole = alice.fetch(cid)
    part = alice.fetch(cid, Range="bytes=500000-500009")
    head = service.head(blob_path(alice.did, cid))

    assert (whole.status_code, whole.data) == (200, data)
    assert (part.status_code, part.data) == (206, data[500_000:500_010])
    assert (head.status_code, head.headers["Content-Length"]) == (200, "1000000")


def keys_of_blobs(store, folder):
    """The keys of all objects under the test's prefix but the mark's."""
    listed = store.list_objects_v2(Bucket=BUCKET, Prefix=f"{folder.name}/")["Contents"]
    return [entry["Key"] for entry in listed if not entry["Key"].endswith(MARK)]


def remove(store, key):
    store.delete_object(Bucket=BUCKET, Key=key)


def cut_short(store, key):
    store.put_object(Bucket=BUCKET, Key=key, Body=b"her")


@pytest.mark.parametrize("size", [4, 300_000])
@pytest.mark.parametrize("damage", [remove, cut_short])
def test_a_lost_object_counts_as_missing_and_an_upload_heals_it(
    start, s3_server, tmp_path, some_bytes, size, damage
):
    service = start()
    alice = service.account()
    data = some_bytes(size)
    cid = alice.publish(data, "application/x-test").cid
    store = s3_server.client()
    (lost,) = keys_of_blobs(store, tmp_path)
    damage(store, lost)

    part = alice.fetch(cid, Range="bytes=3-")
    gone = alice.fetch(cid)
    missing = alice.get("com.atproto.repo.listMissingBlobs")
    alice.publish(data, "application/x-test")
    back = alice.fetch(cid)

    assert (part.status_code, part.json["error"]) == (400, "BlobNotFound")
    assert (gone.status_code, gone.json["error"]) == (400, "BlobNotFound")
    assert [blob["cid"] for blob in missing.json["blobs"]] == [cid]
    assert (back.status_code, back.data) == (200, data)


def test_an_object_has_its_media_type(start, s3_server, tmp_path):
    service = start()
    service.account().publish(b"here", "text/x-test")

    (key,) = keys_of_blobs(s3_server.client(), tmp_path)
    head = s3_server.client().head_object(Bucket=BUCKET, Key=key)

    assert head["ContentType"] == "text/x-test"


@pytest.mark.parametrize(
    "kind, status, error",
    [
        ("reset", 502, "UpstreamFailure"),
        ("500", 502, "UpstreamFailure"),
        ("503", 503, "ServiceUnavailable"),
    ],
)
def test_a_failing_store_refuses_by_name_and_recovers_without_a_restart(
    start, link, some_bytes, kind, status, error
):
    service = start(link.url)
    alice = service.account()
    cid = alice.publish(some_bytes(300_000), "application/x-test").cid
    link.inject(kind)

    up = alice.upload(b"new", "text/x-test")
    down = alice.fetch(cid)
    link.heal()
    again = alice.upload(b"new", "text/x-test")
    back = alice.fetch(cid)

    for refused in (up, down):
        assert (refused.status_code, refused.json["error"]) == (status, error)
        assert int(refused.headers["Retry-After"]) > 0
    assert again.status_code == 200
    assert back.data == some_bytes(300_000)


def test_what_died_is_undone_when_a_store_that_was_away_at_the_start_is_back(
    start, link, s3_server, tmp_path
):
    service = start(link.url)
    service.stop()
    cid, spool = cid_of(b"died"), service.folder / "data" / "spool"
    (spool / f"{cid}.0123").write_bytes(b"died")
    key, store = f"{tmp_path.name}/{place_of(cid)}", s3_server.client()
    store.put_object(Bucket=BUCKET, Key=key, Body=b"died")
    link.cut()

    service.start()
    assert becomes(lambda: "undoing what a dead process has left: not now" in service.log)
    left = list(spool.iterdir())
    link.connect()

    assert len(left) == 1
    assert becomes(lambda: list(spool.iterdir()) == [], 5 * RETRY_SECONDS)
    assert store.list_objects_v2(Bucket=BUCKET, Prefix=key)["KeyCount"] == 0


def test_a_body_that_breaks_off_is_never_complete(start, link, some_bytes):
    service = start(link.url)
    alice = service.account()
    cid = alice.publish(some_bytes(3_000_000), "application/x-test").cid
    link.inject("truncate", method="GET", times=1)
    link.inject("reset", method="GET")

    with pytest.raises(http.client.IncompleteRead):
        alice.fetch(cid)


@pytest.mark.long
def test_a_store_that_stalls_is_a_timeout(start, link):
    service = start(link.url)
    alice = service.account()
    link.inject("stall")

    refused = alice.upload(b"new", "text/x-test")

    assert (refused.status_code, refused.json["error"]) == (504, "UpstreamTimeout")
    assert refused.headers["Retry-After"] == "30"


def test_health_turns_bad_with_the_store_and_good_again(start, link):
    service = start(link.url)

    def health():
        return service.get("/xrpc/_health").status_code

    assert becomes(lambda: health() == 200)
    link.cut()
    assert becomes(lambda: health() == 503)
    link.connect()
    assert becomes(lambda: health() == 200)


def test_the_redirect_goes_to_a_link_with_our_type_and_disposition(start, some_bytes):
    service = start(AURORA_BLOBS_S3_REDIRECT="presigned")
    alice = service.account()
    data = some_bytes(300_000)
    cid = alice.publish(data, "application/x-test").cid

    answer = alice.fetch(cid)
    with urllib.request.urlopen(answer.headers["Location"]) as followed:
        body = followed.read()

    assert (answer.status_code, answer.data, answer.headers["Cache-Control"]) == (
        302,
        b"",
        "private, no-store",
    )
    assert body == data
    assert followed.headers["Content-Type"] == "application/x-test"
    assert followed.headers["Content-Disposition"] == f'attachment; filename="{cid}"'


def cors_of_the_page():
    """The sample in docs/s3.md."""
    (sample,) = blocks(ROOT / "docs" / "s3.md", "json")
    return json.loads(sample)


@pytest.mark.skipif(
    os.environ.get("TEST_S3_STORE") == "swift", reason="its S3 has no CORS of a bucket"
)
def test_a_page_of_another_origin_follows_the_link_where_the_bucket_allows_it(
    start, s3_server, tmp_path
):
    service = start(AURORA_BLOBS_S3_REDIRECT="presigned")
    alice = service.account()
    url = f"http://127.0.0.1:{service.port}"
    url += blob_path(alice.did, alice.publish(bytes(300_000), "application/x-test").cid)
    store = s3_server.client()
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    listed = {**cors_of_the_page()["CORSRules"][0], "AllowedOrigins": [origin]}

    store.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [listed]})
    refused = fetch(url, tmp_path / "refused", port, Range="bytes=5-9")
    asked = urllib.request.Request(url, headers={"Origin": origin})
    with urllib.request.urlopen(asked) as followed:
        of_the_list = followed.headers["Access-Control-Allow-Origin"]
    store.put_bucket_cors(Bucket=BUCKET, CORSConfiguration=cors_of_the_page())
    allowed = fetch(url, tmp_path / "allowed", Range="bytes=5-9")
    store.delete_bucket_cors(Bucket=BUCKET)

    assert (of_the_list, "error" in refused) == (origin, True)
    assert (allowed.get("status"), allowed.get("size")) == (206, 5), allowed
    assert allowed["headers"]["content-range"] == "bytes 5-9/300000"


def test_nginx_follows_the_link_and_our_headers_stay(start, s3_server, tmp_path, some_bytes):
    host = s3_server.url.removeprefix("http://")
    service = start(
        AURORA_BLOBS_ACCEL_REDIRECT="/_s3/",
        AURORA_BLOBS_BIND=f"unix:{tmp_path}/sock",
        AURORA_BLOBS_PROXY_HOPS="1",
    )
    with nginx.shipped(
        tmp_path / "nginx", tmp_path / "sock", tmp_path, ("#s3 ", ""), ("s3.example.com", host)
    ) as proxy:
        alice = service.account()
        data = some_bytes(300_000)
        cid = alice.publish(data, "application/x-test").cid
        path = blob_path(alice.did, cid)

        whole = proxy.get(path)
        own = proxy.get(path, headers=alice.headers)
        part = proxy.get(path, headers={"Range": "bytes=100-199"})
        known = proxy.get(path, headers={"If-None-Match": f'"{cid}"'})
        stale = proxy.get(path, headers={"Range": "bytes=100-199", "If-Range": '"other"'})
        beyond = proxy.get(path, headers={"Range": "bytes=300000-"})
        head = proxy.head(path)
        outside = proxy.get(f"/_s3/{BUCKET}/")

    assert (whole.status_code, whole.data) == (200, data)
    assert (own.status_code, own.data) == (200, data)
    assert (part.status_code, part.data, part.headers["Content-Range"]) == (
        206,
        data[100:200],
        "bytes 100-199/300000",
    )
    assert (stale.status_code, stale.data) == (200, data)
    assert (known.status_code, head.status_code, beyond.status_code, outside.status_code) == (
        304,
        200,
        416,
        400,
    )
    assert head.headers["Content-Length"] == "300000"
    for answer in (whole, part, stale):
        for name, value in {
            **SECURITY,
            "Content-Type": "application/x-test",
            "Content-Disposition": f'attachment; filename="{cid}"',
            "ETag": f'"{cid}"',
            "Cache-Control": "public, max-age=300, must-revalidate",
            "Access-Control-Allow-Origin": "*",
            "Accept-Ranges": "bytes",
        }.items():
            assert answer.headers.get_all(name) == [value]
        assert answer.headers.get_all("Vary") == ["Authorization"]
        assert [name for name in answer.headers if "x-amz-" in name.lower()] == []
    assert own.headers["Cache-Control"] == "private"


@pytest.fixture
def behind_nginx(start, s3_server, link, tmp_path):
    """The service, and nginx in front of it, which fetches bytes from the store over *link*."""
    service = start(
        AURORA_BLOBS_ACCEL_REDIRECT="/_s3/",
        AURORA_BLOBS_BIND=f"unix:{tmp_path}/sock",
        AURORA_BLOBS_PROXY_HOPS="1",
        AURORA_BLOBS_ADMIN_PASSWORD="open sesame",
    )
    host = s3_server.url.removeprefix("http://")
    addresses = [("http://s3.example.com/", f"{link.url}/"), ("s3.example.com", host)]
    with nginx.shipped(
        tmp_path / "nginx", tmp_path / "sock", tmp_path, ("#s3 ", ""), *addresses
    ) as proxy:
        yield service, proxy


def test_a_takedown_holds_at_once_behind_nginx(behind_nginx):
    service, proxy = behind_nginx
    alice = service.account()
    cid = alice.publish(b"taken down", "text/x-test").cid
    path = blob_path(alice.did, cid)

    before = proxy.get(path)
    take_down(service, alice.did, cid)
    after = [
        proxy.open(path, method=method, headers=more)
        for method, more in (("GET", {}), ("GET", PART), ("HEAD", {}))
    ]

    assert before.data == b"taken down"
    assert [answer.status_code for answer in after] == [400, 400, 400]
    assert after[0].json["error"] == "BlobNotFound"


PART = {"Range": "bytes=0-3"}


@pytest.mark.parametrize(
    "kind, status, error",
    [
        ("reset", 502, "UpstreamFailure"),
        ("500", 502, "UpstreamFailure"),
        ("503", 503, "ServiceUnavailable"),
        *((kind, 502, "UpstreamFailure") for kind in ("301", "400", "403", "412", "416", "501")),
        ("429", 503, "ServiceUnavailable"),
    ],
)
def test_a_store_failure_behind_nginx_is_reported(behind_nginx, link, kind, status, error):
    service, proxy = behind_nginx
    alice = service.account()
    path = blob_path(alice.did, alice.publish(b"here", "text/x-test").cid)
    link.inject(kind)

    failed = proxy.get(path)
    link.heal()
    back = proxy.get(path)

    assert (failed.status_code, failed.json["error"]) == (status, error)
    assert int(failed.headers["Retry-After"]) > 0
    assert failed.headers["Access-Control-Allow-Origin"] == "*"
    assert (back.status_code, back.data) == (200, b"here")


def test_a_missing_object_behind_nginx_is_a_blob_not_found(behind_nginx, link):
    service, proxy = behind_nginx
    alice = service.account()
    path = blob_path(alice.did, alice.publish(b"here", "text/x-test").cid)
    link.inject("404")

    lost = proxy.get(path)

    assert (lost.status_code, lost.json["error"]) == (400, "BlobNotFound")


def test_a_range_beyond_the_blob_is_told_its_size_behind_nginx(behind_nginx):
    service, proxy = behind_nginx
    alice = service.account()
    path = blob_path(alice.did, alice.publish(b"here", "text/x-test").cid)

    beyond = proxy.get(path, headers={"Range": "bytes=4-"})

    assert (beyond.status_code, beyond.json["error"]) == (416, "RangeNotSatisfiable")
    assert beyond.headers["Content-Range"] == "bytes */4"


@pytest.mark.parametrize(
    "header, value",
    [
        ("If-Match", '"{cid}"'),  # the store's own tag is another
        ("If-None-Match", '"other"'),
        ("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"),
        ("If-Unmodified-Since", "Mon, 01 Jan 2001 00:00:00 GMT"),
    ],
)
def test_conditions_are_not_passed_on_to_the_store(behind_nginx, header, value):
    service, proxy = behind_nginx
    alice = service.account()
    cid = alice.publish(b"here", "text/x-test").cid

    answer = proxy.get(blob_path(alice.did, cid), headers={header: value.format(cid=cid)})

    assert (answer.status_code, answer.data) == (200, b"here")


def test_blobs_are_imported_from_the_bucket_of_a_reference_pds(start, s3_server, tmp_path):
    store = s3_server.client()
    cid = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    prefix = f"pds-{tmp_path.name}/"
    store.put_object(
        Bucket=BUCKET,
        Key=f"{prefix}blocks/did:plc:carolcarolcarolcarolcaro/{cid}",
        Body=b"hello world",
    )
    store.put_object(
        Bucket=BUCKET, Key=f"{prefix}tmp/did:plc:carolcarolcarolcarolcaro/key", Body=b"unfinished"
    )
    service = start()

    done = service.run("blobs", "import", f"s3://{BUCKET}/{prefix}", "--json")
    checked = service.run("blobs", "fsck")

    assert (done.returncode, done.stdout) == (0, b'{"imported": 1, "present": 0, "findings": []}\n')
    assert (checked.returncode, checked.stdout) == (0, b"1 blobs, 11 bytes: nothing is wrong\n")


def test_another_bucket_by_mistake_ends_the_start_and_loses_nothing(start, tmp_path):
    service = start()
    alice = service.account()
    cid = alice.publish(b"here", "application/x-test").cid
    service.stop()

    mistaken = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"],
        cwd=ROOT,
        env={**service.environ(), "AURORA_BLOBS_S3_PREFIX": f"{tmp_path.name}-other/"},
        capture_output=True,
        timeout=120,
    )
    with service:
        answer = alice.fetch(cid)
        checked = service.run("blobs", "fsck")

    assert mistaken.returncode == 1
    assert mistaken.stderr.decode().startswith(
        f"aurora_blobs: s3://{BUCKET}/{tmp_path.name}-other/ (AURORA_BLOBS_S3_BUCKET, "
    )
    assert mistaken.stderr.count(b"\n") == 1
    assert (answer.status_code, answer.data, checked.returncode) == (200, b"here", 0)


def test_a_bucket_that_lost_everything_with_its_mark_is_not_believed(start, s3_server, tmp_path):
    service = start()
    alice = service.account()
    cid = alice.publish(b"here", "application/x-test").cid
    store = s3_server.client()
    kept = {}
    for entry in store.list_objects_v2(Bucket=BUCKET, Prefix=f"{tmp_path.name}/")["Contents"]:
        kept[entry["Key"]] = store.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
        store.delete_object(Bucket=BUCKET, Key=entry["Key"])

    emptied = [alice.fetch(cid), alice.client.head(blob_path(alice.did, cid))]
    assert becomes(lambda: service.get("/xrpc/_health").status_code == 503)
    refused = alice.upload(b"new", "application/x-test")
    for key, data in kept.items():
        store.put_object(Bucket=BUCKET, Key=key, Body=data)
    assert becomes(lambda: service.get("/xrpc/_health").status_code == 200)

    assert [answer.status_code for answer in emptied] == [503, 503]
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
    assert alice.fetch(cid).data == b"here"
    assert alice.upload(b"new", "application/x-test").status_code == 200
