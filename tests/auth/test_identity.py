"""Resolving DIDs: which requests are made, how often, and to which addresses."""

import contextlib
import json
import socket
import threading
import time

import pytest
from support.accounts import ALICE, BOB, CAROL
from support.credentials import Signer, refusal
from support.document_server import send, serving
from support.live_service import becomes
from support.threads import in_threads

from aurora_blobs.auth.fetch import FetchFailed, fetch, is_public, is_public_or_loopback
from aurora_blobs.auth.identity import Identities
from aurora_blobs.auth.resolver import Resolver
from aurora_blobs.catalog import accounts, identity
from aurora_blobs.config import Config
from aurora_blobs.errors import ServiceBusy
from aurora_blobs.protocol.did_document import names_host

SIGNER = Signer()
UNRESOLVED = (401, "AuthenticationRequired", "could not resolve iss did")
NO_KEY = (401, "AuthenticationRequired", "missing or bad key in did doc")
HOUR, DAY = 3600, 86400
OTHER = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"


class Directory:
    """A PLC directory that counts requests; *answer* gets the handler of each."""

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


def test_a_cached_document_serves_a_day_while_the_directory_is_down(identities, directory, clock):
    identities.key(CAROL, "atproto")
    directory.answer = lambda handler: send(handler, b"away", 503)

    clock.advance(DAY - 1)
    assert identities.document(CAROL)["id"] == CAROL
    clock.advance(1)

    assert refusal(identities.key, CAROL, "atproto") == UNRESOLVED


def test_a_directory_that_is_down_is_not_asked_each_time(identities, directory, clock):
    identities.key(CAROL, "atproto")
    directory.answer = lambda handler: send(handler, b"away", 503)
    clock.advance(HOUR)

    for _ in range(5):
        assert identities.document(CAROL)["id"] == CAROL

    assert len(directory.paths) == 2


def test_an_unused_document_is_forgotten_after_a_day(identities, database, clock):
    identities.key(CAROL, "atproto")
    clock.advance(DAY + 1)
    identities.document(OTHER)

    with database.read() as tx:
        assert tx.all("SELECT did FROM identity") == [(OTHER,)]


@pytest.fixture
def many_forgettable(database):
    """A hundred documents, last used in 1970."""
    with database.write() as tx:
        for number in range(100):
            identity.remember(tx, f"did:web:host{number}.test", "{}", number)


def test_a_request_forgets_a_few_documents_and_never_all_at_once(
    identities, database, many_forgettable
):
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


def test_many_lookups_at_once_cost_one_request(identities, directory):
    def slowly(handler):
        time.sleep(0.2)
        send(handler, SIGNER.document(CAROL))

    directory.answer = slowly
    found = []

    assert in_threads(lambda: found.append(identities.document(CAROL)), 8) == []

    assert len(found) == 8 and len(directory.paths) == 1


class SlowWeb:
    """A network whose hosts named ``slow…`` answer when it is let go, and all others at once."""

    def __init__(self):
        self.resolvers = {}
        self.waiting = threading.Semaphore(0)
        self._hold = threading.Event()
        self._threads = []

    def __call__(self, url, *, resolver, **_):
        did = url.rpartition("/")[2] if "plc" in url else "did:web:" + url.split("/")[2]
        self.resolvers[did] = resolver
        if "slow" in did:
            self.waiting.release()
            self._hold.wait(20)
            raise FetchFailed("late")
        return json.dumps(SIGNER.document(did)).encode()

    def hang(self, identities, dids, *, at_once):
        """Ask for *dids*; returns when *at_once* of them are asked for."""
        for did in dids:
            self.ask(identities, did)
        for _ in range(at_once):
            assert self.waiting.acquire(timeout=10)

    def ask(self, identities, did):
        def ask():
            with contextlib.suppress(ServiceBusy):
                identities.document(did)

        thread = threading.Thread(target=ask)
        thread.start()
        self._threads.append(thread)

    def let_go(self):
        self._hold.set()
        for thread in self._threads:
            thread.join(20)


@pytest.fixture
def slow_web(database):
    """Let go before the database is closed."""
    web = SlowWeb()
    yield web
    web.let_go()


def slow_hosts(count, name="slow"):
    return [f"did:web:{name}{number}.test" for number in range(count)]


