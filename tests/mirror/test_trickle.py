"""A PDS that sends a byte now and then holds up no other one, and is left in the end."""

import threading
from contextlib import suppress

import pytest
from support.accounts import CAROL
from support.cids import cid_of
from support.fake_pds import FakePds, shake_hands
from support.live_service import becomes

DAVE = "did:plc:z72i7hdynmk6r22z27h6tvur"
PATH = "com.example.file/one"
SYNC = "com.atproto.sync"


class Trickle:
    """Answers with *begin*, and then a byte each second until `over`. `ended` counts who left."""

    def __init__(self, begin=b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"):
        self.over = threading.Event()
        self.begun = self.ended = 0
        self._begin = begin

    def __call__(self, handler):
        self.begun += 1
        with suppress(OSError):
            handler.wfile.write(self._begin)
            while not self.over.wait(1):
                handler.wfile.write(b"1")
        self.ended += 1


class TricklingFrame(Trickle):
    """A stream whose first frame does not come to its end."""

    def __call__(self, handler):
        shake_hands(handler)
        super().__call__(handler)


PLACES = {
    "a head": (f"{SYNC}.getBlob", lambda: Trickle(b"HTTP/1.1 200 OK\r\nA: ")),
    "a blob": (f"{SYNC}.getBlob", Trickle),
    "a repository": (f"{SYNC}.getRepo", Trickle),
    "a list of accounts": (f"{SYNC}.listRepos", Trickle),
    "its name": ("com.atproto.server.describeServer", Trickle),
    "a frame": (f"{SYNC}.subscribeRepos", lambda: TricklingFrame(b"\x82\x7e\xff\xff")),
}


def publish(pds, did, data):
    if did not in pds.repos:
        pds.add(did)
    pds.write(did, {PATH: {"$type": "com.example.file", "file": pds.blob(did, data)}})


@pytest.fixture
def evil(clock):
    with FakePds(clock).serving() as evil:
        yield evil


@pytest.fixture
def trickle(evil, pds, open_mirror, request):
    """What the PDS `evil` trickles with, of which a mirror follows both."""
    method, make = PLACES[request.param]
    evil.answers[method] = trickle = make()
    publish(evil, CAROL, b"of an evil PDS")
    pds.documents[CAROL] = evil.document(CAROL)
    trickle.mirror = open_mirror(FOLLOW=f"{pds.url},{evil.url}").start()
    assert becomes(lambda: trickle.begun)
    yield trickle
    trickle.over.set()


@pytest.mark.parametrize("trickle", PLACES, indirect=True)
def test_while_one_pds_trickles_another_is_mirrored(pds, trickle):
    publish(pds, DAVE, b"a photo")

    assert trickle.mirror.serves(DAVE, b"a photo", 5)
    assert trickle.ended == 0


@pytest.mark.long
@pytest.mark.parametrize("trickle", PLACES, indirect=True)
def test_a_pds_that_trickles_is_left(trickle):
    assert becomes(lambda: trickle.ended, 60)


@pytest.mark.long
@pytest.mark.parametrize("method", ["getRepoStatus", "listBlobs"])
def test_a_mirror_of_the_network_lists_the_accounts_of_others(pds, evil, open_network, method):
    trickle = Trickle()
    network = open_network(FOLLOW=f"{pds.url},{evil.url}")
    dids = [f"did:plc:{letter * 24}" for letter in "abcdefgh"]
    for did in dids:
        evil.add(did)
        evil.repos[did].change({PATH: {"file": evil.blob(did, b"a photo")}})
        pds.documents[did] = evil.document(did)
        assert network.get(did, b"a photo") == b"a photo"
    pds.add(DAVE)
    pds.repos[DAVE].change({PATH: {"file": pds.blob(DAVE, b"a photo")}})
    assert network.get(DAVE, b"a photo") == b"a photo"
    for did in dids:
        evil.repos[did].change({PATH: None})
    pds.repos[DAVE].change({PATH: None})
    evil.answers[f"{SYNC}.{method}"] = trickle
    network.services.clock.advance(3600)
    stop = threading.Event()
    keeping = threading.Thread(target=network.services.keeper().run, args=(stop,))
    keeping.start()

    hidden = becomes(lambda: network.get(DAVE, b"a photo") == "BlobNotFound", 60)
    stop.set()
    trickle.over.set()
    keeping.join(30)

    assert hidden
    assert network.get(dids[0], b"a photo") == b"a photo"


@pytest.mark.parametrize("place", ["a head", "a blob"])
def test_a_mirror_of_the_network_fetches_from_others(pds, evil, open_network, place):
    method, make = PLACES[place]
    evil.answers[method] = trickle = make()
    evil.add(CAROL)
    evil.repos[CAROL].change({PATH: {"file": evil.blob(CAROL, b"of an evil PDS")}})
    pds.documents[CAROL] = evil.document(CAROL)
    pds.add(DAVE)
    pds.repos[DAVE].change({PATH: {"file": pds.blob(DAVE, b"a photo")}})
    network = open_network(FOLLOW=f"{pds.url},{evil.url}")
    waiting = threading.Thread(target=network.get, args=(CAROL, b"of an evil PDS"))
    waiting.start()
    assert becomes(lambda: trickle.begun)

    got = network.client.application.test_client().get(
        f"/xrpc/{SYNC}.getBlob?did={DAVE}&cid={cid_of(b'a photo')}"
    )
    is_waiting = waiting.is_alive()
    trickle.over.set()
    waiting.join(30)

    assert got.data == b"a photo"
    assert is_waiting
