"""OAuth: DPoP-bound tokens, their proofs, and the source of their scope."""

import hmac
import json
import threading
from urllib.parse import parse_qs

import pytest
from support.accounts import ALICE, BOB
from support.clock import NOW
from support.credentials import (
    SECRET,
    SERVICE,
    UPLOAD,
    Signer,
    Wallet,
    base64url,
    credentials,
    refusal,
    signed,
)
from support.live_service import becomes
from support.threads import in_threads

from aurora_blobs.auth import Authenticator, Person
from aurora_blobs.auth.dpop import Nonces
from aurora_blobs.auth.fetch import FetchFailed
from aurora_blobs.auth.introspection import Introspection
from aurora_blobs.auth.jwts import Key, secret_key
from aurora_blobs.auth.oauth import OAuthTokens
from aurora_blobs.catalog import accounts
from aurora_blobs.config import Config
from aurora_blobs.errors import BlobServiceError

ISSUER = "https://pds.test"
KINDS = frozenset({"session", "service", "oauth"})
WALLET = Wallet()
SETTINGS = {"service_did": SERVICE, "oauth_issuer": ISSUER, "oauth_unscoped": "blobs"}


def access_token(key=None, typ="at+jwt", **changes):
    claims = {
        "iss": ISSUER,
        "aud": SERVICE,
        "sub": ALICE,
        "exp": NOW + 3600,
        "iat": NOW,
        "jti": "tok-1",
        "cnf": {"jkt": WALLET.thumbprint},
        "scope": "atproto transition:generic",
    }
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return (key or secret_key(SECRET)).sign(typ, claims)


TOKEN = access_token()
DAY = 86_400
TOO_LONG = f"Token lives longer than {DAY} seconds"


class Door:
    """An authenticator with OAuth, and its last nonce."""

    def __init__(self, database, clock, tokens, fetch_url=None, **settings):
        config = Config(**(SETTINGS | settings))
        self.oauth = OAuthTokens(config, tokens, database, clock, fetch_url)
        self.nonce = dict(self.oauth.headers())["DPoP-Nonce"]
        self.authenticator = Authenticator(config, database, clock, tokens, oauth=self.oauth)

    def enter(self, token=TOKEN, proof=None, scheme="DPoP"):
        shown = credentials(f"{scheme} {token}", proof or WALLET.proof(token, self.nonce))
        return self.authenticator.person(shown, UPLOAD, KINDS)

    def refuse(self, token=TOKEN, proof=None):
        return refusal(self.enter, token, proof)


@pytest.fixture
def door(database, clock, tokens):
    return Door(database, clock, tokens)


def test_a_bound_token_with_a_proof_of_its_key_lets_its_account_in(door):
    person = door.enter()

    assert person == Person(ALICE, "atproto transition:generic")
    assert person.may_upload("image/png")


def test_a_proof_may_be_signed_on_either_curve(door):
    wallet = Wallet("ES256K")
    token = access_token(cnf={"jkt": wallet.thumbprint})

    assert door.enter(token, wallet.proof(token, door.nonce)).did == ALICE


@pytest.mark.parametrize(
    "changes",
    [
        {"htu": f"https://PDS.test:443/xrpc/{UPLOAD}"},
        {"htu": f"HTTPS://pds.test/xrpc/{UPLOAD}?a=b#c"},
        {"iat": NOW - 190},
        {"iat": NOW + 180},
        {"extra": {"anything": 1}},
    ],
    ids=repr,
)
def test_a_proof_is_compared_as_its_standard_says(door, changes):
    assert door.enter(proof=WALLET.proof(TOKEN, door.nonce, **changes)).did == ALICE


JWK = WALLET.jwk
FAILED = "Failed to verify DPoP proof"


