"""Random malformed credentials: each is refused with an error of the service."""

import json
import random
from base64 import urlsafe_b64encode

import pytest
from support.accounts import ALICE
from support.clock import NOW
from support.credentials import (
    SECRET,
    SERVICE,
    UPLOAD,
    Signer,
    Wallet,
    base64url,
    credentials,
    signed,
)

from aurora_blobs.auth import Authenticator
from aurora_blobs.auth.identity import Identities
from aurora_blobs.auth.jwts import secret_key
from aurora_blobs.config import Config
from aurora_blobs.errors import BlobServiceError

ROUNDS = 400
KINDS = frozenset({"session", "service", "oauth"})
SIGNER, WALLET, KEY = Signer(), Wallet(), secret_key(SECRET)
SESSION = {
    "sub": ALICE,
    "aud": SERVICE,
    "scope": "com.atproto.access",
    "exp": NOW + 60,
    "iat": NOW,
    "sid": "s1",
}
SERVICE_CLAIMS = {
    "iss": ALICE,
    "aud": SERVICE,
    "lxm": UPLOAD,
    "exp": NOW + 60,
    "iat": NOW,
    "jti": "j",
}
OAUTH = {
    "iss": "https://pds.test",
    "aud": SERVICE,
    "sub": ALICE,
    "exp": NOW + 60,
    "scope": "atproto",
    "cnf": {"jkt": WALLET.thumbprint},
}
ODD = [
    None,
    True,
    0,
    -1,
    1e308,
    2**70,
    10**400,
    0.5,
    "",
    "\x00",
    "\ud800",
    "did:web:",
    "did:plc:" + "a" * 3000,
    ALICE + "#atproto_labeler",
    "x" * 5000,
    [],
    [ALICE],
    {},
    {"jkt": 5},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
    {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
    {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
    [[[[[[]]]]]],
]


@pytest.fixture
def chance(request):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.fixture
def enter(database, clock, tokens):
    config = Config(service_did=SERVICE, oauth_issuer="https://pds.test", oauth_unscoped="blobs")
    document = json.dumps(SIGNER.document(ALICE)).encode()
    identities = Identities(config, database, clock, lambda url, **_: document)
    authenticator = Authenticator(config, database, clock, tokens, identities=identities)
    nonce = dict(authenticator.headers(credentials("DPoP x")))["DPoP-Nonce"]

    def enter(authorization, proof=None):
        """The DID of the credentials; None if they are refused."""
        try:
            return authenticator.person(credentials(authorization, proof), UPLOAD, KINDS).did
        except BlobServiceError as error:
            assert error.status < 500
            return None

    enter.nonce = nonce
    return enter


def bent(chance, claims):
    """*claims* with an existing or new one set to an odd value."""
    name = chance.choice([*claims, "lxm", "cnf", "nbf", "crit", "jti"])
    return claims | {name: chance.choice(ODD)}


def test_malformed_signed_tokens_are_refused_or_harmless(enter, chance):
    outcomes = set()
    for _ in range(ROUNDS):
        header = (
            bent(chance, {"alg": "HS256", "typ": "at+jwt"})
            if chance.random() < 0.3
            else {"alg": "HS256", "typ": "at+jwt"}
        )
        outcomes.add(enter("Bearer " + signed(KEY, header, bent(chance, SESSION))))
        header = (
            bent(chance, {"alg": "ES256K", "typ": "JWT"})
            if chance.random() < 0.3
            else {"alg": "ES256K", "typ": "JWT"}
        )
        outcomes.add(enter("Bearer " + signed(SIGNER.key, header, bent(chance, SERVICE_CLAIMS))))

    assert outcomes <= {None, ALICE}


def test_malformed_bound_tokens_are_refused_or_harmless(enter, chance):
    outcomes = set()
    for _ in range(ROUNDS):
        token = signed(KEY, {"alg": "HS256", "typ": "at+jwt"}, bent(chance, OAUTH))
        outcomes.add(enter(f"DPoP {token}", WALLET.proof(token, enter.nonce)))
        token = KEY.sign("at+jwt", OAUTH)
        changes = {
            chance.choice(["jti", "htm", "htu", "iat", "ath", "nonce", "x"]): chance.choice(ODD)
        }
        header = {chance.choice(["jwk", "alg", "typ", "crit", "kid"]): chance.choice(ODD)}
        outcomes.add(enter(f"DPoP {token}", WALLET.proof(token, enter.nonce, header=header)))
        outcomes.add(enter(f"DPoP {token}", WALLET.proof(token, enter.nonce, **changes)))

    assert outcomes <= {None, ALICE}


def test_a_token_with_one_character_changed_lets_nobody_in(enter, chance):
    token = KEY.sign("at+jwt", SESSION)
    for _ in range(ROUNDS):
        place = chance.randrange(len(token))
        other = chance.choice(
            [letter for letter in "ABCxyz019-_.=+/ \n\x00é" if letter != token[place]]
        )
        assert enter("Bearer " + token[:place] + other + token[place + 1 :]) is None


def test_random_bytes_let_nobody_in(enter, chance):
    for _ in range(ROUNDS):
        parts = [
            base64url(chance.randbytes(chance.randrange(60))) for _ in range(chance.randrange(1, 5))
        ]
        text = ".".join(parts)
        assert enter(chance.choice(["Bearer ", "DPoP ", "Basic ", ""]) + text, text) is None
        pieces = [
            urlsafe_b64encode(json.dumps(chance.choice(ODD)).encode()).decode() for _ in range(3)
        ]
        assert enter("Bearer " + ".".join(piece.rstrip("=") for piece in pieces)) is None
