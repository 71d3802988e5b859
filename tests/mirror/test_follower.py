"""What a PDS publishes is here, and what it hides is hidden, whatever happens in between."""

import threading
import time

import pytest
from support.accounts import ADMIN, take_down
from support.cids import cid_of
from support.document_server import send
from support.live_service import becomes

from aurora_blobs.catalog import upstream

CAROL = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
DAVE = "did:plc:z72i7hdynmk6r22z27h6tvur"
PATH = "com.example.file/one"
PHOTO, OTHER = b"a photo", b"another photo"


def published(pds, did=CAROL, data=PHOTO, path=PATH):
    """Have *did* publish *data* at *pds*."""
    if did not in pds.repos:
        pds.add(did)
    pds.write(did, {path: {"$type": "com.example.file", "file": pds.blob(did, data)}})


def record(pds, data, did=CAROL):
    return {"$type": "com.example.file", "file": pds.blob(did, data)}


def test_what_was_there_before_is_fetched(pds, open_mirror):
    published(pds)
    published(pds, DAVE, OTHER)

    mirror = open_mirror().start()

    assert mirror.serves(CAROL, PHOTO)
    assert mirror.serves(DAVE, OTHER)
    assert mirror.listed(CAROL) == [cid_of(PHOTO)]


def test_what_is_published_is_fetched_and_what_is_deleted_is_hidden(pds, mirror):
    published(pds)
    assert mirror.serves(CAROL, PHOTO)
    pds.write(CAROL, {PATH: record(pds, OTHER)})
    assert mirror.serves(CAROL, OTHER)
    assert mirror.get(CAROL, PHOTO) == "BlobNotFound"

    pds.write(CAROL, {PATH: None})

    assert becomes(lambda: mirror.get(CAROL, OTHER) == "BlobNotFound")
    assert mirror.listed(CAROL) == []


def test_each_repository_is_fetched_once_and_then_kept_by_its_commits(pds, mirror):
    published(pds)
    assert mirror.serves(CAROL, PHOTO)
    for number in range(20):
        published(pds, data=b"%d" % number, path=f"com.example.file/{number}")

    assert mirror.serves(CAROL, b"19")
    assert mirror.has_handled(pds)
    assert len([path for path in pds.asked if "getRepo?" in path]) == 1
    assert len(mirror.listed(CAROL)) == 21


def test_the_same_event_twice_changes_nothing(pds, mirror):
    published(pds)
    assert mirror.serves(CAROL, PHOTO)
    event = pds.told(CAROL, {"com.example.file/two": record(pds, OTHER)})
    pds.send(event)
    assert mirror.serves(CAROL, OTHER)
    pds.write(CAROL, {PATH: None})
    assert becomes(lambda: mirror.listed(CAROL) == [cid_of(OTHER)])

    pds.send(event)

    assert mirror.has_handled(pds)
    assert mirror.listed(CAROL) == [cid_of(OTHER)]
    assert len([path for path in pds.asked if "getRepo?" in path]) == 1


def test_a_mirror_that_was_stopped_goes_on_where_it_was(pds, mirror):
    published(pds)
    assert mirror.serves(CAROL, PHOTO)
    assert mirror.has_handled(pds)
    mirror.stop()
    published(pds, data=OTHER, path="com.example.file/two")

    mirror.start()

    assert mirror.serves(CAROL, OTHER)
    assert pds.streams == [None, "1"]
    assert len([path for path in pds.asked if "getRepo?" in path]) == 1


@pytest.mark.parametrize("forget", ["OutdatedCursor", "FutureCursor"])
def test_a_mirror_that_was_away_for_long_compares_all_accounts(pds, mirror, forget):
    published(pds)
    published(pds, DAVE, OTHER)
    assert mirror.serves(DAVE, OTHER)
    assert mirror.has_handled(pds)
    mirror.stop()
    pds.told(CAROL, {PATH: None})
    pds.repos[DAVE].status = "takendown"
    pds.told(CAROL, {PATH: record(pds, b"missed")})
    pds.seq, pds.oldest = {"OutdatedCursor": (100, 100), "FutureCursor": (1, 0)}[forget]

    mirror.start()

    assert mirror.serves(CAROL, b"missed")
    assert mirror.get(CAROL, PHOTO) == "BlobNotFound"
    assert mirror.get(DAVE, OTHER) == "RepoTakendown"
    assert pds.streams == [None, "2", None]


