"""A mirror as its clients and its operator meet it."""

import json

import pytest
from support.accounts import ADMIN, blob_path, take_down
from support.cids import cid_of
from support.live_service import becomes

CAROL = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
PHOTO = b"a photo"
DAY = 86_400


def publish(pds, data=PHOTO):
    if CAROL not in pds.repos:
        pds.add(CAROL)
    path = f"com.example.file/{cid_of(data)[-8:]}"
    pds.write(CAROL, {path: {"$type": "com.example.file", "file": pds.blob(CAROL, data)}})
    return path


@pytest.mark.parametrize(
    "method",
    [
        "com.atproto.repo.uploadBlob",
        "com.atproto.repo.createRecord",
        "com.atproto.repo.putRecord",
        "com.atproto.repo.deleteRecord",
        "com.atproto.repo.applyWrites",
        "com.atproto.repo.importRepo",
        "com.atproto.server.createAccount",
        "com.atproto.server.createSession",
    ],
)
def test_a_mirror_takes_nothing(open_mirror, method):
    client = open_mirror(ADMIN_PASSWORD=ADMIN[1]).client

    answer = client.post(f"/xrpc/{method}", json={}, auth=ADMIN)

    assert (answer.status_code, answer.json["error"]) == (501, "MethodNotImplemented")


def test_a_blob_has_the_type_that_its_pds_states(pds, mirror):
    def as_text(handler):
        handler.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/vtt; charset=utf-8\r\n\r\nWEBVTT"
        )

    publish(pds, b"WEBVTT")
    pds.blobs[CAROL, cid_of(b"WEBVTT")] = as_text
    assert mirror.serves(CAROL, b"WEBVTT")

    answer = mirror.client.get(
        f"/xrpc/com.atproto.sync.getBlob?did={CAROL}&cid={cid_of(b'WEBVTT')}"
    )

    assert answer.headers["Content-Type"] == "text/vtt; charset=utf-8"


def test_a_blob_that_is_lost_here_is_fetched_again(pds, mirror):
    publish(pds)
    assert mirror.serves(CAROL, PHOTO)
    mirror.services.blobs.backend.delete(cid_of(PHOTO))
    mirror.services.blobs.mark_lost(cid_of(PHOTO))
    assert mirror.get(CAROL, PHOTO) == "BlobNotFound"

    mirror.services.clock.advance(DAY + 1)

    assert mirror.serves(CAROL, PHOTO)


def collected(mirror):
    found = mirror.services.collector().run()
    return [(one.kind, one.did, one.reason) for one in found]


def test_what_was_deleted_there_goes_after_a_month(pds, mirror):
    path = publish(pds)
    assert mirror.serves(CAROL, PHOTO)
    pds.write(CAROL, {path: None})
    assert becomes(lambda: mirror.get(CAROL, PHOTO) == "BlobNotFound")
    mirror.stop()
    mirror.services.clock.advance(30 * DAY - 1)
    assert collected(mirror) == []

    mirror.services.clock.advance(2)

    assert collected(mirror) == [("temporary", CAROL, "no record names it")]
    assert list(mirror.services.blobs.backend.scan()) == []


def test_a_deleted_account_goes_after_a_month_and_one_that_is_missing_never(pds, mirror):
    publish(pds)
    assert mirror.serves(CAROL, PHOTO)
    pds.set_status(CAROL, "deleted")
    assert becomes(lambda: mirror.get(CAROL, PHOTO) == "RepoNotFound")
    mirror.stop()
    mirror.services.clock.advance(30 * DAY - 1)
    assert collected(mirror) == []

    mirror.services.clock.advance(2)

    assert collected(mirror) == [("account", CAROL, "its PDS has deleted it")]
    assert list(mirror.services.blobs.backend.scan()) == []
    assert mirror.account(CAROL) is None
    assert mirror.get(CAROL, PHOTO) == "RepoNotFound"


def test_an_account_that_came_back_in_time_is_not_collected(pds, mirror):
    publish(pds)
    assert mirror.serves(CAROL, PHOTO)
    pds.set_status(CAROL, "deleted")
    assert becomes(lambda: mirror.get(CAROL, PHOTO) == "RepoNotFound")
    mirror.services.clock.advance(29 * DAY)
    pds.set_status(CAROL, None)
    assert mirror.serves(CAROL, PHOTO)
    mirror.services.clock.advance(2 * DAY)

    assert collected(mirror) == []
    assert mirror.get(CAROL, PHOTO) == PHOTO