@pytest.mark.parametrize(
    "header, changes, name, message",
    [
        ({"typ": "JWT"}, {}, "invalid_dpop_proof", FAILED),
        ({"typ": None}, {}, "invalid_dpop_proof", FAILED),
        ({"alg": "ES256K"}, {}, "invalid_dpop_proof", FAILED),
        ({"alg": "none"}, {}, "invalid_dpop_proof", FAILED),
        ({"alg": "HS256"}, {}, "invalid_dpop_proof", FAILED),
        ({"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}}, {}, "invalid_dpop_proof", FAILED),
        ({"alg": ["ES256"]}, {}, "invalid_dpop_proof", FAILED),
        ({"jwk": None}, {}, "invalid_dpop_proof", FAILED),
        ({"jwk": "x"}, {}, "invalid_dpop_proof", FAILED),
        ({"jwk": JWK | {"d": "AAAA"}}, {}, "invalid_dpop_proof", FAILED),
        ({"jwk": JWK | {"x": 5}}, {}, "invalid_dpop_proof", FAILED),
        ({"jwk": JWK | {"x": JWK["y"]}}, {}, "invalid_dpop_proof", FAILED),
        ({"jwk": {"kty": "EC", "crv": "P-256"}}, {}, "invalid_dpop_proof", FAILED),
        ({"jwk": {"kty": ["EC"], "crv": "P-256"}}, {}, "invalid_dpop_proof", FAILED),
        ({"jwk": Wallet().jwk}, {}, "invalid_dpop_proof", FAILED),
        ({"crit": ["x"]}, {}, "invalid_dpop_proof", FAILED),
        ({}, {"jti": None}, "invalid_dpop_proof", 'DPoP "jti" missing'),
        ({}, {"jti": ""}, "invalid_dpop_proof", 'DPoP "jti" missing'),
        ({}, {"jti": 5}, "invalid_dpop_proof", 'DPoP "jti" missing'),
        ({}, {"htm": "GET"}, "invalid_dpop_proof", 'DPoP "htm" mismatch'),
        ({}, {"htm": "post"}, "invalid_dpop_proof", 'DPoP "htm" mismatch'),
        (
            {},
            {"htu": "https://evil.test/xrpc/" + UPLOAD},
            "invalid_dpop_proof",
            'DPoP "htu" mismatch',
        ),
        (
            {},
            {"htu": "http://pds.test/xrpc/" + UPLOAD},
            "invalid_dpop_proof",
            'DPoP "htu" mismatch',
        ),
        (
            {},
            {"htu": "https://pds.test:8443/xrpc/" + UPLOAD},
            "invalid_dpop_proof",
            'DPoP "htu" mismatch',
        ),
        ({}, {"htu": "https://pds.test/xrpc/other"}, "invalid_dpop_proof", 'DPoP "htu" mismatch'),
        (
            {},
            {"htu": f"https://user@pds.test/xrpc/{UPLOAD}"},
            "invalid_dpop_proof",
            'DPoP "htu" mismatch',
        ),
        ({}, {"htu": "https://pds.test:x/"}, "invalid_dpop_proof", 'DPoP "htu" mismatch'),
        ({}, {"htu": None}, "invalid_dpop_proof", 'DPoP "htu" mismatch'),
        ({}, {"iat": NOW - 191}, "invalid_dpop_proof", None),
        ({}, {"iat": NOW + 181}, "invalid_dpop_proof", None),
        ({}, {"iat": None}, "invalid_dpop_proof", None),
        ({}, {"iat": "now"}, "invalid_dpop_proof", None),
        ({}, {"iat": 10**400}, "invalid_dpop_proof", None),
        ({}, {"nonce": None}, "use_dpop_nonce", "Resource server requires nonce in DPoP proof"),
        ({}, {"nonce": "guessed"}, "use_dpop_nonce", 'DPoP "nonce" mismatch'),
        ({}, {"nonce": 5}, "use_dpop_nonce", 'DPoP "nonce" mismatch'),
        ({}, {"ath": "x"}, "invalid_dpop_proof", 'DPoP "ath" mismatch'),
        ({}, {"ath": None}, "invalid_dpop_proof", 'DPoP "ath" mismatch'),
    ],
    ids=range(38),
)
def test_a_wrong_proof_is_refused_by_name(door, header, changes, name, message):
    proof = WALLET.proof(TOKEN, door.nonce, header=header, **changes)

    status, error, said = door.refuse(proof=proof)

    assert (status, error, said) == (401, name, message or said)


@pytest.mark.parametrize("proof", ["x", "a.b.c", TOKEN, f"{TOKEN}, {TOKEN}"], ids=range(4))
def test_a_malformed_proof_is_refused(door, proof):
    assert door.refuse(proof=proof) == (401, "invalid_dpop_proof", FAILED)


@pytest.mark.parametrize(
    "token, name",
    [
        ("garbage", "Malformed token"),
        (access_token(typ="JWT"), "Token could not be verified"),
        (access_token(iss="https://evil.test"), "Token could not be verified"),
        (access_token(iss=None), "Token could not be verified"),
        (access_token(secret_key("f" * 32)), "Token could not be verified"),
        (access_token(Signer("ES256").key), "Token could not be verified"),
        (access_token(aud="did:web:other.test"), "Invalid audience"),
        (access_token(aud=None), "Invalid audience"),
        (access_token(cnf=None), "Bearer token type must be used without a DPoP proof"),
        (access_token(cnf={}), "Bearer token type must be used without a DPoP proof"),
        (access_token(cnf={"jkt": Wallet().thumbprint}), "Invalid DPoP key binding"),
        (access_token(sub="alice.test"), "Malformed token"),
        (access_token(exp=None), "Malformed token"),
        (access_token(exp="x"), "Malformed token"),
        (access_token(scope=["atproto"]), "Malformed token"),
        (access_token(lxm=UPLOAD), "Malformed token"),
        (access_token(exp=NOW), "Token expired"),
        (access_token(nbf=NOW + 1), "Token is not yet valid"),
        (access_token(iat=NOW + 181), "Token is not yet valid"),
        (access_token(exp=1e300), TOO_LONG),
        (access_token(exp=1e300, iat=None), TOO_LONG),
        (access_token(exp=1e300, iat=1e300), TOO_LONG),
        (access_token(exp=10**400), TOO_LONG),
        (access_token(exp=NOW + DAY + 1), TOO_LONG),
        (access_token(exp=NOW + 3600, iat=NOW + 3600 - DAY - 1), TOO_LONG),
        (access_token(exp=NOW + DAY + 181, iat=None), TOO_LONG),
        (access_token(exp=float("inf")), "Malformed token"),
        (access_token(exp=float("nan")), "Malformed token"),
        (access_token(scope="blob:*/*"), "Invalid scope"),
        (access_token(scope=""), "Invalid scope"),
    ],
    ids=range(30),
)
def test_a_wrong_token_is_an_invalid_token(door, token, name):
    assert door.refuse(token) == (401, "invalid_token", name)


@pytest.mark.parametrize(
    "changes",
    [{"exp": NOW + DAY}, {"iat": NOW + 180, "exp": NOW + 180 + DAY}, {"iat": None}],
    ids=["a day", "by a clock that is ahead", "no time of issue"],
)
def test_a_token_may_live_a_day(door, changes):
    assert door.enter(access_token(**changes)).did == ALICE


def test_a_session_token_sent_with_dpop_is_an_invalid_token_with_and_without_a_proof(door, tokens):
    session = tokens.access(ALICE, session_id=None)

    assert door.refuse(session)[:2] == (401, "invalid_token")
    bare = credentials(f"DPoP {session}")
    assert refusal(door.authenticator.person, bare, UPLOAD, KINDS)[:2] == (401, "invalid_token")


def test_a_bound_token_is_refused_without_its_proof(door):
    bare, bearer = credentials(f"DPoP {TOKEN}"), credentials(f"Bearer {TOKEN}")

    required = (401, "invalid_dpop_proof", "DPoP proof required")
    assert refusal(door.authenticator.person, bare, UPLOAD, KINDS) == required
    assert refusal(door.authenticator.person, bearer, UPLOAD, KINDS)[:2] == (400, "InvalidToken")


def test_a_proof_is_good_once_in_every_process(door, database, clock, tokens):
    proof = WALLET.proof(TOKEN, door.nonce)
    assert door.enter(proof=proof).did == ALICE

    other = Door(database, clock, tokens)

    assert door.refuse(proof=proof) == (401, "invalid_dpop_proof", "DPoP proof replayed")
    assert other.refuse(proof=proof) == (401, "invalid_dpop_proof", "DPoP proof replayed")


def test_the_same_jti_from_another_key_is_no_replay(door):
    other = Wallet()
    token = access_token(cnf={"jkt": other.thumbprint})
    door.enter(proof=WALLET.proof(TOKEN, door.nonce, jti="same"))

    assert door.enter(token, other.proof(token, door.nonce, jti="same")).did == ALICE


def test_a_nonce_lasts_for_minutes_and_then_another_is_asked_for(door, clock):
    clock.advance(119)
    assert door.enter(proof=WALLET.proof(TOKEN, door.nonce, iat=clock.seconds)).did == ALICE

    clock.advance(120)

    assert (
        door.refuse(proof=WALLET.proof(TOKEN, door.nonce, iat=clock.seconds))[1] == "use_dpop_nonce"
    )


def test_nonces_are_those_of_a_pds_with_the_same_secret(clock):
    secret = bytes(range(32))
    minute = NOW // 60 + 1

    expected = base64url(hmac.digest(secret, minute.to_bytes(8, "big"), "sha256"))

    assert Nonces(secret, clock).next() == expected


@pytest.mark.parametrize(
    "token, proof_nonce, name",
    [(TOKEN, "guessed", "use_dpop_nonce"), ("garbage", None, "invalid_token")],
)
def test_a_refusal_names_the_scheme(door, token, proof_nonce, name):
    with pytest.raises(BlobServiceError) as caught:
        door.enter(token, WALLET.proof(token, proof_nonce or door.nonce))

    headers = caught.value.headers
    algorithms = "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES256K ES384 ES512"
    assert dict(headers)["WWW-Authenticate"].startswith(f'DPoP algs="{algorithms}", error="{name}"')


@pytest.mark.parametrize("scheme", ["DPoP", "dpop"])
def test_a_request_with_a_proof_is_answered_with_the_next_nonce(door, scheme):
    answered = door.authenticator.headers(credentials(f"{scheme} garbage", None))

    assert answered == (("DPoP-Nonce", door.nonce),)


@pytest.mark.parametrize("authorization", [None, f"Bearer {TOKEN}"])
def test_a_request_without_dpop_is_given_no_nonce(door, authorization):
    assert door.authenticator.headers(credentials(authorization)) == ()


def test_the_account_of_a_bound_token_is_checked(door, database):
    assert refusal(door.enter, access_token(sub=BOB))[:2] == (403, "AccountNotFound")

    with database.write() as tx:
        accounts.take_down(tx, ALICE, 1, "ref")

    assert door.refuse() == (401, "AccountTakedown", "Account has been taken down")


def test_without_an_issuer_no_bound_token_is_taken(authenticator):
    shown = credentials(f"DPoP {TOKEN}", WALLET.proof(TOKEN, "x"))

    assert refusal(authenticator.person, shown, UPLOAD, KINDS) == (
        400,
        "InvalidToken",
        "Unexpected authorization type",
    )


def test_the_first_token_of_an_account_that_a_pds_keeps_brings_it(database, clock, tokens):
    door = Door(database, clock, tokens, accounts="external")

    assert door.enter(access_token(sub=BOB)).did == BOB
    with database.read() as tx:
        assert accounts.find(tx, BOB) is not None


class KeyServer:
    """An authorization server: its key set, and its answers to introspection."""

    def __init__(self):
        self.wallet = Wallet()
        self.keys = [self.wallet.jwk | {"kid": "k1", "alg": "ES256", "use": "sig"}]
        self.answer = {"active": True, "scope": "atproto blob:image/*"}
        self.asked = []

    def __call__(self, url, *, allowed, body=None, headers=None):
        self.asked.append((url, body, headers))
        if self.keys is None:
            raise FetchFailed("away")
        return json.dumps({"keys": self.keys} if body is None else self.answer).encode()


@pytest.fixture
def server():
    return KeyServer()


@pytest.fixture
def keyed(database, clock, tokens, server):
    return Door(database, clock, tokens, server, oauth_jwks_url="https://pds.test/jwks")


def with_kid(wallet, kid, **changes):
    claims = {
        "iss": ISSUER,
        "aud": SERVICE,
        "sub": ALICE,
        "exp": NOW + 60,
        "cnf": {"jkt": WALLET.thumbprint},
    }
    header = {"alg": "ES256", "typ": "at+jwt"} | ({"kid": kid} if kid else {})
    return signed(wallet.signer.key, header, claims | {"scope": "atproto"} | changes)


@pytest.mark.parametrize("kid", ["k1", None])
def test_a_token_may_be_signed_with_a_key_of_the_issuers_set(keyed, server, kid):
    assert keyed.enter(with_kid(server.wallet, kid)).did == ALICE
    assert keyed.enter(with_kid(server.wallet, kid, extra=1)).did == ALICE
    assert len(server.asked) == 1


def test_an_unknown_kid_is_looked_up_once_and_no_other_key_is_tried(keyed, server, clock):
    assert keyed.refuse(with_kid(server.wallet, "k2"))[1] == "invalid_token"
    clock.advance(11)
    server.keys.append(Wallet().jwk | {"kid": "k2"})

    late = with_kid(server.wallet, "k2", late=1)

    assert (
        keyed.refuse(late, WALLET.proof(late, keyed.nonce, iat=clock.seconds))[1] == "invalid_token"
    )
    assert len(server.asked) == 2


def test_a_key_that_the_issuer_added_is_found(keyed, server, clock):
    keyed.enter(with_kid(server.wallet, "k1"))
    clock.advance(11)
    added = Wallet()
    server.keys.append(added.jwk | {"kid": "k2"})

    assert keyed.enter(with_kid(added, "k2")).did == ALICE


def test_unknown_kids_do_not_cause_repeated_lookups(keyed, server):
    for number in range(10):
        keyed.refuse(with_kid(Wallet(), f"x{number}"))

    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "keys",
    [
        [],
        ["x"],
        [{"kty": "oct", "k": "AAAA"}],
        [{"kty": "EC", "crv": "P-256", "x": "", "y": ""}],
        [{}],
    ],
    ids=repr,
)
def test_a_key_set_without_a_good_key_verifies_nothing(keyed, server, keys):
    server.keys = keys

    assert keyed.refuse(with_kid(server.wallet, None))[1] == "invalid_token"


@pytest.mark.parametrize(
    "algorithm", ["none", "HS256", "ES256K", "RS256", "EdDSA", ["ES256"], None], ids=repr
)
def test_a_token_does_not_choose_its_algorithm(keyed, server, algorithm):
    header = {"alg": algorithm, "typ": "at+jwt", "kid": "k1"}
    claims = {
        "iss": ISSUER,
        "aud": SERVICE,
        "sub": ALICE,
        "exp": NOW + 60,
        "cnf": {"jkt": WALLET.thumbprint},
    }

    assert keyed.refuse(signed(server.wallet.signer.key, header, claims))[1] == "invalid_token"


def test_clients_retry_later_while_the_key_set_is_unreachable(keyed, server):
    server.keys = None

    assert keyed.refuse(with_kid(server.wallet, "k1"))[:2] == (503, "ServiceUnavailable")


def test_a_public_key_of_the_set_does_not_verify_as_a_shared_secret(keyed, server):
    header = {"alg": "HS256", "typ": "at+jwt", "kid": "k1"}
    claims = {
        "iss": ISSUER,
        "aud": SERVICE,
        "sub": ALICE,
        "exp": NOW + 60,
        "cnf": {"jkt": WALLET.thumbprint},
    }
    forged = signed(Key("HS256", json.dumps(server.keys[0]).encode()), header, claims)

    assert keyed.refuse(forged)[1] == "invalid_token"


def test_a_token_without_a_proof_causes_no_request(keyed, server):
    other, expired = with_kid(server.wallet, "k9", sub=BOB), with_kid(server.wallet, "k9", exp=NOW)
    unbound = with_kid(server.wallet, "k9", cnf={"jkt": Wallet().thumbprint})
    elsewhere = with_kid(server.wallet, "k9", aud="did:web:other.test")
    endless, powerless = (
        with_kid(server.wallet, "k9", **changes) for changes in ({"exp": 1e300}, {"scope": "x"})
    )

    for token in (other, expired, unbound, elsewhere, endless, powerless):
        bare = credentials(f"DPoP {token}")
        assert refusal(keyed.authenticator.person, bare, UPLOAD, KINDS)[0] == 401
    for token in (expired, unbound, elsewhere, endless, powerless):
        assert keyed.refuse(token)[0] == 401
    for changes in ({"ath": "x"}, {"htu": "https://other.test/"}, {"nonce": "x"}, {"iat": 1}):
        assert keyed.refuse(other, WALLET.proof(other, keyed.nonce, **changes))[0] == 401

    assert server.asked == []


class Hanging(KeyServer):
    """Requests from the second on are answered only when released."""

    def __init__(self):
        super().__init__()
        self.under_way = threading.Semaphore(0)
        self._hold = threading.Event()
        self.threads = []

    def __call__(self, *arguments, **named):
        if self.asked:
            self.under_way.release()
            self._hold.wait(20)
        return super().__call__(*arguments, **named)

    def begin(self, call, *arguments):
        """Run *call* in a thread, and wait until it asks this server."""
        thread = threading.Thread(target=call, args=arguments)
        thread.start()
        self.threads.append(thread)
        assert self.under_way.acquire(timeout=10)

    def let_go(self):
        self._hold.set()
        for thread in self.threads:
            thread.join(20)


@pytest.fixture
def hanging(database):
    server = Hanging()
    yield server
    server.let_go()


@pytest.fixture
def slow(database, clock, tokens, hanging):
    return Door(database, clock, tokens, hanging, oauth_jwks_url="https://pds.test/jwks")


def fresh(door, token, clock):
    """Credentials of *token* with a current proof."""
    return token, WALLET.proof(token, dict(door.oauth.headers())["DPoP-Nonce"], iat=clock.seconds)


@pytest.mark.parametrize("why", ["an unknown kid", "their age"])
def test_known_keys_serve_while_one_asks_for_others(slow, hanging, clock, why):
    token, unknown = (
        with_kid(wallet, kid, exp=NOW + 2 * 3600)
        for wallet, kid in ((hanging.wallet, "k1"), (Wallet(), "k2"))
    )
    slow.enter(token)
    clock.advance({"an unknown kid": 11, "their age": 3600}[why])
    first = unknown if why == "an unknown kid" else with_kid(hanging.wallet, "k1", exp=NOW + 7000)
    outcome = []

    hanging.begin(lambda: outcome.append(tried(slow, *fresh(slow, first, clock))))

    assert [slow.enter(*fresh(slow, token, clock)).did for _ in range(5)] == [ALICE] * 5
    uncached = with_kid(hanging.wallet, "k1", exp=NOW + 6000)
    assert slow.enter(*fresh(slow, uncached, clock)).did == ALICE
    assert outcome == []
    hanging.let_go()
    assert outcome == ["invalid_token" if why == "an unknown kid" else ALICE]


def tried(door, token, proof):
    """The DID that is accepted, or the error of the refusal."""
    try:
        return door.enter(token, proof).did
    except BlobServiceError as error:
        return error.error


def test_no_more_than_so_many_wait_for_unknown_keys(slow, hanging, clock):
    slow.enter(with_kid(hanging.wallet, "k1"))
    clock.advance(11)
    outcomes = []

    def ask(number):
        token = with_kid(Wallet(), f"x{number}")
        outcomes.append(tried(slow, *fresh(slow, token, clock)))

    hanging.begin(ask, 0)
    for number in range(1, 61):
        thread = threading.Thread(target=ask, args=(number,))
        thread.start()
        hanging.threads.append(thread)
    assert becomes(lambda: len(outcomes) == 60 - 32)
    hanging.let_go()

    assert sorted(outcomes) == ["ServiceUnavailable"] * 28 + ["invalid_token"] * 33
    assert len(hanging.asked) == 2


def test_many_at_a_start_ask_once(slow, hanging):
    hanging.let_go()
    token = with_kid(hanging.wallet, "k1")
    let_in = []

    assert in_threads(lambda: let_in.append(slow.enter(token).did), 16) == []

    assert let_in == [ALICE] * 16
    assert len(hanging.asked) == 1


def test_a_key_that_the_issuer_removed_is_no_good_once_the_set_is_fetched_again(
    keyed, server, clock
):
    token = with_kid(server.wallet, "k1", exp=NOW + 2 * 3600)
    keyed.enter(token)
    successor = Wallet()
    server.keys = [successor.jwk | {"kid": "k2"}]
    clock.advance(3599)
    assert keyed.enter(*fresh(keyed, token, clock)).did == ALICE

    clock.advance(1)

    assert keyed.refuse(*fresh(keyed, token, clock))[1] == "invalid_token"


def test_a_set_that_was_fetched_for_another_token_takes_removed_keys_along(keyed, server, clock):
    token = with_kid(server.wallet, "k1")
    keyed.enter(token)
    successor = Wallet()
    server.keys = [successor.jwk | {"kid": "k2"}]
    clock.advance(11)
    assert keyed.enter(*fresh(keyed, with_kid(successor, "k2"), clock)).did == ALICE

    assert keyed.refuse(*fresh(keyed, token, clock))[1] == "invalid_token"


def test_a_key_that_was_replaced_under_its_name_is_found_in_an_hour(keyed, server, clock):
    keyed.enter(with_kid(server.wallet, "k1"))
    successor = Wallet()
    server.keys = [successor.jwk | {"kid": "k1"}]
    clock.advance(3600)

    token = with_kid(successor, "k1", exp=NOW + 2 * 3600)

    assert keyed.enter(*fresh(keyed, token, clock)).did == ALICE


def test_known_keys_serve_a_day_while_the_issuer_is_away_and_not_for_ever(keyed, server, clock):
    token = with_kid(server.wallet, "k1", exp=NOW + DAY)
    keyed.enter(token)
    keys, server.keys = server.keys, None
    clock.advance(DAY - 1)
    assert keyed.enter(*fresh(keyed, token, clock)).did == ALICE

    clock.advance(60)
    later = with_kid(server.wallet, "k1", exp=NOW + 2 * DAY, iat=clock.seconds)
    assert keyed.refuse(*fresh(keyed, later, clock))[:2] == (503, "ServiceUnavailable")
    clock.advance(10)
    server.keys = keys

    assert keyed.enter(*fresh(keyed, later, clock)).did == ALICE


def test_an_issuer_that_is_away_is_not_asked_by_each_token(keyed, server, clock):
    token = with_kid(server.wallet, "k1", exp=NOW + DAY)
    keyed.enter(token)
    server.keys = None
    clock.advance(3600)

    for _ in range(5):
        keyed.enter(*fresh(keyed, token, clock))
    assert len(server.asked) == 2

    clock.advance(59)
    keyed.enter(*fresh(keyed, token, clock))
    assert len(server.asked) == 2
    clock.advance(1)
    keyed.enter(*fresh(keyed, token, clock))
    assert len(server.asked) == 3


def test_keys_that_were_fetched_by_a_clock_that_was_set_back_are_fetched_again(
    keyed, server, clock
):
    years = 10 * 365 * DAY
    clock.advance(years)
    early = with_kid(server.wallet, "k1", exp=clock.seconds + 60)
    keyed.enter(*fresh(keyed, early, clock))
    clock.advance(-years)
    successor = Wallet()
    server.keys = [successor.jwk | {"kid": "k2"}]

    assert keyed.enter(*fresh(keyed, with_kid(successor, "k2"), clock)).did == ALICE


def test_a_token_that_a_key_of_sessions_signed_needs_no_key_set(keyed, server):
    server.keys = None

    assert keyed.enter().did == ALICE
    assert server.asked == []


@pytest.fixture
def introspecting(database, clock, tokens, server):
    settings = {
        "oauth_client_id": "blobs",
        "oauth_client_secret": "s&c",
        "oauth_unscoped": "nothing",
    }
    return Door(
        database,
        clock,
        tokens,
        server,
        oauth_introspection_url="https://pds.test/introspect",
        **settings,
    )


UNSCOPED = access_token(scope=None)


@pytest.mark.parametrize("token", [UNSCOPED, access_token(scope="ref:abc")], ids=["none", "ref"])
def test_a_scope_that_the_token_does_not_carry_is_asked_for(introspecting, server, token):
    person = introspecting.enter(token)

    assert person.may_upload("image/png") and not person.may_upload("video/mp4")
    url, body, headers = server.asked[0]
    assert url == "https://pds.test/introspect" and parse_qs(body.decode())["token"] == [token]
    assert headers["Authorization"] == "Basic YmxvYnM6cyUyNmM="


def test_an_answer_about_a_token_holds_for_a_minute(introspecting, server, clock):
    introspecting.enter(UNSCOPED)
    introspecting.enter(UNSCOPED)
    assert len(server.asked) == 1

    clock.advance(60)
    server.answer = {"active": False}

    assert introspecting.refuse(UNSCOPED) == (401, "invalid_token", "Token is not active")


def test_a_refusal_is_remembered_for_ten_seconds(introspecting, server, clock):
    server.answer = {"active": False}
    for _ in range(5):
        assert introspecting.refuse(UNSCOPED)[2] == "Token is not active"
    assert len(server.asked) == 1

    clock.advance(10)
    server.answer = {"active": True, "scope": "atproto"}

    assert introspecting.enter(UNSCOPED).did == ALICE


def test_a_server_that_is_away_is_not_asked_by_each_call(introspecting, server, clock):
    server.keys = None
    for _ in range(5):
        assert introspecting.refuse(UNSCOPED)[0] == 503
    assert len(server.asked) == 1

    clock.advance(5)
    server.keys = []

    assert introspecting.enter(UNSCOPED).did == ALICE


STATED = {
    "active": True,
    "scope": "atproto blob:image/*",
    "iss": ISSUER,
    "sub": ALICE,
    "aud": SERVICE,
    "exp": NOW + 3600,
    "client_id": "https://app.test/client",
    "jti": "tok-1",
    "cnf": {"jkt": WALLET.thumbprint},
    "token_type": "DPoP",
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"exp": NOW + 3600.5},
        {"aud": ["did:web:other.test", SERVICE]},
        {"cnf": {"jkt": WALLET.thumbprint, "x": 1}},
        dict.fromkeys(STATED.keys() - {"active", "scope"}),
    ],
    ids=repr,
)
def test_an_answer_that_describes_the_token_is_taken(introspecting, server, changes):
    server.answer = STATED | changes
    token = access_token(scope=None, client_id="https://app.test/client")

    assert introspecting.enter(token).may_upload("image/png")


