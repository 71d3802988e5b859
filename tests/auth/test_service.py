"""Service tokens: accepted and refused ones."""

import json
from base64 import urlsafe_b64encode

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.accounts import ALICE, BOB
from support.clock import NOW
from support.credentials import SERVICE, UPLOAD, Signer, base58, credentials, refusal, signed
from support.databases import database_url
from support.threads import in_threads

from aurora_blobs.auth import Administrator, Authenticator, Person
from aurora_blobs.auth.fetch import FetchFailed
from aurora_blobs.auth.identity import Identities
from aurora_blobs.auth.jwts import Key, parse_jwt
from aurora_blobs.auth.keys import parse_public_key
from aurora_blobs.auth.session import SessionTokens
from aurora_blobs.catalog import accounts
from aurora_blobs.config import Config
from aurora_blobs.db import open_database

KINDS = frozenset({"session", "service", "oauth"})
SIGNER = Signer()


class Web:
    """The DID documents of the network, and the DIDs that were looked up."""

    def __init__(self, **documents):
        self.documents = {ALICE: SIGNER.document(ALICE)} | documents
        self.asked = []

    def __call__(self, url, **_):
        did = "did:web:" + url.split("/")[2]
        self.asked.append(did)
        if did not in self.documents:
            raise FetchFailed("no such host")
        return json.dumps(self.documents[did]).encode()


@pytest.fixture
def web():
    return Web()


@pytest.fixture
def authenticator(database, clock, tokens, web):
    config = Config(
        service_did=SERVICE,
        service_audiences=(f"{SERVICE}#atproto_pds", "did:web:old.test"),
        moderation_did="did:web:mod.test",
    )
    return Authenticator(
        config,
        database,
        clock,
        tokens,
        identities=Identities(config, database, clock, web),
    )


@pytest.fixture
def authenticate(authenticator):
    return lambda token: authenticator.person(credentials(f"Bearer {token}"), UPLOAD, KINDS)


@pytest.fixture
def moderate(authenticator):
    return lambda token: authenticator.administrator(credentials(f"Bearer {token}"), MODERATE)


def test_an_account_may_upload_with_a_token_signed_by_its_key(authenticate):
    person = authenticate(SIGNER.token())

    assert person == Person(ALICE)
    assert person.may_upload("image/png")


@pytest.mark.parametrize("algorithm", ["ES256K", "ES256"])
@pytest.mark.parametrize("typ", ["JWT", None, "at+jwt+x"])
def test_both_curves_of_the_protocol_sign(authenticate, web, algorithm, typ):
    signer = Signer(algorithm)
    web.documents[ALICE] = signer.document(ALICE)

    assert authenticate(signer.token(typ)).did == ALICE


@pytest.mark.parametrize(
    "algorithm, kind",
    [
        ("ES256K", "EcdsaSecp256k1VerificationKey2019"),
        ("ES256", "EcdsaSecp256r1VerificationKey2019"),
    ],
)
@pytest.mark.parametrize(
    "form", [PublicFormat.CompressedPoint, PublicFormat.UncompressedPoint], ids=str
)
def test_keys_of_the_types_of_2019_are_read(authenticate, web, algorithm, kind, form):
    signer = Signer(algorithm)
    web.documents[ALICE] = signer.document(
        ALICE, type=kind, publicKeyMultibase=base58(signer.point(form))
    )

    assert authenticate(signer.token()).did == ALICE


LXM = f'jwt lexicon method ("lxm"). must match: {UPLOAD}'


