"""Of a blob that it takes down a PDS tells nobody; what it refuses twice is hidden."""

import json
import logging

import pytest
from support.cids import cid_of
from support.document_server import send
from support.live_service import becomes

CAROL = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
HOUR, DAY = 3600, 86_400
PHOTOS = [b"photo %d" % number for number in range(20)]


def publish(pds, mirror, count, did=CAROL):
    """Have *did* publish so many of the photos, and wait until they are here."""
    if did not in pds.repos:
        pds.add(did)
    files = [pds.blob(did, photo) for photo in PHOTOS[:count]]
    pds.write(did, {"com.example.file/some": {"$type": "com.example.file", "files": files}})
    assert mirror.has_handled(pds)
    for photo in PHOTOS[:count]:
        assert mirror.serves(did, photo)
    pds.asked.clear()


def asked(pds, photo=None):
    """How often the PDS was asked for *photo*, or for any blob."""
    wanted = "getBlob?" if photo is None else f"cid={cid_of(photo)}"
    return len([path for path in pds.asked if wanted in path])


def ask_all(pds, mirror, count):
    """Let a day go by, in which each of *count* blobs is asked for."""
    before = asked(pds)
    mirror.services.clock.advance(DAY)
    assert becomes(lambda: asked(pds) >= before + count, 40)
    wait(mirror)


def wait(mirror):
    """Until what was asked for is noted."""
    assert becomes(lambda: not due(mirror))


def due(mirror):
    with mirror.services.database.read() as tx:
        return tx.all("SELECT 1 FROM upstream_refusal WHERE due_at <= ?", mirror.services.clock())


def refuse(pds, *photos, did=CAROL):
    for photo in photos:
        pds.blobs.pop((did, cid_of(photo)))


def confirm(pds, mirror, seconds=600):
    mirror.services.clock.advance(seconds)
    wait(mirror)


def have_hidden(pds, mirror, photo):
    """Publish photos, and have the PDS refuse *photo* until it is hidden."""
    publish(pds, mirror, 6)
    refuse(pds, photo)
    ask_all(pds, mirror, 6)
    confirm(pds, mirror)
    assert becomes(lambda: mirror.get(CAROL, photo) == "BlobNotFound")


def status(mirror):
    answer = mirror.client.get("/xrpc/blue.aurora.mirror.getStatus", auth=("admin", "open sesame"))
    [host] = answer.json["hosts"]
    return host["doubtful"], host["hidden"], host["alarm"]


@pytest.fixture
def mirror(open_mirror):
    return open_mirror(ADMIN_PASSWORD="open sesame").start()


def test_what_is_refused_twice_is_hidden_and_its_bytes_are_kept(pds, mirror):
    publish(pds, mirror, 6)
    refuse(pds, PHOTOS[3])
    ask_all(pds, mirror, 6)
    once = mirror.get(CAROL, PHOTOS[3])

    confirm(pds, mirror)

    assert once == PHOTOS[3]
    assert becomes(lambda: mirror.get(CAROL, PHOTOS[3]) == "BlobNotFound")
    assert status(mirror) == (0, 1, None)
    assert mirror.services.blobs.backend.size(cid_of(PHOTOS[3])) == len(PHOTOS[3])
    assert all(mirror.get(CAROL, photo) == photo for photo in PHOTOS[4:6])


def test_a_takedown_that_is_lifted_there_is_lifted_here(pds, mirror):
    have_hidden(pds, mirror, PHOTOS[3])
    pds.blob(CAROL, PHOTOS[3])

    confirm(pds, mirror, DAY)

    assert becomes(lambda: mirror.get(CAROL, PHOTOS[3]) == PHOTOS[3])
    assert status(mirror) == (0, 0, None)


def test_a_record_that_names_a_hidden_blob_again_has_it_asked_for_at_once(pds, mirror):
    have_hidden(pds, mirror, PHOTOS[3])

    pds.write(CAROL, {"com.example.file/again": {"file": pds.blob(CAROL, PHOTOS[3])}})

    assert becomes(lambda: mirror.get(CAROL, PHOTOS[3]) == PHOTOS[3])


def test_a_repository_that_is_fetched_whole_has_its_hidden_blobs_asked_for_at_once(pds, mirror):
    have_hidden(pds, mirror, PHOTOS[3])
    mirror.stop()

    pds.write(CAROL, {"com.example.file/again": {"file": pds.blob(CAROL, PHOTOS[3])}})
    pds.seq = pds.oldest = 100  # the event is not there any more
    mirror.begin()

    assert becomes(lambda: mirror.get(CAROL, PHOTOS[3]) == PHOTOS[3])


def test_blobs_are_asked_for_one_after_the_other_all_day_long(pds, mirror):
    publish(pds, mirror, 20)
    counts = []
    for hours in range(2, 21, 2):
        mirror.services.clock.advance(2 * HOUR)
        assert becomes(lambda hours=hours: asked(pds) >= hours)
        counts.append(asked(pds))

    assert counts == list(range(2, 21, 2))
    assert all(asked(pds, photo) == 1 for photo in PHOTOS[:20])


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            lambda handler: send(handler, {"error": "InternalServerError"}, 500), id="500"
        ),
        pytest.param(lambda handler: send(handler, {"error": "x"}, 503), id="503"),
        pytest.param(lambda handler: handler.connection.close(), id="no answer"),
        pytest.param(lambda handler: send(handler, {"error": "RepoTakendown"}, 400), id="account"),
        pytest.param(lambda handler: send(handler, {"error": "AuthMissing"}, 401), id="401"),
    ],
)
def test_a_pds_that_does_not_say_hides_nothing(pds, mirror, answer):
    publish(pds, mirror, 3)
    for photo in PHOTOS[:3]:
        pds.blobs[CAROL, cid_of(photo)] = answer
    mirror.services.clock.advance(DAY)
    assert becomes(lambda: asked(pds) >= 1, 30)

    mirror.services.clock.advance(DAY)

    assert becomes(lambda: asked(pds) >= 2, 30)
    assert [mirror.get(CAROL, photo) for photo in PHOTOS[:3]] == PHOTOS[:3]
    assert status(mirror) == (0, 0, None)


