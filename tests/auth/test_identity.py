"""Resolving identities: what is asked of the network, how often, and where it is never sent."""

import json
import socket
import threading
import time

import pytest
from support.accounts import ALICE, BOB, CAROL
from support.credentials import Signer, refusal
from support.document_server import send, serving
from support.threads import in_threads

from aurora_blobs.auth.fetch import FetchFailed, fetch, is_public, is_public_or_loopback
from aurora_blobs.auth.identity import Identities
from aurora_blobs.catalog import accounts, identity
from aurora_blobs.config import Config

SIGNER = Signer()
UNRESOLVED = (401, "AuthenticationRequired", "could not resolve iss did")
NO_KEY = (401, "AuthenticationRequired", "missing or bad key in did doc")
HOUR, DAY = 3600, 86400


class Directory:
    """A CAROL directory that counts; *answer* gets the handler of each request."""

    def __init__(self):
        self.paths = []
        self.answer = lambda handler: send(handler, SIGNER.document(CAROL))

    def __call__(self, handler):
        self.paths.append(handler.path)
        self.answer(handler)


@pytest.fixture
def directory():
    return Directory()


@pytest.fixture
def identities(directory, database, clock):
    with serving(directory) as address:
        yield Identities(Config(plc_url=f"http://{address}/"), database, clock)


def test_a_did_plc_is_asked_of_the_directory_and_then_known_for_an_hour(
    identities, directory, clock
):
    first = identities.key(CAROL, "atproto")
    clock.advance(HOUR - 1)

    assert identities.key(CAROL, "atproto") == first
    assert directory.paths == [f"/{CAROL}"]

    clock.advance(1)
    assert identities.key(CAROL, "atproto") == first
    assert len(directory.paths) == 2


def test_what_was_known_serves_a_day_while_the_directory_is_away(identities, directory, clock):
    identities.key(CAROL, "atproto")
    directory.answer = lambda handler: send(handler, b"away", 503)

    clock.advance(DAY - 1)
    assert identities.document(CAROL)["id"] == CAROL
    clock.advance(1)

    assert refusal(identities.key, CAROL, "atproto") == UNRESOLVED


def test_a_directory_that_is_away_is_not_waited_for_each_time(identities, directory, clock):
    identities.key(CAROL, "atproto")
    directory.answer = lambda handler: send(handler, b"away", 503)
    clock.advance(HOUR)

    for _ in range(5):
        assert identities.document(CAROL)["id"] == CAROL

    assert len(directory.paths) == 2


def test_what_nobody_asks_for_is_forgotten_after_a_day(identities, database, clock):
    identities.key(CAROL, "atproto")
    clock.advance(DAY + 1)
    identities.document("did:web:localhost")

    with database.read() as tx:
        assert tx.all("SELECT did FROM identity") == [("did:web:localhost",)]


@pytest.fixture
def many_forgettable(database):
    """A hundred DIDs that nobody has asked for since 1970."""
    with database.write() as tx:
        for number in range(100):
            identity.remember(tx, f"did:web:host{number}.test", "{}", number)


def test_a_request_forgets_a_handful_and_never_all_at_once(identities, database, many_forgettable):
    identities.key(CAROL, "atproto")

    with database.read() as tx:
        assert tx.one("SELECT COUNT(*) FROM identity") == (91,)


def test_a_failure_is_remembered_though_an_old_answer_is_not_forgotten_yet(
    identities, directory, clock, many_forgettable
):
    identities.key(CAROL, "atproto")
    clock.advance(DAY + 1)
    directory.answer = lambda handler: send(handler, b"away", 503)

    for _ in range(3):
        assert refusal(identities.key, CAROL, "atproto") == UNRESOLVED

    assert len(directory.paths) == 2


def test_a_failure_is_remembered_for_a_minute(identities, directory, clock):
    directory.answer = lambda handler: send(handler, b"{}", 404)
    for _ in range(3):
        assert refusal(identities.key, CAROL, "atproto") == UNRESOLVED
    assert len(directory.paths) == 1

    clock.advance(60)
    directory.answer = lambda handler: send(handler, SIGNER.document(CAROL))

    assert identities.key(CAROL, "atproto")


def test_many_who_ask_at_once_cost_one_request(identities, directory):
    def slowly(handler):
        time.sleep(0.2)
        send(handler, SIGNER.document(CAROL))

    directory.answer = slowly
    found = []

    assert in_threads(lambda: found.append(identities.document(CAROL)), 8) == []

    assert len(found) == 8 and len(directory.paths) == 1