@pytest.mark.parametrize(
    "token, expected",
    [
        (SIGNER.token(iss=None), (401, "BadJwt", "poorly formatted jwt")),
        (SIGNER.token(aud=None), (401, "BadJwt", "poorly formatted jwt")),
        (SIGNER.token(aud=[SERVICE]), (401, "BadJwt", "poorly formatted jwt")),
        (SIGNER.token(exp=None), (401, "BadJwt", "poorly formatted jwt")),
        (SIGNER.token(exp="soon"), (401, "BadJwt", "poorly formatted jwt")),
        (SIGNER.token(jti=7), (401, "BadJwt", "poorly formatted jwt")),
        (SIGNER.token(lxm=7), (401, "BadJwt", "poorly formatted jwt")),
        (SIGNER.token("at+jwt"), (401, "BadJwtType", 'Invalid jwt type "at+jwt"')),
        (SIGNER.token("refresh+jwt"), (401, "BadJwtType", 'Invalid jwt type "refresh+jwt"')),
        (SIGNER.token("dpop+jwt"), (401, "BadJwtType", 'Invalid jwt type "dpop+jwt"')),
        (
            SIGNER.token("application/AT+JWT"),
            (401, "BadJwtType", 'Invalid jwt type "application/AT+JWT"'),
        ),
        (SIGNER.token(exp=NOW), (401, "JwtExpired", "jwt expired")),
        (SIGNER.token(exp=NOW - 1), (401, "JwtExpired", "jwt expired")),
        (SIGNER.token(exp=NOW + 3601), (401, "BadJwt", "jwt lives longer than 3600 seconds")),
        (
            SIGNER.token(exp=NOW + 3631, iat=None),
            (401, "BadJwt", "jwt lives longer than 3600 seconds"),
        ),
        (
            SIGNER.token(exp=NOW + 10 * 365 * 86400, iat=NOW + 10 * 365 * 86400),
            (401, "BadJwt", None),
        ),
        (SIGNER.token(exp=10**400), (401, "BadJwt", "jwt lives longer than 3600 seconds")),
        (SIGNER.token(exp=-(10**400)), (401, "JwtExpired", "jwt expired")),
        (SIGNER.token(nbf=NOW + 31), (401, "BadJwt", "jwt is not yet valid")),
        (SIGNER.token(nbf="later"), (401, "BadJwt", "poorly formatted jwt")),
        (
            SIGNER.token(iat=NOW + 31),
            (401, "BadJwt", "jwt was issued more than 30 seconds in the future"),
        ),
        (SIGNER.token(exp=NOW + 3590, iat=NOW + 3500), (401, "BadJwt", None)),
        (SIGNER.token(exp=1e300), (401, "BadJwt", "jwt lives longer than 3600 seconds")),
        (
            SIGNER.token(lxm="com.atproto.repo.getRecord"),
            (401, "BadJwtLexiconMethod", f"bad {LXM}"),
        ),
        (SIGNER.token(lxm=""), (401, "BadJwtLexiconMethod", f"bad {LXM}")),
        (SIGNER.token(iss="alice.test"), (401, "BadJwtIss", "jwt iss is not a valid did")),
        (SIGNER.token(iss=f"{ALICE}#other"), (401, "BadJwtIss", "jwt iss is not a valid did")),
        (
            SIGNER.token(iss=f"{ALICE}#atproto_labeler"),
            (403, "AccountNotFound", "Account not found"),
        ),
        (SIGNER.token(iss="did:web:stranger.test"), (403, "AccountNotFound", "Account not found")),
        (Signer().token(), (401, "BadJwtSignature", "jwt signature does not match jwt issuer")),
        (Signer("ES256").token(), (401, "BadJwtSignature", "could not verify jwt signature")),
        (
            SIGNER.token(aud="did:web:other.test"),
            (401, "BadJwtAudience", "jwt audience does not match service did"),
        ),
        (
            SIGNER.token(aud=f"{SERVICE}#x"),
            (401, "BadJwtAudience", "jwt audience does not match service did"),
        ),
        (SIGNER.token(lxm=None), (400, "InvalidToken", "Token could not be verified")),
    ],
    ids=range(34),
)
def test_a_wrong_service_token_is_refused_by_name(authenticate, token, expected):
    status, name, message = refusal(authenticate, token)

    assert (status, name, message) == (*expected[:2], expected[2] or message)


WRONG = {
    "iss": "alice.test",
    "aud": "did:web:other.test",
    "lxm": "com.atproto.repo.getRecord",
    "exp": NOW - 1,
    "jti": 7,
}
RIGHT = {"iss": ALICE, "lxm": UPLOAD, "exp": NOW + 60, "jti": "j"}