def test_when_many_are_refused_nothing_is_hidden_and_an_alarm_is_raised(pds, mirror, caplog):
    publish(pds, mirror, 6)
    refuse(pds, *PHOTOS[:3])
    with caplog.at_level(logging.ERROR):
        ask_all(pds, mirror, 6)
        confirm(pds, mirror)
        confirm(pds, mirror, DAY)

    assert [mirror.get(CAROL, photo) for photo in PHOTOS[:6]] == PHOTOS[:6]
    doubtful, hidden, alarm = status(mirror)
    assert (doubtful, hidden) == (3, 0)
    assert alarm == f"3 of 6 blobs of {CAROL} are refused within a day"
    assert len([one for one in caplog.records if alarm in one.getMessage()]) == 1


def test_twenty_in_a_day_are_hidden_and_more_of_one_pds_are_too_many(pds, mirror):
    dids = [f"did:plc:{letter * 24}" for letter in "abcdefghijk"]
    for did in dids:
        publish(pds, mirror, 2, did)
    for did in dids[:10]:
        refuse(pds, *PHOTOS[:2], did=did)
    ask_all(pds, mirror, 22)
    confirm(pds, mirror)
    assert becomes(lambda: status(mirror) == (0, 20, None))

    refuse(pds, PHOTOS[0], did=dids[10])
    mirror.services.clock.advance(20 * HOUR)

    assert becomes(lambda: status(mirror) == (1, 20, "21 blobs are refused within a day"))


def test_while_an_alarm_lasts_nothing_is_collected(pds, mirror):
    publish(pds, mirror, 6)
    pds.write(CAROL, {"com.example.file/x": {"file": pds.blob(CAROL, b"deleted")}})
    assert mirror.serves(CAROL, b"deleted")
    pds.write(CAROL, {"com.example.file/x": None})
    assert becomes(lambda: mirror.get(CAROL, b"deleted") == "BlobNotFound")
    refuse(pds, *PHOTOS[:3])
    ask_all(pds, mirror, 6)
    assert status(mirror)[2] is not None
    mirror.services.clock.advance(40 * DAY)

    kept = collected(mirror)
    accept(mirror)

    assert kept == []
    assert collected(mirror) == ["temporary"]


def collected(mirror):
    return [one.kind for one in mirror.services.collector().run()]


def accept(mirror):
    result = mirror.client.application.test_cli_runner().invoke(args=["mirror", "accept"])
    assert result.exit_code == 0, result.output
    return result.output


def test_an_alarm_that_is_accepted_hides_what_was_refused_twice(pds, mirror):
    publish(pds, mirror, 6)
    refuse(pds, *PHOTOS[:3])
    ask_all(pds, mirror, 6)
    confirm(pds, mirror)
    mirror.stop()

    said = accept(mirror)

    assert said == f"{mirror.url}: 3 blobs are hidden now\n"
    assert [mirror.get(CAROL, photo) for photo in PHOTOS[:3]] == ["BlobNotFound"] * 3
    assert status(mirror) == (0, 3, None)


def test_an_alarm_ends_when_all_is_given_out_again(pds, mirror):
    publish(pds, mirror, 6)
    refuse(pds, *PHOTOS[:3])
    ask_all(pds, mirror, 6)
    assert status(mirror)[2] is not None
    for photo in PHOTOS[:3]:
        pds.blob(CAROL, photo)

    confirm(pds, mirror, HOUR)

    assert becomes(lambda: status(mirror) == (0, 0, None))


def test_the_command_shows_an_alarm(pds, mirror):
    publish(pds, mirror, 6)
    refuse(pds, *PHOTOS[:3])
    ask_all(pds, mirror, 6)

    result = mirror.client.application.test_cli_runner().invoke(args=["mirror", "status", "--json"])

    assert json.loads(result.output)["alarm"].startswith("3 of 6 blobs")


def test_a_mirror_that_was_stopped_goes_on_asking_where_it_was(pds, mirror):
    publish(pds, mirror, 20)
    mirror.services.clock.advance(10 * HOUR)
    assert becomes(lambda: asked(pds) == 10)
    mirror.stop()
    mirror.start()

    mirror.services.clock.advance(10 * HOUR)

    assert becomes(lambda: asked(pds) == 20)
    assert all(asked(pds, photo) == 1 for photo in PHOTOS[:20])


def test_of_a_pds_whose_password_is_known_takedowns_are_hidden_at_once(pds, open_mirror):
    mirror = open_mirror(ADMIN_PASSWORD="open sesame", FOLLOW_ADMIN_PASSWORD=pds.password).start()
    publish(pds, mirror, 6)
    pds.taken_down |= {(CAROL, cid_of(photo)) for photo in PHOTOS[:3]}

    mirror.services.clock.advance(DAY)

    assert becomes(lambda: status(mirror) == (0, 3, None))
    assert [mirror.get(CAROL, photo) for photo in PHOTOS[:3]] == ["BlobNotFound"] * 3
    assert all(mirror.get(CAROL, photo) == photo for photo in PHOTOS[3:6])
    assert asked(pds) == 0

    pds.taken_down.clear()
    mirror.services.clock.advance(HOUR)

    assert becomes(lambda: status(mirror) == (0, 0, None))
    assert mirror.get(CAROL, PHOTOS[0]) == PHOTOS[0]