def test_a_commit_that_was_missed_is_found_by_the_next_one(pds, mirror):
    published(pds)
    assert mirror.serves(CAROL, PHOTO)
    pds.told(CAROL, {"com.example.file/two": record(pds, b"missed")})

    pds.write(CAROL, {"com.example.file/three": record(pds, OTHER)})

    assert mirror.serves(CAROL, OTHER)
    assert mirror.serves(CAROL, b"missed")


@pytest.mark.parametrize(
    "status, error",
    [
        ("deactivated", "RepoDeactivated"),
        ("takendown", "RepoTakendown"),
        ("suspended", "RepoSuspended"),
        ("deleted", "RepoNotFound"),
        ("of another day", "RepoDeactivated"),
    ],
)
def test_an_account_that_is_not_active_is_hidden_until_it_is(pds, mirror, status, error):
    published(pds)
    assert mirror.serves(CAROL, PHOTO)

    pds.set_status(CAROL, status)

    assert becomes(lambda: mirror.get(CAROL, PHOTO) == error)
    assert mirror.listed(CAROL) == error

    pds.set_status(CAROL, None)

    assert mirror.serves(CAROL, PHOTO)


def test_a_deleted_account_that_comes_back_shows_nothing_of_before(pds, mirror):
    published(pds)
    assert mirror.serves(CAROL, PHOTO)
    pds.set_status(CAROL, "deleted")
    assert becomes(lambda: mirror.get(CAROL, PHOTO) == "RepoNotFound")
    signer = pds.repos[CAROL].signer
    seen = []
    pds.answers["com.atproto.sync.getRepo"] = lambda handler: (
        seen.append(mirror.get(CAROL, PHOTO)),
        handler.send_error(500),
    )
    pds.add(CAROL).signer = signer
    pds.repos[CAROL].commit()
    pds.set_status(CAROL, None)
    assert becomes(lambda: has_failed(mirror))
    del pds.answers["com.atproto.sync.getRepo"]
    mirror.services.clock.advance(60)

    assert becomes(lambda: mirror.get(CAROL, PHOTO) == "BlobNotFound")
    assert set(seen) == {"RepoDeactivated"}
    assert mirror.listed(CAROL) == []


def has_failed(mirror):
    with mirror.services.database.read() as tx:
        return tx.all("SELECT did FROM upstream_account WHERE failure IS NOT NULL") != []


def test_what_is_lifted_there_is_not_lifted_here(pds, open_mirror):
    mirror = open_mirror(ADMIN_PASSWORD=ADMIN[1]).start()
    published(pds)
    assert mirror.serves(CAROL, PHOTO)
    take_down(mirror.client, CAROL, cid_of(PHOTO))
    pds.set_status(CAROL, "takendown")
    assert becomes(lambda: mirror.get(CAROL, PHOTO) == "RepoTakendown")

    pds.set_status(CAROL, None)

    assert becomes(lambda: mirror.listed(CAROL) == [cid_of(PHOTO)])
    assert mirror.get(CAROL, PHOTO) == "BlobNotFound"


def test_an_account_of_which_the_pds_says_nothing_any_more_is_hidden_and_kept(pds, mirror):
    published(pds)
    published(pds, DAVE, OTHER)
    assert mirror.serves(CAROL, PHOTO)
    assert mirror.serves(DAVE, OTHER)
    del pds.repos[CAROL]

    mirror.services.clock.advance(25 * 3600)

    assert becomes(lambda: mirror.get(CAROL, PHOTO) == "RepoNotFound")
    assert mirror.account(CAROL).status == "missing"
    assert mirror.get(DAVE, OTHER) == OTHER


def test_an_account_that_has_moved_is_hidden(pds, mirror):
    published(pds)
    assert mirror.serves(CAROL, PHOTO)
    pds.documents[CAROL] = pds.document(CAROL, endpoint="https://elsewhere.example.com")

    pds.tell_identity(CAROL)

    assert becomes(lambda: mirror.get(CAROL, PHOTO) == "RepoDeactivated")
    assert mirror.account(CAROL).status == "moved"


def test_a_new_key_is_asked_for_once_and_then_used(pds, mirror):
    published(pds)
    assert mirror.serves(CAROL, PHOTO)
    pds.repos[CAROL].signer = type(pds.repos[CAROL].signer)()

    published(pds, data=OTHER, path="com.example.file/two")

    assert mirror.serves(CAROL, OTHER)
    assert [path for path in pds.asked if path == f"/{CAROL}"] == [f"/{CAROL}"] * 2
    assert len([path for path in pds.asked if "getRepo?" in path]) == 1


def test_a_sync_to_another_state_fetches_the_repository(pds, mirror):
    published(pds)
    assert mirror.serves(CAROL, PHOTO)
    pds.told(CAROL, {PATH: record(pds, OTHER)})

    pds.sync(CAROL)

    assert mirror.serves(CAROL, OTHER)
    assert mirror.get(CAROL, PHOTO) == "BlobNotFound"