@pytest.mark.parametrize(
    "typ, signer, right, name",
    [
        ("at+jwt", Signer(), [], "BadJwtType"),
        ("JWT", Signer(), [], "BadJwt"),
        ("JWT", Signer(), ["jti"], "JwtExpired"),
        ("JWT", Signer(), ["jti", "exp"], "BadJwtLexiconMethod"),
        ("JWT", Signer(), ["jti", "exp", "lxm"], "BadJwtIss"),
        ("JWT", Signer(), ["jti", "exp", "lxm", "iss"], "BadJwtSignature"),
        ("JWT", SIGNER, ["jti", "exp", "lxm", "iss"], "BadJwtAudience"),
    ],
    ids=["type", "shape", "time", "method", "issuer", "signature", "audience"],
)
def test_checks_fail_in_the_order_of_the_reference(authenticate, typ, signer, right, name):
    token = signer.token(typ, **(WRONG | {claim: RIGHT[claim] for claim in right}))

    authenticate(SIGNER.token())  # the key is cached from here on

    assert refusal(authenticate, token)[1] == name


def test_a_token_for_another_service_causes_no_key_lookup(authenticate, moderate, web):
    for signer in (SIGNER, Signer()):
        assert refusal(authenticate, signer.token(aud="did:web:other.test"))[1] == "BadJwtAudience"
    assert refusal(moderate, SIGNER.token(lxm=MODERATE))[1] == "UntrustedIss"

    assert web.asked == []


def test_a_token_of_another_account_causes_no_key_lookup(authenticator, web):
    create = "com.atproto.server.createAccount"
    shown = credentials(f"Bearer {SIGNER.token(lxm=create)}")

    assert not authenticator.newcomer(shown, create, BOB)
    assert web.asked == []
    assert authenticator.newcomer(shown, create, ALICE)
    assert web.asked == [ALICE]


@pytest.mark.parametrize(
    "audience", [SERVICE, f"{SERVICE}#atproto_pds", "did:web:old.test"], ids=str
)
def test_a_token_may_be_for_the_service_or_for_what_the_settings_name(authenticate, audience):
    assert authenticate(SIGNER.token(aud=audience)).did == ALICE


@pytest.mark.parametrize(
    "audience",
    [f"{SERVICE}#atproto_labeler", f"{SERVICE}#", "did:web:old.test#atproto_pds", "#atproto_pds"],
    ids=str,
)
def test_an_audience_is_compared_as_a_whole(authenticate, audience):
    assert refusal(authenticate, SIGNER.token(aud=audience))[1] == "BadJwtAudience"


def with_kid(kid, **changes):
    """A token of ALICE whose header names the key *kid*."""
    header = {"alg": "ES256K", "typ": "JWT", "kid": kid}
    return signed(SIGNER.key, header, parse_jwt(SIGNER.token(**changes)).claims)


@pytest.mark.parametrize("kid", ["atproto", "#atproto", f"{ALICE}#atproto", None], ids=str)
def test_a_token_may_name_the_key_that_signed_it(authenticate, kid):
    assert authenticate(with_kid(kid)).did == ALICE


@pytest.mark.parametrize(
    "kid",
    [
        "atproto_label",
        "#atproto_label",
        "other",
        "",
        "#",
        f"{BOB}#atproto",
        ALICE,
        5,
        ["atproto"],
        {"a": 1},
    ],
    ids=str,
)
def test_a_token_that_names_another_key_is_refused_without_a_lookup(authenticate, web, kid):
    # Both keys of the document are the same; only the name is wrong.
    web.documents[ALICE]["verificationMethod"] += SIGNER.document(ALICE, fragment="atproto_label")[
        "verificationMethod"
    ]

    assert refusal(authenticate, with_kid(kid)) == (
        401,
        "BadJwtSignature",
        'jwt key ("kid") must be the issuer\'s: atproto',
    )
    assert web.asked == []


def test_a_token_without_a_method_is_refused_where_a_service_must_sign(moderate):
    assert refusal(moderate, SIGNER.token(lxm=None)) == (
        401,
        "BadJwtLexiconMethod",
        f'missing jwt lexicon method ("lxm"). must match: {MODERATE}',
    )


def test_the_public_key_does_not_verify_as_a_shared_secret(authenticate):
    pem = SIGNER.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = parse_jwt(SIGNER.token()).claims

    for secret in (pem, SIGNER.point(), SIGNER.multikey.encode()):
        forged = Key("HS256", secret).sign("JWT", claims)
        assert refusal(authenticate, forged)[1] == "BadJwtSignature"


