"""A mirror of the network asks again for what it has, and hides what is refused twice."""

import logging
import threading
import time

from support.accounts import ADMIN, CAROL
from support.cids import cid_of
from support.document_server import send
from support.fake_pds import FakePds
from support.live_service import becomes

from aurora_blobs.mirror.recheck import Recheck
from aurora_blobs.mirror.upstream import Upstream

DAVE = "did:plc:z72i7hdynmk6r22z27h6tvur"
HOUR, DAY = 3600, 86_400
PHOTOS = [b"photo %d" % number for number in range(6)]


def publish(pds, network, did=CAROL, photos=PHOTOS):
    """Have *did* publish *photos*, and the mirror fetch them and begin to ask for them."""
    repo = pds.add(did)
    repo.change({path(photo): {"file": pds.blob(did, photo)} for photo in photos})
    for photo in photos:
        assert network.get(did, photo) == photo
    ask(network, 0)
    pds.asked.clear()


def path(photo):
    return f"com.example.file/{cid_of(photo)[-8:]}"


def ask(network, seconds):
    """Let *seconds* pass, list what is due, and ask for what is due."""
    network.services.clock.advance(seconds)
    keeper = network.services.keeper()
    keeper.sweep()
    while keeper.keep_next():
        pass
    while keeper.ask_next(threading.Event()):
        pass


def asked(pds, method="getBlob"):
    return len([one for one in pds.asked if f".{method}?" in one])


def take_down(pds, *photos, did=CAROL):
    pds.taken_down |= {(did, cid_of(photo)) for photo in photos}


def statuses(network):
    answer = network.client.get("/xrpc/blue.aurora.mirror.getStatus", auth=ADMIN)
    return {
        host["host"]: (host["doubtful"], host["hidden"], host["alarm"])
        for host in answer.json["hosts"]
    }


def test_what_is_refused_twice_is_hidden_and_its_bytes_are_kept(pds, network):
    publish(pds, network)
    take_down(pds, PHOTOS[3])
    ask(network, DAY)
    once = network.get(CAROL, PHOTOS[3])

    ask(network, 600)

    assert once == PHOTOS[3]
    assert network.get(CAROL, PHOTOS[3]) == "BlobNotFound"
    assert statuses(network) == {pds.url: (0, 1, None)}
    assert network.services.blobs.backend.size(cid_of(PHOTOS[3])) == len(PHOTOS[3])
    times = asked(pds)
    assert network.get(CAROL, PHOTOS[3]) == "BlobNotFound"
    assert network.get(CAROL, PHOTOS[2]) == PHOTOS[2]
    assert asked(pds) == times


def test_each_blob_is_asked_for_once_within_a_day(pds, network):
    publish(pds, network)

    counts = [(ask(network, 2 * HOUR), asked(pds))[1] for _ in range(10)]

    assert counts == [0, 1, 1, 2, 3, 3, 4, 4, 5, 6]
    assert len({one for one in pds.asked if ".getBlob?" in one}) == 6


def test_a_takedown_that_is_lifted_there_is_lifted_here(pds, network):
    publish(pds, network)
    take_down(pds, PHOTOS[3])
    ask(network, DAY)
    ask(network, 600)
    assert network.get(CAROL, PHOTOS[3]) == "BlobNotFound"
    pds.taken_down.clear()

    ask(network, HOUR)

    assert network.get(CAROL, PHOTOS[3]) == PHOTOS[3]
    assert statuses(network) == {pds.url: (0, 0, None)}


def test_when_many_are_refused_nothing_is_hidden_until_somebody_accepts_it(pds, network, caplog):
    publish(pds, network)
    take_down(pds, *PHOTOS[:3])
    with caplog.at_level(logging.ERROR):
        ask(network, DAY)
        ask(network, 600)
    alarm = f"3 of 6 blobs of {CAROL} are refused within a day"
    before = [network.get(CAROL, photo) for photo in PHOTOS], statuses(network)

    result = network.client.application.test_cli_runner().invoke(args=["mirror", "accept"])

    assert before == (PHOTOS, {pds.url: (3, 0, alarm)})
    assert len([one for one in caplog.records if alarm in one.getMessage()]) == 1
    assert result.output == f"{pds.url}: 3 blobs are hidden now\n"
    assert [network.get(CAROL, photo) for photo in PHOTOS] == ["BlobNotFound"] * 3 + PHOTOS[3:]


def test_an_alarm_of_a_pds_that_the_settings_do_not_name_is_shown_and_accepted(
    pds, network, open_network
):
    publish(pds, network)
    take_down(pds, *PHOTOS[:3])
    ask(network, DAY)
    ask(network, 600)
    folder = network.services.config.data_dir
    network = open_network(FOLLOW="http://localhost:9", DATA_DIR=folder)
    before = statuses(network)[pds.url]

    result = network.client.application.test_cli_runner().invoke(args=["mirror", "accept"])

    assert before == (3, 0, f"3 of 6 blobs of {CAROL} are refused within a day")
    assert f"{pds.url}: 3 blobs are hidden now\n" in result.output
    assert pds.url not in statuses(network)


def test_what_its_owner_has_deleted_is_no_refusal(pds, network):
    publish(pds, network)
    pds.repos[CAROL].change({path(photo): None for photo in PHOTOS[:5]})
    for photo in PHOTOS[:5]:
        del pds.blobs[CAROL, cid_of(photo)]

    ask(network, DAY)

    assert [network.get(CAROL, photo) for photo in PHOTOS] == ["BlobNotFound"] * 5 + PHOTOS[5:]
    assert statuses(network) == {pds.url: (0, 0, None)}


