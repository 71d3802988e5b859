"""Caches are told of whatever was public and is hidden, until they have answered."""

import json
import threading
from contextlib import contextmanager

import pytest
from support.accounts import ADMIN, blob_path, sign_up, take_down
from support.cids import cid_of
from support.document_server import send, serving
from support.live_service import becomes
from support.ports import free_port
from support.services import services_of

from aurora_blobs.catalog import purges
from aurora_blobs.maintenance.collect import Collector

PHOTO = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"


class Cache:
    """What was told, and the statuses with which it is answered: 204 when there are no more."""

    def __init__(self):
        self.told = []
        self.answers = []

    def __call__(self, handler):
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.told.append((handler.command, json.loads(body)))
        status = self.answers.pop(0) if self.answers else 204
        send(handler, b"", status)

    def subjects(self):
        return [(said["did"], said["cid"]) for _, said in self.told]


@pytest.fixture
def cache():
    cache = Cache()
    with serving(cache) as address:
        cache.url = f"http://{address}/purge"
        yield cache


@pytest.fixture
def app(open_app, cache):
    return open_app(
        PURGE_URL=cache.url, PUBLIC_URL="https://pds.example.com", ADMIN_PASSWORD=ADMIN[1]
    )


@contextmanager
def telling(app):
    stop = threading.Event()
    thread = threading.Thread(target=services_of(app).purges.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def waiting(app):
    with services_of(app).database.read() as tx:
        return tx.all("SELECT did, cid, tries FROM purge ORDER BY due_at, cid")


def test_a_takedown_is_told_with_the_addresses_of_the_blob(app, cache, client, alice):
    published = alice.publish(PHOTO)

    take_down(client, alice.did, published.cid)
    with telling(app):
        assert becomes(lambda: waiting(app) == [] and cache.told)

    [(method, said)] = cache.told
    assert (method, said["did"], said["cid"]) == ("POST", alice.did, published.cid)
    get_blob = "https://pds.example.com/xrpc/com.atproto.sync.getBlob"
    assert f"{get_blob}?did={alice.did}&cid={published.cid}" in said["urls"]
    assert f"{get_blob}?did=did%3Aweb%3Aalice.test&cid={published.cid}" in said["urls"]
    picture = f"https://pds.example.com/img/avatar/plain/{alice.did}/{published.cid}"
    assert picture in said["urls"]
    assert f"{picture}@jpeg" in said["urls"]


def test_a_deletion_and_a_deactivation_are_told(app, cache, alice):
    published = alice.publish(PHOTO)
    alice.post(
        "com.atproto.repo.deleteRecord",
        repo=alice.did,
        collection="com.example.file",
        rkey=published.rkey,
    )
    services_of(app).accounts.deactivate(alice.did)

    with telling(app):
        assert becomes(lambda: len(cache.told) == 2)

    assert cache.subjects() == [(alice.did, published.cid), (alice.did, None)]
    assert cache.told[1][1]["urls"] == []


def test_what_was_not_public_is_not_told(app, cache, alice, clock):
    alice.blob(PHOTO)
    clock.advance(40 * 86_400)
    found = services_of(app)
    collector = Collector(
        found.blobs.backend,
        found.database,
        spool=found.config.data_folder.spool,
        grace_seconds=found.config.unreferenced_grace,
        clock=clock,
    )

    kinds = [one.kind for one in collector.run()]

    assert "temporary" in kinds
    assert waiting(app) == []


def test_what_is_not_answered_with_2xx_is_told_again_later(app, cache, client, alice, clock):
    published = alice.publish(PHOTO)
    cache.answers = [500, 302]
    take_down(client, alice.did, published.cid)

    with telling(app):
        for pause in (0, 10, 30):
            before = len(cache.told)
            clock.advance(pause)
            assert becomes(lambda before=before: len(cache.told) == before + 1)
        assert becomes(lambda: waiting(app) == [])

    assert cache.subjects() == [(alice.did, published.cid)] * 3


def test_a_cache_that_is_away_holds_up_no_takedown_and_is_given_up_in_the_end(open_app, clock):
    app = open_app(PURGE_URL=f"http://127.0.0.1:{free_port()}/", ADMIN_PASSWORD=ADMIN[1])
    alice = sign_up(app.test_client())
    published = alice.publish(PHOTO)

    with telling(app):
        take_down(alice.client, alice.did, published.cid)
        assert becomes(lambda: waiting(app) == [(alice.did, published.cid, 1)])
        for tries in range(2, 8):
            clock.advance(6 * 3600)
            assert becomes(lambda tries=tries: [row[2] for row in waiting(app)] in ([tries], []))

    assert waiting(app) == []


def test_no_more_than_so_many_wait(app, client, alice, monkeypatch):
    monkeypatch.setattr(purges, "MOST", 1)
    first, second = alice.publish(PHOTO), alice.publish(PHOTO + b"2")

    take_down(client, alice.did, first.cid)
    take_down(client, alice.did, second.cid)

    assert waiting(app) == [(alice.did, first.cid, 0)]
    assert client.get(blob_path(alice.did, second.cid)).status_code == 400


def test_without_a_cache_nothing_is_noted(open_app):
    app = open_app(ADMIN_PASSWORD=ADMIN[1])
    alice = sign_up(app.test_client())

    take_down(alice.client, alice.did, alice.publish(PHOTO).cid)

    assert waiting(app) == []


def test_two_processes_tell_everything_once(app, cache, client, alice):
    blobs = [alice.publish(PHOTO + b"%d" % number) for number in range(30)]
    for published in blobs:
        take_down(client, alice.did, published.cid)

    with telling(app), telling(app):
        assert becomes(lambda: waiting(app) == [])

    assert sorted(cache.subjects()) == sorted((alice.did, one.cid) for one in blobs)
    assert cid_of(PHOTO + b"1") in {cid for _, cid in cache.subjects()}