def test_a_token_works_once_even_after_a_restart(
    authenticate, database, clock, tokens, web, tmp_path
):
    token = SIGNER.token()
    assert authenticate(token).did == ALICE
    used = (401, "BadJwt", "jwt has been used before")
    assert refusal(authenticate, token) == used

    reopened = open_database(database_url(tmp_path / "db"), durable=False)
    config = Config(service_did=SERVICE)
    other = Authenticator(
        config, reopened, clock, tokens, identities=Identities(config, reopened, clock, web)
    )

    assert refusal(other.person, credentials(f"Bearer {token}"), UPLOAD, KINDS) == used
    reopened.close()


@pytest.mark.parametrize("jti", [None, ""], ids=repr)
def test_a_token_without_a_name_is_good_once_too(
    authenticate, authenticator, database, clock, tokens, web, jti
):
    token = SIGNER.token(jti=jti)
    another = SIGNER.token(jti=jti, exp=NOW + 59)
    assert authenticate(token).did == ALICE
    used = (401, "BadJwt", "jwt has been used before")

    other = Authenticator(
        Config(service_did=SERVICE),
        database,
        clock,
        tokens,
        identities=Identities(Config(), database, clock, web),
    )

    assert refusal(authenticate, token) == used
    assert refusal(authenticate, twin_of(token)) == used
    assert refusal(other.person, credentials(f"Bearer {token}"), UPLOAD, KINDS) == used
    assert authenticate(another).did == ALICE


@pytest.mark.parametrize(
    "jti", ["x" * 65, "x" * 8000, "caf\u00e9", "sha256.x", "a b"], ids=range(5)
)
def test_a_name_of_any_length_and_letters_takes_little_space(authenticate, database, jti):
    assert authenticate(SIGNER.token(jti=jti)).did == ALICE

    assert refusal(authenticate, SIGNER.token(jti=jti))[2] == "jwt has been used before"
    with database.read() as tx:
        ((name,),) = tx.all("SELECT jti FROM seen_token")
    assert len(name) <= 64 and name.isascii() and name.isprintable()


def test_a_token_works_once_when_many_use_it_at_once(authenticate):
    token = SIGNER.token()
    authenticate(SIGNER.token())
    let_in = []

    errors = in_threads(lambda: let_in.append(authenticate(token).did), 8)

    assert let_in == [ALICE]
    assert [error.message for error in errors] == ["jwt has been used before"] * 7


def test_a_refused_token_is_not_used_up(authenticate, web):
    web.documents[ALICE] = Signer().document(ALICE)
    token = SIGNER.token()
    assert refusal(authenticate, token)[1] == "BadJwtSignature"

    web.documents[ALICE] = SIGNER.document(ALICE)

    assert authenticate(token).did == ALICE


def twin_of(token):
    """*token* with its other valid signature, of high S."""
    head = token.rpartition(".")[0]
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    raw = parse_jwt(token).signature
    flipped = raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    return f"{head}.{urlsafe_b64encode(flipped).decode().rstrip('=')}"


def test_the_same_token_with_the_other_signature_is_still_a_replay(authenticate):
    token = SIGNER.token()
    twin = twin_of(token)
    assert authenticate(twin).did == ALICE

    assert refusal(authenticate, token)[2] == "jwt has been used before"


def test_a_key_that_was_rotated_is_asked_for_once_more(authenticate, web, clock):
    assert authenticate(SIGNER.token()).did == ALICE
    rotated = Signer()
    web.documents[ALICE] = rotated.document(ALICE)

    assert authenticate(rotated.token()).did == ALICE
    assert web.asked == [ALICE] * 2
    assert refusal(authenticate, SIGNER.token())[1] == "BadJwtSignature"


def test_a_strangers_bad_signature_does_not_keep_a_new_key_out(authenticate, web):
    assert refusal(authenticate, Signer().token())[1] == "BadJwtSignature"
    rotated = Signer()
    web.documents[ALICE] = rotated.document(ALICE)

    assert authenticate(rotated.token()).did == ALICE


def test_a_key_of_the_other_curve_may_follow(authenticate, web):
    authenticate(SIGNER.token())
    rotated = Signer("ES256")
    web.documents[ALICE] = rotated.document(ALICE)

    assert authenticate(rotated.token()).did == ALICE