@pytest.fixture
def make_accounts(database):
    def make(*dids):
        with database.write() as tx:
            for did in dids:
                accounts.make_external(tx, did, 0)

    return make


def test_slow_unknown_issuers_delay_no_local_account(slow_web, database, clock, make_accounts):
    make_accounts(BOB, CAROL)
    identities = Identities(Config(), database, clock, slow_web)

    slow_web.hang(identities, slow_hosts(16), at_once=2)

    assert identities.document(BOB)["id"] == BOB
    assert identities.document(CAROL)["id"] == CAROL
    assert refusal(identities.document, OTHER)[:2] == (503, "ServiceUnavailable")


def test_accounts_at_slow_hosts_hold_up_none_of_the_directory(
    slow_web, database, clock, make_accounts
):
    dids = slow_hosts(16)
    make_accounts(BOB, CAROL, *dids)
    identities = Identities(Config(), database, clock, slow_web)

    slow_web.hang(identities, dids, at_once=4)

    assert identities.document(CAROL)["id"] == CAROL
    assert identities.document(OTHER)["id"] == OTHER
    assert refusal(identities.document, BOB)[:2] == (503, "ServiceUnavailable")


def test_the_moderation_service_counts_as_known(slow_web, database, clock):
    config = Config(moderation_did="did:web:mod.test")
    identities = Identities(config, database, clock, slow_web)

    slow_web.hang(identities, slow_hosts(16), at_once=2)

    assert identities.document("did:web:mod.test")["id"] == "did:web:mod.test"


def test_names_are_looked_up_apart_for_each_queue(slow_web, database, clock, make_accounts):
    make_accounts(BOB, CAROL)
    identities = Identities(Config(), database, clock, slow_web)

    for did in (BOB, CAROL, OTHER):
        identities.document(did)

    assert len(set(slow_web.resolvers.values())) == 3


def test_an_old_document_serves_while_all_places_are_taken(
    slow_web, database, clock, make_accounts
):
    dids = slow_hosts(16)
    make_accounts(BOB, *dids)
    identities = Identities(Config(), database, clock, slow_web)
    identities.document(BOB)
    clock.advance(HOUR)

    slow_web.hang(identities, dids, at_once=4)

    assert identities.document(BOB)["id"] == BOB
    assert refusal(identities.document, BOB, refresh=True)[:2] == (503, "ServiceUnavailable")


def test_no_more_than_so_many_wait_for_one_slow_host(slow_web, database, clock, make_accounts):
    [did] = slow_hosts(1)
    make_accounts(did)
    identities = Identities(Config(), database, clock, slow_web)
    slow_web.hang(identities, [did], at_once=1)
    refused = []

    def ask():
        try:
            identities.document(did)
        except ServiceBusy:
            refused.append(did)

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    assert becomes(lambda: len(refused) == 100 - 16)
    slow_web.let_go()
    for thread in threads:
        thread.join(20)

    assert len(refused) == 100 - 16


@pytest.mark.parametrize("ahead", [10 * 365 * DAY, 60], ids=["ten years", "a minute"])
def test_a_document_from_the_future_is_fetched_again(identities, directory, clock, ahead):
    clock.advance(ahead)
    identities.key(CAROL, "atproto")
    clock.advance(-ahead)

    identities.key(CAROL, "atproto")
    identities.key(CAROL, "atproto")

    assert len(directory.paths) == 2


def test_a_failure_of_a_clock_that_was_set_back_is_over(identities, directory, clock):
    clock.advance(10 * 365 * DAY)
    directory.answer = lambda handler: send(handler, b"away", 503)
    assert identities.document(CAROL) is None
    clock.advance(-10 * 365 * DAY)
    directory.answer = lambda handler: send(handler, SIGNER.document(CAROL))

    assert identities.document(CAROL)["id"] == CAROL


def test_of_a_large_document_little_is_kept(identities, directory, database):
    large = SIGNER.document(CAROL) | {"service": [pds("https://pds.test")]}
    large["alsoKnownAs"] = [f"at://name{number}.test" for number in range(1000)]
    large["service"] += [{"id": f"#{number}", "serviceEndpoint": "x" * 100} for number in range(99)]
    directory.answer = lambda handler: send(handler, large)

    found = identities.document(CAROL)

    assert identities.key(CAROL, "atproto").algorithm == SIGNER.key.algorithm
    assert names_host(found, "pds.test")
    with database.read() as tx:
        assert tx.one("SELECT LENGTH(document) < 500 FROM identity") == (1,)


