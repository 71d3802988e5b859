"""deploy/mirror.conf on Debian's nginx, in front of the reference PDS and a mirror of it."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from types import SimpleNamespace

import pytest
from support.accounts import blob_path
from support.cids import cid_of
from support.followed_pds import Member, Upstream, following
from support.live_service import becomes
from support.nginx import own
from support.ports import free_port
from support.project import DEPLOY, PHOTO
from support.reference_pds import ReferencePds
from websockets.sync.client import connect

pytestmark = pytest.mark.live

SOCKET = "/run/aurora-blobs/gunicorn.sock"
READS, AT_ONCE = 1000, 8
PART = {"Range": "bytes=0-9"}  # which the mirror gives, and the PDS does not


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """``nginx`` in front of the ``pds`` and its ``mirror``, and ``alice`` with 20 ``photos``."""
    folder = tmp_path_factory.mktemp("site")
    port = free_port()
    nginx = own(folder / "nginx", "")
    with ReferencePds(folder / "pds", f"http://localhost:{port}") as pds:
        upstream = Upstream(pds)
        settings = {
            "AURORA_BLOBS_BIND": f"unix:{folder}/s.sock",
            "AURORA_BLOBS_PROXY_HOPS": "1",
            "AURORA_BLOBS_ACCEL_REDIRECT": "/_blobs/",
        }
        with following(pds, folder, **settings) as mirror:
            nginx = own(folder / "nginx", configuration(pds, mirror.service))
            alice = Member(upstream, "alice.test")
            photos = [PHOTO.read_bytes() + os.urandom(10 + 300_000 * (n % 2)) for n in range(20)]
            for number, photo in enumerate(photos):
                alice.put(f"photo{number}", photo)
            assert becomes(lambda: all(mirror.serves(alice, photo) for photo in photos))
            with nginx:
                yield SimpleNamespace(
                    nginx=nginx, pds=pds, mirror=mirror, alice=alice, photos=photos
                )


def configuration(pds, service):
    text = (DEPLOY / "mirror.conf").read_text()
    for old, new in (
        ("    listen [::]:80;\n", ""),
        ("listen 80;", "listen 127.0.0.1:PORT;"),
        (f"unix:{SOCKET}", f"unix:{service.socket}"),
        ("127.0.0.1:3000", f"127.0.0.1:{pds.facts['port']}"),
        ("/var/lib/aurora-blobs/", f"{service.folder}/data/"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    return text


def read(site, number):
    """The status of a read of a photo, and whether it is right."""
    photo = site.photos[number % len(site.photos)]
    answer = site.nginx.get(blob_path(site.alice.did, cid_of(photo)))
    return answer.status_code, answer.data == photo


def reads(site, meanwhile):
    """What reads of photos give while *meanwhile* goes on in a thread: at least `READS`."""
    other = threading.Thread(target=meanwhile)
    other.start()
    seen, count = set(), 0
    numbers = iter(range(10**6))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while count < READS or other.is_alive():
            seen |= set(pool.map(lambda number: read(site, number), islice(numbers, 50)))
            count += 50
    other.join()
    return seen


def from_mirror(site):
    """Whether the mirror answers getBlob."""
    path = blob_path(site.alice.did, cid_of(site.photos[0]))
    return site.nginx.get(path, headers=PART).status_code == 206


def test_blobs_come_from_the_mirror_and_with_a_token_from_the_pds(site):
    path = blob_path(site.alice.did, cid_of(site.photos[0]))
    token = {"Authorization": f"Bearer {site.alice.token}"}

    open_to_all = site.nginx.get(path, headers=PART)
    own_ones = site.nginx.get(path, headers={**PART, **token})

    assert (open_to_all.status_code, open_to_all.data) == (206, site.photos[0][:10])
    assert open_to_all.headers["Access-Control-Allow-Origin"] == "*"
    assert open_to_all.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert open_to_all.headers["ETag"] == f'"{cid_of(site.photos[0])}"'
    assert (own_ones.status_code, own_ones.data) == (200, site.photos[0])


def test_everything_else_comes_from_the_pds(site):
    described = site.nginx.get("/xrpc/com.atproto.server.describeServer")
    made = site.nginx.post(
        "/xrpc/com.atproto.repo.uploadBlob",
        data=bytes(2_000_000),
        headers={"Authorization": f"Bearer {site.alice.token}", "Content-Type": "image/png"},
    )

    assert described.json["availableUserDomains"] == [".test"]
    assert (made.status_code, made.json["blob"]["size"]) == (200, 2_000_000)


def test_the_stream_of_the_pds_goes_through_nginx(site):
    url = f"ws://127.0.0.1:{site.nginx.port}/xrpc/com.atproto.sync.subscribeRepos?cursor=0"

    with connect(url) as stream:
        frame = stream.recv(timeout=10)

    assert b"#" in frame


def test_what_the_pds_hides_is_hidden(site):
    data = b"deleted in a moment"
    site.alice.put("moment", data)
    path = blob_path(site.alice.did, cid_of(data))
    assert becomes(lambda: site.nginx.get(path).status_code == 200)

    site.alice.delete("moment")

    assert becomes(lambda: site.nginx.get(path).status_code == 400)


def test_a_blob_whose_bytes_are_lost_here_comes_from_the_pds(site):
    data = b"lost in a moment"
    site.alice.put("lost", data)
    path = blob_path(site.alice.did, cid_of(data))
    assert becomes(lambda: site.nginx.get(path, headers=PART).status_code == 206)
    [file] = (site.mirror.service.folder / "data" / "blobs").glob(f"*/{cid_of(data)}")

    file.unlink()

    assert (site.nginx.get(path).status_code, site.nginx.get(path).data) == (200, data)


def test_pictures_come_from_the_mirror_and_whole_ones_while_it_is_away(site):
    path = f"/img/avatar/plain/{site.alice.did}/{cid_of(site.photos[0])}@jpeg"
    small = site.nginx.get(path)
    site.mirror.service.stop()

    whole = site.nginx.get(path)
    site.mirror.service.start()

    assert (small.status_code, small.data[:2]) == (200, b"\xff\xd8")
    assert len(small.data) < len(site.photos[0])
    assert (whole.status_code, whole.data) == (200, site.photos[0])


def test_a_picture_is_there_as_soon_as_it_is_at_the_pds(site):
    for number in range(10):
        data = PHOTO.read_bytes() + b"new %d" % number
        site.alice.put("new", data)
        answer = site.nginx.get(f"/img/avatar/plain/{site.alice.did}/{cid_of(data)}@jpeg")
        assert (answer.status_code, answer.data[:2]) == (200, b"\xff\xd8")


def test_while_the_mirror_is_stopped_no_read_fails(site):
    assert from_mirror(site)

    def stopped():
        time.sleep(0.5)
        site.mirror.service.stop()
        time.sleep(3)

    seen = reads(site, stopped)
    was_away = not from_mirror(site)
    site.mirror.service.start()

    assert seen == {(200, True)}
    assert was_away
    assert becomes(lambda: from_mirror(site), 15)


def test_while_the_mirror_restarts_or_dies_no_read_fails(site):
    def restarted():
        for end in (site.mirror.service.stop, site.mirror.service.kill, site.mirror.service.stop):
            end()
            site.mirror.service.start()

    assert reads(site, restarted) == {(200, True)}
    assert becomes(lambda: from_mirror(site), 15)


def test_while_the_mirror_stands_still_no_read_fails(site):
    service = site.mirror.service
    pids = [service.process.pid, *service.workers()]

    def stood_still():
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(8)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    assert reads(site, stood_still) == {(200, True)}
    assert becomes(lambda: from_mirror(site), 15)


def test_a_blob_is_there_as_soon_as_it_is_at_the_pds(site):
    for number in range(20):
        data = b"new %d" % number
        site.alice.put("new", data)
        answer = site.nginx.get(blob_path(site.alice.did, cid_of(data)))
        assert (answer.status_code, answer.data) == (200, data)


def test_what_nobody_has_is_refused_by_the_pds_and_what_is_hidden_by_the_mirror(site):
    site.alice.put("twice", b"taken down here alone")
    taken = blob_path(site.alice.did, cid_of(b"taken down here alone"))
    assert becomes(lambda: site.nginx.get(taken, headers=PART).status_code == 206)
    site.mirror.service.run("blobs", "takedown", cid_of(b"taken down here alone"))

    hidden = site.nginx.get(taken)
    unknown = site.nginx.get(blob_path(site.alice.did, cid_of(b"never seen")))

    assert (hidden.status_code, hidden.json["error"]) == (400, "BlobNotFound")
    assert (unknown.status_code, unknown.json["error"]) == (400, "InvalidRequest")
    assert "X-Aurora-Blobs" not in hidden.headers
