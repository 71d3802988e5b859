"""OAuth: tokens that are bound to a key, the proofs that come with them, and where their scope comes from."""

import hmac
import json
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

from aurora_blobs.auth import Authenticator, Person
from aurora_blobs.auth.dpop import Nonces
from aurora_blobs.auth.fetch import FetchFailed
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


class Door:
    """An authenticator with OAuth, and the nonce that it gave out last."""

    def __init__(self, database, clock, tokens, fetch_url=None, **settings):
        config = Config(**(SETTINGS | settings))
        oauth = OAuthTokens(config, tokens, database, clock, fetch_url)
        self.nonce = dict(oauth.headers())["DPoP-Nonce"]
        self.authenticator = Authenticator(config, database, clock, tokens, oauth=oauth)

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
def test_a_proof_that_is_not_quite_right_is_refused_by_name(door, header, changes, name, message):
    proof = WALLET.proof(TOKEN, door.nonce, header=header, **changes)

    status, error, said = door.refuse(proof=proof)

    assert (status, error, said) == (401, name, message or said)


@pytest.mark.parametrize("proof", ["x", "a.b.c", TOKEN, f"{TOKEN}, {TOKEN}"], ids=range(4))
def test_what_is_no_proof_at_all_is_refused(door, proof):
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
        (access_token(scope="blob:*/*"), "Invalid scope"),
        (access_token(scope=""), "Invalid scope"),
    ],
    ids=range(20),
)
def test_a_token_that_is_not_quite_right_is_an_invalid_token(door, token, name):
    assert door.refuse(token) == (401, "invalid_token", name)


def test_a_session_token_sent_with_dpop_is_an_invalid_token_with_and_without_a_proof(door, tokens):
    session = tokens.access(ALICE, session_id=None)

    assert door.refuse(session)[:2] == (401, "invalid_token")
    bare = credentials(f"DPoP {session}")
    assert refusal(door.authenticator.person, bare, UPLOAD, KINDS)[:2] == (401, "invalid_token")


def test_a_bound_token_is_worth_nothing_without_its_proof(door):
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


def test_the_token_of_another_wallet_with_the_same_jti_is_no_replay(door):
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
def test_a_refusal_says_how_to_do_better_where_scripts_can_read_it(door, token, proof_nonce, name):
    with pytest.raises(BlobServiceError) as caught:
        door.enter(token, WALLET.proof(token, proof_nonce or door.nonce))

    headers = caught.value.headers
    algorithms = "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES256K ES384 ES512"
    assert dict(headers)["WWW-Authenticate"].startswith(f'DPoP algs="{algorithms}", error="{name}"')
    assert dict(headers)["Access-Control-Expose-Headers"] == "WWW-Authenticate"


@pytest.mark.parametrize("scheme", ["DPoP", "dpop"])
def test_what_was_sent_with_a_proof_is_answered_with_the_next_nonce(door, scheme):
    answered = door.authenticator.headers(credentials(f"{scheme} garbage", None))

    assert answered == (("DPoP-Nonce", door.nonce), ("Access-Control-Expose-Headers", "DPoP-Nonce"))


@pytest.mark.parametrize("authorization", [None, f"Bearer {TOKEN}"])
def test_nobody_else_is_given_a_nonce(door, authorization):
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
    """An authorization server: its key set, and what it says about tokens."""

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


def test_an_unknown_kid_is_asked_for_once_and_chooses_nothing_else(keyed, server, clock):
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


def test_unknown_kids_do_not_make_us_ask_again_and_again(keyed, server):
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


def test_while_the_key_set_cannot_be_had_clients_are_told_to_come_back(keyed, server):
    server.keys = None

    assert keyed.refuse(with_kid(server.wallet, "k1"))[:2] == (503, "ServiceUnavailable")


def test_a_public_key_of_the_set_is_no_shared_secret(keyed, server):
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


@pytest.mark.parametrize(
    "answer", [{}, [], {"active": "true"}, {"active": 1, "scope": "atproto"}], ids=repr
)
def test_only_a_clear_yes_makes_a_token_active(introspecting, server, answer):
    server.answer = answer

    assert introspecting.refuse(UNSCOPED)[1] == "invalid_token"


def test_while_introspection_is_away_clients_are_told_to_come_back(introspecting, server):
    server.keys = None

    assert introspecting.refuse(UNSCOPED)[:2] == (503, "ServiceUnavailable")


@pytest.mark.parametrize("setting, granted", [("nothing", False), ("blobs", True)])
def test_a_setting_says_what_a_token_of_unknown_scope_may_do(
    database, clock, tokens, setting, granted
):
    door = Door(database, clock, tokens, oauth_unscoped=setting)

    assert door.enter(UNSCOPED).may_upload("image/png") is granted