def test_a_pds_that_was_put_back_is_followed_to_where_it_is(pds, mirror):
    published(pds)
    assert mirror.serves(CAROL, PHOTO)
    published(pds, data=OTHER, path="com.example.file/two")
    assert mirror.serves(CAROL, OTHER)
    assert mirror.has_handled(pds)
    pds.told(CAROL, {"com.example.file/two": None}, rev="3l2u4tmtpqc2a")
    mirror.stop()
    pds.forget_events()

    mirror.start()

    assert becomes(lambda: mirror.listed(CAROL) == [cid_of(PHOTO)])
    assert mirror.get(CAROL, OTHER) == "BlobNotFound"
    published(pds, data=b"later", path="com.example.file/three")
    assert mirror.serves(CAROL, b"later")


def test_a_stream_that_ends_is_opened_again(pds, mirror):
    published(pds)
    assert mirror.serves(CAROL, PHOTO)
    assert mirror.has_handled(pds)
    pds.hang_up()

    published(pds, data=OTHER, path="com.example.file/two")

    assert mirror.serves(CAROL, OTHER)
    assert pds.streams == [None, "1"]


def test_a_pds_that_calls_every_cursor_outdated_is_followed_nevertheless(pds, mirror):
    pds.oldest = 10**6
    pds.send_notice("OutdatedCursor")
    published(pds)
    assert mirror.serves(CAROL, PHOTO)
    assert mirror.has_handled(pds)
    pds.hang_up()
    assert becomes(lambda: len(pds.streams) == 3)

    published(pds, data=OTHER, path="com.example.file/two")

    assert mirror.serves(CAROL, OTHER)
    assert pds.streams == [None, "1", None]


def test_a_stop_waits_for_no_blob_that_is_still_coming(pds, mirror):
    comes = threading.Event()

    def slowly(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n")
        while not ends.wait(0.05):
            handler.wfile.write(bytes(2**20))
            comes.set()

    ends = threading.Event()
    pds.add(CAROL)
    value = record(pds, PHOTO)
    pds.blobs[CAROL, cid_of(PHOTO)] = slowly
    pds.write(CAROL, {PATH: value})
    assert comes.wait(20)

    began = time.monotonic()
    mirror.stop()
    took = time.monotonic() - began
    ends.set()

    assert took < 8
    assert list(mirror.services.config.data_folder.spool.iterdir()) == []


def test_notices_and_events_of_an_unknown_kind_are_passed_over(pds, mirror):
    pds.send_notice("Something")
    pds.send({"t": "#tomorrow", "did": CAROL})
    pds.send({"t": "#handle", "did": 7})

    published(pds)

    assert mirror.serves(CAROL, PHOTO)
    assert pds.streams == [None]


def test_no_account_has_moved_while_the_pds_does_not_say_its_name(pds, open_mirror):
    name = "com.atproto.server.describeServer"

    def says_name(handler):
        send(handler, {"did": "did:web:pds.example.com"})

    pds.answers[name] = says_name
    published(pds)
    pds.documents[CAROL] = pds.document(CAROL, "https://pds.example.com")
    mirror = open_mirror().start()
    assert mirror.serves(CAROL, PHOTO)
    mirror.stop()
    pds.answers[name] = lambda handler: send(handler, {}, 503)
    with mirror.services.database.write() as tx:  # as it is when the follower died before
        upstream.set_due(tx, CAROL, mirror.url, mirror.services.clock())

    mirror.begin()

    assert not becomes(lambda: mirror.get(CAROL, PHOTO) != PHOTO, 2)
    assert mirror.account(CAROL).status is None
    pds.answers[name] = says_name
    pds.write(CAROL, {PATH: record(pds, OTHER)})
    assert mirror.serves(CAROL, OTHER, 20)


def test_a_pds_that_is_away_is_not_asked_for_a_repository_at_each_event(pds, mirror):
    pds.add(CAROL)
    pds.answers["com.atproto.sync.getRepo"] = lambda handler: send(handler, {}, 503)
    many = [b"%d" % number for number in range(5)]
    for number, data in enumerate(many):
        published(pds, data=data, path=f"com.example.file/{number}")
        time.sleep(0.1)

    # Each try that fails makes the pause longer, up to a day.
    assert mirror.account(CAROL).tries <= 2
    del pds.answers["com.atproto.sync.getRepo"]
    assert all(mirror.serves(CAROL, data, 20) for data in many)