def test_the_status_says_how_far_it_is(pds, open_mirror):
    mirror = open_mirror(ADMIN_PASSWORD=ADMIN[1]).start()
    publish(pds)
    assert mirror.serves(CAROL, PHOTO)
    lost = {"$type": "com.example.file", "files": [pds.blob(CAROL, b"1"), pds.blob(CAROL, b"2")]}
    pds.blobs.clear()
    pds.write(CAROL, {"com.example.file/lost": lost})
    assert becomes(lambda: status(mirror)["refused"] == 2)
    assert mirror.has_handled(pds)

    answer = mirror.client.get("/xrpc/blue.aurora.mirror.getStatus", auth=ADMIN)
    refused = mirror.client.get("/xrpc/blue.aurora.mirror.getStatus")

    assert answer.json == {"hosts": [status(mirror)]}
    assert refused.status_code == 401
    assert status(mirror) == {
        "host": pds.url,
        "cursor": 2,
        "lagSeconds": 0,
        "lastEventAt": "2025-06-15T15:06:40+00:00",
        "seenAt": "2025-06-15T15:06:40+00:00",
        "listedAt": "2025-06-15T15:06:40+00:00",
        "accounts": 1,
        "inactive": 0,
        "due": 0,
        "failing": 0,
        "wanted": 2,
        "refused": 2,
        "doubtful": 0,
        "hidden": 0,
        "alarm": None,
    }


def status(mirror):
    done = mirror.client.application.test_cli_runner().invoke(args=["mirror", "status", "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


@pytest.mark.sqlite
def test_what_nginx_may_serve_without_asking_is_hidden_with_its_account(pds, open_mirror):
    mirror = open_mirror(ACCEL_REDIRECT="/_blobs/").start()
    publish(pds)
    assert becomes(lambda: mirror.client.get(blob_path(CAROL, cid_of(PHOTO))).status_code == 200)
    links = mirror.services.public_links
    assert list(links.links()) == [(CAROL, cid_of(PHOTO))]

    pds.set_status(CAROL, "deactivated")

    assert becomes(lambda: mirror.get(CAROL, PHOTO) == "RepoDeactivated")
    assert list(links.links()) == []


def test_who_is_no_mirror_follows_nobody(app):
    done = app.test_cli_runner().invoke(args=["follow"])

    assert done.exit_code == 1
    assert "AURORA_BLOBS_MIRROR='off': accepted is pds" in str(done.exception or done.output)


def test_a_second_one_waits_until_the_first_has_ended(pds, mirror, open_app):
    publish(pds)
    assert mirror.serves(CAROL, PHOTO)
    second = type(mirror)(mirror.client.application)
    second.begin()
    publish(pds, b"another")
    assert mirror.serves(CAROL, b"another")
    assert len(pds.streams) == 1

    mirror.stop()
    publish(pds, b"a third")

    assert second.serves(CAROL, b"a third", 30)
    second.stop()
    assert len(pds.streams) == 2


def test_a_mirror_says_of_what_it_neither_has_nor_hides_that_it_does_not_know_it(pds, open_mirror):
    def unknown(did, data):
        answer = mirror.client.get(blob_path(did, cid_of(data)))
        assert answer.status_code == 400
        return answer.headers.get("X-Aurora-Blobs") == "unknown"

    mirror = open_mirror(ADMIN_PASSWORD=ADMIN[1]).start()
    before = unknown(CAROL, PHOTO)
    path = publish(pds)
    assert mirror.serves(CAROL, PHOTO)
    take_down(mirror.client, CAROL, cid_of(b"taken down"))
    of_others = unknown(CAROL, b"never seen"), unknown(CAROL, b"taken down")
    mirror.services.blobs.backend.delete(cid_of(PHOTO))
    mirror.services.blobs.mark_lost(cid_of(PHOTO))
    lost = unknown(CAROL, PHOTO)
    pds.write(CAROL, {path: None})
    assert mirror.has_handled(pds)
    deleted = unknown(CAROL, PHOTO)
    pds.set_status(CAROL, "takendown")
    assert becomes(lambda: mirror.get(CAROL, PHOTO) == "RepoTakendown")

    assert before
    assert of_others == (True, False)
    assert lost
    assert not deleted
    assert not unknown(CAROL, PHOTO)


@pytest.mark.parametrize(
    "status, state",
    [("takendown", "account takendown"), ("deactivated", "account deactivated")],
)
def test_the_operator_sees_that_the_pds_has_hidden_an_account(pds, mirror, status, state):
    def told(*command):
        return json.loads(mirror.client.application.test_cli_runner().invoke(args=command).stdout)

    publish(pds)
    assert mirror.serves(CAROL, PHOTO)
    before = told("blobs", "list", "--json")["state"]
    pds.set_status(CAROL, status)
    assert becomes(lambda: mirror.get(CAROL, PHOTO) != PHOTO)

    (holder,) = told("blobs", "show", cid_of(PHOTO), "--json")["holders"]

    assert (before, holder["state"]) == ("public", state)
    assert told("blobs", "stats", "--json")["public"] == 0


def test_what_the_pds_hides_is_to_be_told_to_caches(pds, open_mirror):
    mirror = open_mirror(PURGE_URL="http://127.0.0.1:9/").start()
    path = publish(pds)
    assert mirror.serves(CAROL, PHOTO)
    pds.write(CAROL, {path: None})
    pds.set_status(CAROL, "deactivated")
    assert becomes(lambda: mirror.get(CAROL, PHOTO) == "RepoDeactivated")

    with mirror.services.database.read() as tx:
        told = tx.all("SELECT did, cid FROM purge ORDER BY cid")

    assert told == [(CAROL, ""), (CAROL, cid_of(PHOTO))]