def test_what_is_deleted_between_two_lists_is_no_refusal(pds, network):
    publish(pds, network)
    network.services.clock.advance(DAY)
    keeper = network.services.keeper()
    while keeper.keep_next():
        pass
    network.services.clock.advance(1)
    pds.repos[CAROL].change({path(photo): None for photo in PHOTOS[:5]})
    for photo in PHOTOS[:5]:
        del pds.blobs[CAROL, cid_of(photo)]

    assert keeper.ask_next(threading.Event())

    assert statuses(network) == {pds.url: (0, 0, None)}
    assert network.listed(CAROL) == [cid_of(PHOTOS[5])]


def test_a_pds_that_fails_hides_nothing_and_holds_up_no_other(pds, clock, open_network):
    with FakePds(clock).serving() as other:
        network = open_network(FOLLOW=f"{pds.url},{other.url}")
        publish(pds, network)
        other.add(DAVE)
        pds.documents[DAVE] = other.document(DAVE)
        other.repos[DAVE].change({path(PHOTOS[0]): {"file": other.blob(DAVE, PHOTOS[0])}})
        assert network.get(DAVE, PHOTOS[0]) == PHOTOS[0]
        ask(network, 0)
        take_down(other, PHOTOS[0], did=DAVE)
        pds.answers["com.atproto.sync.getBlob"] = lambda handler: send(handler, {}, 503)

        ask(network, DAY)
        ask(network, 600)

        assert network.get(DAVE, PHOTOS[0]) == "BlobNotFound"
        assert [network.get(CAROL, photo) for photo in PHOTOS] == PHOTOS
        assert statuses(network) == {pds.url: (0, 0, None), other.url: (0, 1, None)}


def test_a_pds_that_is_slow_is_left_in_time_and_asked_for_the_rest_later(pds, network):
    publish(pds, network)
    services = network.services
    services.clock.advance(DAY)
    slow = Recheck(
        Upstream(pds.url), services.database, clock=services.clock, max_bytes=10, every_seconds=60
    )

    def answer_slowly(handler):
        time.sleep(0.2)
        send(handler, b"photo")

    pds.answers["com.atproto.sync.getBlob"] = answer_slowly
    counts = [(slow.step(threading.Event(), seconds), asked(pds))[1] for seconds in (0.3, 60)]

    assert counts[0] in (1, 2)
    assert counts[1] == 6


def test_a_record_that_names_a_hidden_blob_again_has_it_asked_for(pds, network):
    publish(pds, network)
    take_down(pds, PHOTOS[3])
    ask(network, DAY)
    ask(network, 600)
    assert network.get(CAROL, PHOTOS[3]) == "BlobNotFound"
    pds.repos[CAROL].change({path(PHOTOS[3]): None})
    ask(network, HOUR)
    pds.taken_down.clear()
    pds.repos[CAROL].change({path(PHOTOS[3]): {"file": pds.blob(CAROL, PHOTOS[3])}})

    ask(network, HOUR)

    assert network.get(CAROL, PHOTOS[3]) == PHOTOS[3]


def test_a_pds_of_which_no_account_is_left_is_asked_no_more(pds, network):
    publish(pds, network)
    network.services.delete_account(CAROL)
    with network.services.database.write() as tx:
        tx.run("DELETE FROM upstream_account")

    ask(network, DAY)

    with network.services.database.read() as tx:
        assert tx.all("SELECT host FROM upstream_round") == []


def test_the_command_asks(pds, network):
    publish(pds, network)
    take_down(pds, PHOTOS[3])
    stop = threading.Event()
    keeping = threading.Thread(target=network.services.keeper().run, args=(stop,))
    keeping.start()

    network.services.clock.advance(DAY)
    first = becomes(lambda: statuses(network)[pds.url] == (1, 0, None))
    second = becomes(lambda: is_hidden_a_minute_later(network, pds))
    stop.set()
    keeping.join(20)

    assert first
    assert second
    assert not keeping.is_alive()


def is_hidden_a_minute_later(network, pds):
    network.services.clock.advance(60)
    return statuses(network)[pds.url] == (0, 1, None)


def test_whoever_has_the_password_of_the_pds_is_told_and_asks_for_no_blob(pds, open_network):
    network = open_network(FOLLOW_ADMIN_PASSWORD=pds.password)
    publish(pds, network)
    take_down(pds, *PHOTOS[:3])

    ask(network, DAY)

    assert [network.get(CAROL, photo) for photo in PHOTOS] == ["BlobNotFound"] * 3 + PHOTOS[3:]
    assert statuses(network) == {pds.url: (0, 3, None)}
    assert asked(pds) == 0
    assert asked(pds, "getSubjectStatus") == 6


def test_a_wrong_password_is_told_to_the_operator_and_the_blobs_are_asked_for(
    pds, open_network, caplog
):
    network = open_network(FOLLOW_ADMIN_PASSWORD="another")
    publish(pds, network)
    take_down(pds, PHOTOS[3])

    ask(network, DAY)
    ask(network, 600)

    assert network.get(CAROL, PHOTOS[3]) == "BlobNotFound"
    assert asked(pds) == 7
    lines = caplog.text.count(f"{pds.url} does not take AURORA_BLOBS_FOLLOW_ADMIN_PASSWORD")
    assert lines == asked(pds, "getSubjectStatus") == 2  # `ask` begins anew each time
    assert "another" not in caplog.text


def test_the_password_follows_no_redirect(pds, open_network):
    network = open_network(FOLLOW_ADMIN_PASSWORD=pds.password)
    publish(pds, network)
    pds.answers["com.atproto.admin.getSubjectStatus"] = lambda handler: send(
        handler, {}, 302, Location="https://pds.example.com/"
    )

    ask(network, DAY)

    assert asked(pds, "getSubjectStatus") == asked(pds) == 6
    assert statuses(network) == {pds.url: (0, 0, None)}