def test_bad_signatures_do_not_cause_repeated_lookups(authenticate, web, clock):
    for _ in range(20):
        refusal(authenticate, Signer().token())
    assert len(web.asked) == 1 + 6

    clock.advance(10)
    for _ in range(20):
        refusal(authenticate, Signer().token())
    assert len(web.asked) == 1 + 7


def test_an_unsigned_issuer_causes_no_request(authenticate, web):
    for number in range(5):
        refusal(authenticate, SIGNER.token(iss=f"did:web:victim{number}.test"))

    assert web.asked == []


def test_an_account_that_was_taken_down_is_refused_and_one_that_is_deactivated_is_not(
    authenticate, database
):
    with database.write() as tx:
        accounts.set_deactivated(tx, ALICE, 1)
    assert authenticate(SIGNER.token()).deactivated

    with database.write() as tx:
        accounts.take_down(tx, ALICE, 1, "ref")

    assert refusal(authenticate, SIGNER.token()) == (
        401,
        "AccountTakedown",
        "Account has been taken down",
    )


def test_an_issuer_that_does_not_resolve_or_has_no_key_is_refused(authenticate, web, clock):
    del web.documents[ALICE]
    assert refusal(authenticate, SIGNER.token()) == (
        401,
        "AuthenticationRequired",
        "could not resolve iss did",
    )

    clock.advance(61)
    web.documents[ALICE] = SIGNER.document(ALICE, fragment="other")

    late = SIGNER.token(exp=clock.seconds + 60)
    assert refusal(authenticate, late) == (
        401,
        "AuthenticationRequired",
        "missing or bad key in did doc",
    )


MODERATE = "com.atproto.admin.updateSubjectStatus"


@pytest.mark.parametrize(
    "issuer, fragment",
    [("did:web:mod.test", "atproto"), ("did:web:mod.test#atproto_labeler", "atproto_label")],
)
def test_the_moderation_service_may_do_what_the_administrator_may(moderate, web, issuer, fragment):
    web.documents["did:web:mod.test"] = SIGNER.document("did:web:mod.test", fragment=fragment)

    assert moderate(SIGNER.token(iss=issuer, lxm=MODERATE)) == Administrator(issuer)


def test_only_the_moderation_service_may_moderate(moderate, tokens):
    untrusted = refusal(moderate, SIGNER.token(lxm=MODERATE))
    session = refusal(moderate, tokens.access(ALICE, session_id=None))

    assert untrusted == (401, "UntrustedIss", "Untrusted issuer")
    assert session == (401, "BadJwtType", 'Invalid jwt type "at+jwt"')


@pytest.mark.parametrize("algorithm", ["ES256K", "ES256"])
def test_a_session_token_of_the_entryway_is_taken(database, clock, algorithm):
    entryway = Signer(algorithm)
    tokens = SessionTokens(
        ("f" * 32,), SERVICE, clock, entryway_key=parse_public_key(f"did:key:{entryway.multikey}")
    )
    claims = {"sub": ALICE, "aud": SERVICE, "scope": "com.atproto.access", "exp": NOW + 60}

    assert tokens.verify_access(entryway.key.sign("at+jwt", claims)).did == ALICE
    assert (
        refusal(tokens.verify_access, Signer(algorithm).key.sign("at+jwt", claims))[1]
        == "InvalidToken"
    )


def test_the_key_of_an_entryway_may_be_hex_as_the_pds_writes_it():
    signer = Signer()

    assert parse_public_key(signer.point().hex()) == parse_public_key(f"did:key:{signer.multikey}")


def test_a_pds_brings_its_accounts_with_their_first_session_token(database, clock, tokens):
    external = Authenticator(
        Config(service_did=SERVICE, accounts="external"), database, clock, tokens
    )
    bob = BOB
    refused = refusal(
        external.person, credentials(f"Bearer {SIGNER.token(iss=bob)}"), UPLOAD, KINDS
    )
    assert refused == (403, "AccountNotFound", "Account not found")

    token = tokens.access(bob, session_id=None)

    assert external.person(credentials(f"Bearer {token}"), UPLOAD, KINDS).did == bob
    with database.read() as tx:
        assert accounts.find(tx, bob).handle is None