def test_few_requests_are_under_way_at_once_and_the_rest_is_told_to_come_back(
    directory, database, clock
):
    hold, under_way = threading.Event(), threading.Barrier(5)

    def waiting(url, **_):
        under_way.wait(10)
        hold.wait(10)
        raise FetchFailed("late")

    identities = Identities(Config(), database, clock, waiting)
    dids = [f"did:web:host{number}.test" for number in range(4)]
    threads = [threading.Thread(target=identities.document, args=(did,)) for did in dids]
    for thread in threads:
        thread.start()
    under_way.wait(10)

    assert refusal(identities.document, "did:web:one-more.test")[:2] == (503, "ServiceUnavailable")

    hold.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b'{"verificationMethod":[]}',
        json.dumps(SIGNER.document("did:plc:another")).encode(),
        b'{"id":"' + CAROL.encode() + b'","x":' + b"[" * 20_000,
        b"\xff\xfe{}",
        b"x" * (64 * 1024 + 1),
    ],
    ids=["empty", "text", "list", "null", "no id", "wrong id", "deep", "not UTF-8", "huge"],
)
def test_what_is_no_document_does_not_resolve(identities, directory, body):
    directory.answer = lambda handler: send(handler, body)

    assert refusal(identities.key, CAROL, "atproto") == UNRESOLVED


@pytest.mark.parametrize(
    "methods",
    [
        None,
        {},
        "x",
        [],
        ["x", 7, None],
        [{"id": f"{CAROL}#atproto"}],
        [{"id": f"{CAROL}#atproto", "type": "Multikey"}],
        [{"id": f"{CAROL}#atproto", "type": "Multikey", "publicKeyMultibase": 5}],
        [{"id": f"{CAROL}#atproto", "type": "Multikey", "publicKeyMultibase": "z"}],
        [{"id": f"{CAROL}#atproto", "type": "Multikey", "publicKeyMultibase": "z" + "1" * 50}],
        [{"id": f"{CAROL}#atproto", "type": "Multikey", "publicKeyMultibase": "z0OIl"}],
        [{"id": f"{CAROL}#atproto", "type": "Multikey", "publicKeyMultibase": "z" + "9" * 50_000}],
        [
            {
                "id": f"{CAROL}#atproto",
                "type": "Multikey",
                "publicKeyMultibase": SIGNER.multikey[:-1],
            }
        ],
        [{"id": f"{CAROL}#atproto", "type": ["Multikey"], "publicKeyMultibase": SIGNER.multikey}],
        [
            {
                "id": f"{CAROL}#atproto",
                "type": "Ed25519VerificationKey2020",
                "publicKeyMultibase": SIGNER.multikey,
            }
        ],
        [
            {
                "id": f"{CAROL}#atproto_label",
                "type": "Multikey",
                "publicKeyMultibase": SIGNER.multikey,
            }
        ],
        [
            {
                "id": "did:plc:other#atproto",
                "type": "Multikey",
                "publicKeyMultibase": SIGNER.multikey,
            }
        ],
    ],
    ids=range(17),
)
def test_a_document_without_a_good_key_gives_none(identities, directory, methods):
    directory.answer = lambda handler: send(handler, {"id": CAROL, "verificationMethod": methods})

    assert refusal(identities.key, CAROL, "atproto") == NO_KEY


@pytest.mark.parametrize(
    "did",
    [
        "did:plc:short",
        "did:plc:EWVI7NXZYOUN6ZHXRHS64OIZ",
        "did:key:zQ3sh",
        "did:web:localhost",
        "did:web:localhost%3A8080",
        "did:web:127.0.0.1",
        "did:web:2130706433",
        "did:web:0x7f.1",
        "did:web:example.com%3A8080",
        "did:web:example.com:users:alice",
        "did:web:example.com%2Fpath",
        "did:web:user%40example.com",
        "did:web:example.com%0d%0aX",
        "did:web:example.com.",
        "did:web:ex%C3%A4mple.com",
        "did:web:" + "a." * 150 + "com",
    ],
)
def test_a_did_that_the_protocol_does_not_know_costs_no_request(database, clock, did):
    asked = []
    identities = Identities(Config(), database, clock, lambda url, **_: asked.append(url))

    assert identities.document(did) is None
    assert asked == []


def test_a_did_web_is_asked_over_https_and_only_at_public_addresses(database, clock):
    asked = []

    def recorded(url, **named):
        asked.append((url, named["allowed"]))
        return json.dumps(SIGNER.document(ALICE)).encode()

    assert Identities(Config(), database, clock, recorded).document(ALICE)

    assert asked == [("https://alice.test/.well-known/did.json", is_public)]


def test_the_document_of_our_own_account_is_asked_of_nobody(database, clock):
    asked = []
    with database.write() as tx:
        accounts.create(tx, BOB, handle="bob.test", email=None, password_hash="", now=0)
    identities = Identities(Config(), database, clock, lambda url, **_: asked.append(url))

    assert identities.document(BOB)["alsoKnownAs"] == ["at://bob.test"]
    assert refusal(identities.key, BOB, "atproto") == NO_KEY
    assert asked == []


