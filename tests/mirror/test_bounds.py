"""What a PDS may send is bounded, and what is over a bound is found another way or left."""

import threading
import time
from functools import partial

import pytest
from support.cids import cid_of
from support.document_server import send
from support.live_service import becomes

CAROL = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
DAVE = "did:plc:z72i7hdynmk6r22z27h6tvur"


def fetched(pds):
    return len([path for path in pds.asked if "getRepo?" in path])


def test_a_commit_that_changes_very_much_is_fetched_as_a_repository(pds, mirror):
    pds.add(CAROL)
    paths = [f"com.example.file/{number}" for number in range(5)]
    for path in paths:
        many = [pds.blob(CAROL, f"{path} {number}".encode()) for number in range(900)]
        pds.blobs.clear()
        pds.write(CAROL, {path: {"$type": "com.example.file", "files": many}})
    assert becomes(lambda: len(mirror.listed(CAROL)) == 1000, 60)
    before = fetched(pds)

    pds.write(CAROL, dict.fromkeys(paths))

    assert becomes(lambda: mirror.listed(CAROL) == [], 60)
    assert fetched(pds) == before + 1


def test_more_events_than_are_held_lead_to_the_repository(pds, mirror):
    pds.add(CAROL)
    waits, goes_on = threading.Event(), threading.Event()

    def slow(handler):
        file = pds.repos[CAROL].file()
        waits.set()
        goes_on.wait(30)
        send(handler, file)

    pds.answers["com.atproto.sync.getRepo"] = slow
    data = [b"%d" % number for number in range(150)]
    blob = pds.blob(CAROL, data[0])
    pds.write(CAROL, {"com.example.file/0": {"$type": "com.example.file", "file": blob}})
    assert waits.wait(20)
    for number in range(1, 150):
        blob = pds.blob(CAROL, data[number])
        pds.write(CAROL, {f"com.example.file/{number}": {"$type": "a.b.c", "file": blob}})
    assert becomes(lambda: mirror.host().cursor == 150, 60)
    goes_on.set()

    assert mirror.serves(CAROL, data[149], 30)
    assert becomes(lambda: set(mirror.listed(CAROL)) == set(map(cid_of, data)), 60)
    assert fetched(pds) == 2


def test_a_list_of_accounts_has_so_many_bytes_and_no_more(pds, mirror):
    pds.add(DAVE)
    long = [{"did": CAROL, "rev": "3" * 13, "head": "x" * 100}] * 10_000
    pds.answers["com.atproto.sync.listRepos"] = lambda handler: send(handler, {"repos": long})
    mirror.services.clock.advance(25 * 3600)

    blob = pds.blob(DAVE, b"a photo")
    pds.write(DAVE, {"com.example.file/1": {"$type": "com.example.file", "file": blob}})

    assert mirror.serves(DAVE, b"a photo")
    assert becomes(lambda: sum("listRepos" in path for path in pds.asked) > 2)
    assert mirror.account(CAROL) is None


def test_accounts_that_are_none_hold_up_no_other_and_are_no_accounts_here(pds, mirror):
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    names = [
        f"did:plc:{'a' * 21}{''.join(letters[number >> shift & 31] for shift in (10, 5, 0))}"
        for number in range(3000)
    ]
    listed = [{"did": did, "rev": "3l2u4tmtpqc2a", "active": True} for did in names]
    pds.answers["com.atproto.sync.listRepos"] = lambda handler: send(handler, {"repos": listed})
    mirror.services.clock.advance(25 * 3600)
    assert becomes(lambda: mirror.account(names[-1]) is not None, 60)
    pds.add(CAROL)

    blob = pds.blob(CAROL, b"a photo")
    pds.write(CAROL, {"com.example.file/1": {"$type": "com.example.file", "file": blob}})

    assert mirror.serves(CAROL, b"a photo", 20)
    assert [account.did for account in mirror.services.accounts.all()] == [CAROL]


FEW = [b"%d" % number for number in range(20)]


def publish_many(pds, answer, more=None, many=FEW):
    """Have CAROL publish blobs in one record, *many* that are sent by *answer*; those.

    *more* are further blobs, with an answer for each.
    """
    pds.add(CAROL)
    answers = dict.fromkeys(many, answer) | (more or {})
    value = {"$type": "com.example.file", "files": [pds.blob(CAROL, data) for data in answers]}
    for data, its in answers.items():
        pds.blobs[CAROL, cid_of(data)] = partial(_send, its, data)
    pds.write(CAROL, {"com.example.file/1": value})
    return many


def _send(answer, data, handler):
    answer(handler, data)


def sent_after(event):
    """An answer that waits for *event*."""

    def answer(handler, data):
        event.wait(30)
        send(handler, data)

    return answer


def are_here(mirror, many):
    names = set(map(cid_of, many))
    return becomes(lambda: set(mirror.listed(CAROL)) == names and not wanted(mirror), 60)


def wanted(mirror):
    """The CIDs of blobs that are to be fetched."""
    return {cid for _, cid, *_ in mirror.rows()["upstream_blob"]}


def asked(pds):
    return len([path for path in pds.asked if "getBlob?" in path])


def test_no_more_than_four_blobs_are_fetched_from_a_pds_at_once(pds, mirror):
    under_way, most, goes_on = set(), [], threading.Event()

    def slow(handler, data):
        under_way.add(data)
        most.append(len(under_way))
        goes_on.wait(30)
        time.sleep(0.02)
        under_way.remove(data)
        send(handler, data)

    many = publish_many(pds, slow)
    assert becomes(lambda: asked(pds) == 4)
    assert not becomes(lambda: asked(pds) > 4, 0.5)
    goes_on.set()

    assert are_here(mirror, many)
    assert max(most) == 4


@pytest.mark.sqlite
def test_a_blob_that_has_come_makes_room_for_the_next_before_it_is_stored(pds, mirror):
    goes_on = threading.Event()
    many = publish_many(pds, sent_after(goes_on))
    assert becomes(lambda: asked(pds) == 4)
    with mirror.services.database.write():  # nothing can be stored
        goes_on.set()

        assert becomes(lambda: asked(pds) > 8, 5)
    assert are_here(mirror, many)


@pytest.mark.sqlite
def test_while_nothing_can_be_stored_little_is_fetched(pds, mirror):
    goes_on = threading.Event()
    photos = [b"%06d" % number * 40_000 for number in range(100)]
    publish_many(pds, sent_after(goes_on), many=photos)
    assert becomes(lambda: asked(pds) == 4)
    with mirror.services.database.write():
        goes_on.set()

        assert becomes(lambda: asked(pds) > 8, 5)
        assert not becomes(lambda: asked(pds) > 12 * 5, 1)  # 5 have a MiB
    assert are_here(mirror, photos)


def test_a_blob_that_comes_for_long_holds_up_no_other(pds, mirror):
    film, begun, goes_on = bytes(2**22), threading.Event(), threading.Event()

    def slow(handler, data):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data))
        handler.wfile.write(data[: len(data) // 2])
        begun.set()
        goes_on.wait(30)
        handler.wfile.write(data[len(data) // 2 :])

    many = publish_many(pds, send, {film: slow})
    assert begun.wait(20)
    alone = becomes(lambda: wanted(mirror) == {cid_of(film)}, 10)
    goes_on.set()

    assert alone
    assert are_here(mirror, [*many, film])