@pytest.mark.parametrize(
    "name, value",
    [
        ("sub", BOB),
        ("sub", [ALICE]),
        ("sub", 5),
        ("iss", "https://evil.test"),
        ("aud", "did:web:other.test"),
        ("aud", ["did:web:other.test"]),
        ("aud", []),
        ("aud", {SERVICE: 1}),
        ("exp", NOW + 3601),
        ("exp", NOW - 1),
        ("exp", "soon"),
        ("exp", True),
        ("exp", 1e300),
        ("client_id", "https://other.test/client"),
        ("jti", "tok-2"),
        ("cnf", {"jkt": Wallet().thumbprint}),
        ("cnf", {}),
        ("cnf", "x"),
    ],
    ids=repr,
)
def test_an_answer_about_another_token_is_a_refusal(introspecting, server, name, value):
    server.answer = STATED | {name: value}
    token = access_token(scope=None, client_id="https://app.test/client")

    said = f'The authorization server knows the token with another "{name}"'
    assert introspecting.refuse(token) == (401, "invalid_token", said)
    assert introspecting.refuse(token) == (401, "invalid_token", said)
    assert len(server.asked) == 1


def test_many_uploads_with_one_token_cost_one_call(database, clock, tokens, hanging):
    door = Door(database, clock, tokens, hanging, oauth_introspection_url="https://pds.test/i")
    hanging.asked.append("so that the next one hangs")
    let_in = []
    hanging.begin(lambda: let_in.append(door.enter(UNSCOPED).did))
    started = threading.Barrier(60)

    def enter():
        started.wait(20)
        let_in.append(door.enter(UNSCOPED).did)

    hanging.threads += [threading.Thread(target=enter) for _ in range(59)]
    for thread in hanging.threads[1:]:
        thread.start()
    started.wait(20)
    hanging.let_go()

    assert let_in == [ALICE] * 60
    assert len(hanging.asked) == 2