@pytest.mark.parametrize("first", [5, None, "z" * 4000])
def test_of_two_keys_with_one_name_the_first_counts_though_it_is_none(identities, directory, first):
    document = SIGNER.document(CAROL)
    document["verificationMethod"].insert(
        0, {"id": "#atproto", "type": "Multikey", "publicKeyMultibase": first}
    )
    directory.answer = lambda handler: send(handler, document)

    assert refusal(identities.key, CAROL, "atproto") == NO_KEY


def pds(url):
    return {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": url}


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
def test_an_invalid_document_does_not_resolve(identities, directory, body):
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
def test_a_document_without_a_valid_key_gives_none(identities, directory, methods):
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
def test_a_did_that_the_protocol_does_not_know_costs_no_request_and_no_row(database, clock, did):
    asked = []
    identities = Identities(Config(), database, clock, lambda url, **_: asked.append(url))

    assert identities.document(did) is None
    assert asked == []
    with database.read() as tx:
        assert tx.all("SELECT did FROM identity") == []


def test_a_did_web_is_asked_over_https_and_only_at_public_addresses(database, clock):
    asked = []

    def recorded(url, **named):
        asked.append((url, named["allowed"]))
        return json.dumps(SIGNER.document(ALICE)).encode()

    assert Identities(Config(), database, clock, recorded).document(ALICE)

    assert asked == [("https://alice.test/.well-known/did.json", is_public)]


def test_the_document_of_a_local_account_costs_no_request(database, clock):
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


def by(lookup):
    return Resolver(lookup=lookup)


class Rebinding:
    """A resolver that gives a public address first and loopback afterwards."""

    def __init__(self, *addresses):
        self.addresses = list(addresses)

    def __call__(self, host, port, **_):
        address = self.addresses.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]


def test_a_name_with_a_private_address_is_not_connected_to():
    reached = []

    with serving(lambda handler: reached.append(handler.path)) as address:
        port = address.rpartition(":")[2]
        with pytest.raises(FetchFailed, match="no address that may be connected to"):
            fetch(
                f"http://evil.test:{port}/", allowed=is_public, resolver=by(Rebinding("127.0.0.1"))
            )

    assert reached == []


def test_a_name_is_looked_up_once_so_that_its_address_cannot_change():
    names = Rebinding("127.0.0.1", "10.0.0.1")

    with serving(lambda handler: send(handler, {"host": handler.headers["Host"]})) as address:
        port = address.rpartition(":")[2]
        body = fetch(f"http://evil.test:{port}/", allowed=is_public_or_loopback, resolver=by(names))

    assert json.loads(body) == {"host": f"evil.test:{port}"}
    assert names.addresses == ["10.0.0.1"]


def test_private_addresses_among_many_are_skipped():
    def names(host, port, **_):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("10.0.0.1", "127.0.0.1")
        ]

    with serving(lambda handler: send(handler, {})) as address:
        assert (
            fetch(f"http://{address}/", allowed=is_public_or_loopback, resolver=by(names)) == b"{}"
        )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status):
    paths = []

    def answer(handler):
        paths.append(handler.path)
        send(handler, b"", status, Location="/elsewhere")

    with serving(answer) as address, pytest.raises(FetchFailed, match=f"status {status}"):
        fetch(f"http://{address}/", allowed=None)

    assert paths == ["/"]


def test_a_trickling_server_is_dropped_at_the_deadline():
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


def test_an_answer_that_never_begins_is_cut_at_the_limit():
    def answer(handler):
        with contextlib.suppress(OSError):  # until the client closes
            while True:
                handler.wfile.write(b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 100)

    with serving(answer) as address, pytest.raises(FetchFailed, match="more than 131072 bytes"):
        fetch(f"http://{address}/", allowed=None, timeout_seconds=60)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "http://127.0.0.1:99999/", "http://[::1", "https:///x"]
)
def test_unreachable_servers_give_one_error(url):
    with pytest.raises(FetchFailed):
        fetch(url, allowed=None)