def test_one_setting_lets_a_did_web_be_on_this_machine(database, clock):
    def answer(handler):
        did = "did:web:" + handler.headers["Host"].replace(":", "%3A")
        send(handler, SIGNER.document(did))

    with serving(answer) as address:
        did = "did:web:" + address.replace(":", "%3A")
        closed = Identities(Config(), database, clock).document(did)
        clock.advance(60)
        opened = Identities(Config(allow_loopback_identity=True), database, clock).document(did)

    assert closed is None
    assert opened["id"] == did


@pytest.mark.parametrize(
    "address, public",
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("239.255.255.250", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fd12:3456::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("::7f00:1", False),
        ("2002:7f00:1::1", False),
        ("2001::1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::5db8:d822", True),
        ("64:ff9b::c058:6301", False),
        ("64:ff9b:1::1", False),
        ("2001:db8::1", False),
        ("fec0::1", False),
        ("feff::1", False),
        ("3fff::1", False),
        ("3fff:fff:ffff::1", False),
        ("5f00::1", False),
        ("100::1", False),
        ("100:0:0:1::1", False),
        ("2001:2::1", False),
        ("2001:20::1", False),
        ("2001:30::1", False),
        ("2001:1::1", False),
        ("2002:5db8:d822::1", False),
        ("::5db8:d822", False),
        ("::ffff:0:5db8:d822", False),
        ("::ffff:192.88.99.1", False),
        ("4000::1", False),
        ("2001:200::1", True),
        ("2a00:1450:4001:81b::200e", True),
        ("192.88.99.1", False),
        ("192.0.0.9", False),
        ("192.0.0.170", False),
        ("198.51.100.1", False),
        ("203.0.113.1", False),
        ("192.88.98.1", True),
        ("172.32.0.1", True),
    ],
)
def test_only_public_addresses_are_connected_to(address, public):
    assert is_public(address) is public


@pytest.mark.parametrize(
    "address, usable",
    [("127.0.0.1", True), ("::1", True), ("10.0.0.1", False), ("169.254.169.254", False)],
)
def test_the_development_setting_opens_loopback_and_nothing_else(address, usable):
    assert is_public_or_loopback(address) is usable


class Rebinding:
    """A name server that says something harmless first and this machine afterwards."""

    def __init__(self, *addresses):
        self.addresses = list(addresses)

    def __call__(self, host, port, **_):
        address = self.addresses.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]


def test_a_name_that_points_inside_is_not_connected_to():
    reached = []

    with serving(lambda handler: reached.append(handler.path)) as address:
        port = address.rpartition(":")[2]
        with pytest.raises(FetchFailed, match="no address that may be connected to"):
            fetch(f"http://evil.test:{port}/", allowed=is_public, lookup=Rebinding("127.0.0.1"))

    assert reached == []


def test_a_name_is_looked_up_once_so_that_it_cannot_change_its_mind():
    names = Rebinding("127.0.0.1", "10.0.0.1")

    with serving(lambda handler: send(handler, {"host": handler.headers["Host"]})) as address:
        port = address.rpartition(":")[2]
        body = fetch(f"http://evil.test:{port}/", allowed=is_public_or_loopback, lookup=names)

    assert json.loads(body) == {"host": f"evil.test:{port}"}
    assert names.addresses == ["10.0.0.1"]


def test_of_many_addresses_those_inside_are_passed_over():
    def names(host, port, **_):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("10.0.0.1", "127.0.0.1")
        ]

    with serving(lambda handler: send(handler, {})) as address:
        assert fetch(f"http://{address}/", allowed=is_public_or_loopback, lookup=names) == b"{}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status):
    paths = []

    def answer(handler):
        paths.append(handler.path)
        send(handler, b"", status, Location="/elsewhere")

    with serving(answer) as address, pytest.raises(FetchFailed, match=f"status {status}"):
        fetch(f"http://{address}/", allowed=None)

    assert paths == ["/"]


def test_a_server_that_trickles_is_left_at_the_deadline():
    done = threading.Event()

    def answer(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not done.wait(0.05):
            handler.wfile.write(b"x")

    with serving(answer) as address:
        began = time.monotonic()
        with pytest.raises(FetchFailed, match="timed out"):
            fetch(f"http://{address}/", allowed=None, timeout_seconds=0.3)
        took = time.monotonic() - began
        done.set()

    assert took < 2


def test_a_body_without_an_end_is_cut_at_the_limit():
    def answer(handler):
        handler.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b" " * 100_000
        )

    with serving(answer) as address, pytest.raises(FetchFailed, match="more than 65536 bytes"):
        fetch(f"http://{address}/", allowed=None)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "http://127.0.0.1:99999/", "http://[::1", "https:///x"]
)
def test_what_cannot_be_reached_has_one_name(url):
    with pytest.raises(FetchFailed):
        fetch(url, allowed=None)