def test_answers_about_the_last_4096_tokens_are_remembered(server, clock):
    config = Config(oauth_introspection_url="https://pds.test/introspect")
    introspection = Introspection(config, clock, server)
    for number in range(4097):
        introspection.scope(f"token {number}", {})

    for number in (4096, 1):
        introspection.scope(f"token {number}", {})
    assert len(server.asked) == 4097
    introspection.scope("token 0", {})
    assert len(server.asked) == 4098


@pytest.mark.parametrize(
    "answer", [{}, [], {"active": "true"}, {"active": 1, "scope": "atproto"}], ids=repr
)
def test_a_token_is_active_only_if_introspection_says_so(introspecting, server, answer):
    server.answer = answer

    assert introspecting.refuse(UNSCOPED)[1] == "invalid_token"


def test_clients_retry_later_while_introspection_is_down(introspecting, server):
    server.keys = None

    assert introspecting.refuse(UNSCOPED)[:2] == (503, "ServiceUnavailable")


@pytest.mark.parametrize("setting, granted", [("nothing", False), ("blobs", True)])
def test_a_setting_says_what_a_token_of_unknown_scope_may_do(
    database, clock, tokens, setting, granted
):
    door = Door(database, clock, tokens, oauth_unscoped=setting)

    assert door.enter(UNSCOPED).may_upload("image/png") is granted
