"""Downloads with curl, through a caching nginx, and in Chromium."""

import os
import re
import subprocess
import time

import pytest
from support.accounts import blob_path, take_down
from support.browser import play
from support.live_service import Service, becomes
from support.nginx import own
from support.project import CACHE

pytestmark = pytest.mark.live

PNG = b"\x89PNG\r\n\x1a\n"
BIG = PNG + os.urandom(2_000_000)
# tests/setup.sh downloads the package.
MEDIA = CACHE / "media/golang-github-gabriel-vasile-mimetype-dev"
MEDIA /= "usr/share/gocode/src/github.com/gabriel-vasile/mimetype/testdata"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    with Service(
        folder,
        "--access-logfile",
        str(folder / "access.log"),
        "--access-logformat",
        '%(m)s %(s)s "%({range}i)s" "%({if-none-match}i)s" %(q)s',
        AURORA_BLOBS_ADMIN_PASSWORD="open sesame",
    ) as service:
        yield service


@pytest.fixture(scope="module")
def account(service):
    return service.account()


@pytest.fixture
def marked(tmp_path):
    """``marked(did, cid)`` is the path of a blob, with a mark of this test for the log."""
    return lambda did, cid: f"{blob_path(did, cid)}&test={tmp_path.name}"


@pytest.fixture
def asked(service, tmp_path):
    """``asked(count)`` waits for *count* requests of this test in the log; their lines."""

    def lines():
        found = [
            line.rpartition(" ")
            for line in (service.folder / "access.log").read_text().splitlines()
        ]
        return [line for line, _, query in found if query.endswith(f"&test={tmp_path.name}")]

    def asked(count):
        assert becomes(lambda: len(lines()) >= count), lines()
        return lines()

    return asked


@pytest.fixture(scope="module")
def big(service, account):
    return account.publish(BIG, "image/png").cid


@pytest.fixture
def url(service, account, big, marked):
    return f"http://127.0.0.1:{service.port}{marked(account.did, big)}"


@pytest.mark.parametrize("held", [1, 999_999, len(BIG) - 1])
def test_curl_resumes_a_download(url, tmp_path, asked, held):
    target = tmp_path / "download"
    target.write_bytes(BIG[:held])

    subprocess.run(["curl", "-sSf", "-C", "-", "-o", target, url], check=True, timeout=60)

    assert target.read_bytes() == BIG
    assert asked(1) == [f'GET 206 "bytes={held}-" "-"']


def test_curl_learns_that_nothing_is_left_to_resume(url, tmp_path):
    target = tmp_path / "download"
    target.write_bytes(BIG)

    resumed = subprocess.run(
        ["curl", "-sS", "-C", "-", "-w", "%{http_code}", "-o", target, url],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert resumed.stdout == "416"
    assert target.read_bytes() == BIG


def test_curl_sends_a_tag_that_it_kept(url, tmp_path, asked):
    tag, target = tmp_path / "tag", tmp_path / "download"
    arguments = ["curl", "-sSf", "-o", target, "--etag-save", tag, "--etag-compare", tag, url]

    subprocess.run(arguments, check=True, timeout=60)
    subprocess.run(arguments, check=True, timeout=60)

    assert [line.split()[1] for line in asked(2)] == ["200", "304"]


@pytest.fixture
def cache(service, tmp_path):
    """nginx as a cache, with a lifetime of one second instead of five minutes."""
    with own(
        tmp_path / "nginx",
        f"""
        proxy_cache_path cache keys_zone=blobs:1m;
        server {{
            listen 127.0.0.1:PORT;
            location / {{
                proxy_pass http://127.0.0.1:{service.port};
                proxy_cache blobs;
                proxy_cache_revalidate on;
                proxy_ignore_headers Cache-Control;
                proxy_cache_valid 200 1s;
                add_header X-Cache $upstream_cache_status always;
            }}
        }}
        """,
    ) as cache:
        yield cache


def answer_when_stale(cache, path):
    """The first answer within ten seconds that is not from the cache."""
    deadline = time.monotonic() + 10
    while (answer := cache.get(path)).headers["X-Cache"] == "HIT" and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer


def test_a_cache_revalidates_with_304(cache, service, account, asked, marked):
    cid = account.publish(PNG + os.urandom(500_000), "image/png").cid
    path = marked(account.did, cid)

    first = cache.get(path)
    second = cache.get(path)
    third = answer_when_stale(cache, path)

    assert [answer.headers["X-Cache"] for answer in (first, second, third)] == [
        "MISS",
        "HIT",
        "REVALIDATED",
    ]
    assert first.data == second.data == third.data
    assert third.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert re.fullmatch(rf'GET 304 "-" ".*{cid}.*"', asked(2)[-1])


def test_a_cache_learns_of_a_takedown(cache, service, account):
    cid = account.publish(PNG + os.urandom(500_000), "image/png").cid
    path = blob_path(account.did, cid)
    cache.get(path)

    take_down(service, account.did, cid)

    assert answer_when_stale(cache, path).status_code == 400


def test_a_cache_does_not_store_the_owner_s_private_view(cache, account):
    cid = account.blob(PNG + os.urandom(100_000), "image/png")["ref"]["$link"]

    behind = account.at(cache)
    own_view = behind.fetch(cid, **account.headers)
    everybody_s = behind.fetch(cid)

    assert (own_view.status_code, own_view.headers["Cache-Control"]) == (200, "private")
    assert everybody_s.status_code == 400


@pytest.mark.parametrize("name, mime_type", [("mp4.mp4", "video/mp4"), ("webm.webm", "video/webm")])
def test_chromium_plays_and_seeks(service, account, tmp_path, asked, marked, name, mime_type):
    cid = account.publish((MEDIA / name).read_bytes(), mime_type).cid

    seen = play(f"http://127.0.0.1:{service.port}{marked(account.did, cid)}", tmp_path / "profile")

    assert "error" not in seen, seen
    assert seen["played"] >= 0.2
    assert seen["soughtTo"] == pytest.approx(0.8 * seen["duration"], abs=0.5)
    assert seen["width"] > 100
    assert seen["shades"] > 50  # a picture, not one colour
    assert {line.split('"')[0] for line in asked(1)} == {"GET 206 "}
