"""Session tokens: access and refresh tokens, accepted and refused ones."""

import hmac
import json
import os
import stat
from base64 import b64encode, urlsafe_b64encode

import pytest
from support.accounts import ALICE, BOB
from support.credentials import NOW, SECRET, SERVICE, UPLOAD, Signer, credentials, refusal
from support.threads import in_threads

from aurora_blobs.auth import Administrator, Authenticator, Person
from aurora_blobs.auth.jwts import Key, secret_key
from aurora_blobs.auth.session import RefreshClaims, SessionTokens, open_secrets
from aurora_blobs.catalog import accounts, sessions
from aurora_blobs.config import Config, ConfigError


def claims(**changes):
    base = {
        "sub": ALICE,
        "aud": SERVICE,
        "scope": "com.atproto.access",
        "iat": NOW,
        "exp": NOW + 7200,
    }
    return {name: value for name, value in (base | changes).items() if value is not None}


def minted(typ="at+jwt", secret=SECRET, **changes):
    return secret_key(secret).sign(typ, claims(**changes))


def unsigned(header, body, signature=""):
    def part(value):
        return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part(header)}.{part(body)}.{signature}"


SESSION = frozenset({"session"})
UNVERIFIED = (400, "InvalidToken", "Token could not be verified")
MALFORMED = (400, "InvalidToken", "Malformed token")
BAD_SCOPE = (400, "InvalidToken", "Bad token scope")
TOO_LONG = (400, "InvalidToken", "Token lives longer than 86400 seconds")


@pytest.mark.parametrize(
    "header, expected",
    [
        (None, (401, "AuthMissing", "Authentication Required")),
        ("Bearer", (400, "InvalidToken", "Malformed authorization header")),
        ("Bearer a b", (400, "InvalidToken", "Malformed authorization header")),
        ("Bearer  a", (400, "InvalidToken", "Malformed authorization header")),
        ("", (400, "InvalidToken", "Malformed authorization header")),
        ("Digest abc", (400, "InvalidToken", "Unsupported authorization type: Digest")),
        ("Basic YWRtaW46eA==", (400, "InvalidToken", "Unexpected authorization type")),
        ("Bearer garbage", UNVERIFIED),
        ("bearer ..", UNVERIFIED),
    ],
    ids=repr,
)
def test_a_malformed_header_is_refused_by_name(authenticator, header, expected):
    assert refusal(authenticator.person, credentials(header), UPLOAD, SESSION) == expected


@pytest.mark.parametrize(
    "scope", ["com.atproto.access", "com.atproto.appPass", "com.atproto.appPassPrivileged"]
)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_an_access_token_is_accepted(authenticator, scheme, scope):
    person = authenticator.person(credentials(f"{scheme} {minted(scope=scope)}"), UPLOAD, SESSION)

    assert person == Person(ALICE)


@pytest.mark.parametrize(
    "token, expected",
    [
        (minted(exp=NOW), (400, "ExpiredToken", "Token has expired")),
        (minted(exp=NOW - 0.5), (400, "ExpiredToken", "Token has expired")),
        (minted(aud="did:web:other.test"), UNVERIFIED),
        (minted(aud=None), UNVERIFIED),
        (minted(aud=[SERVICE]), MALFORMED),
        (minted(typ="JWT"), UNVERIFIED),
        (minted(typ="refresh+jwt"), UNVERIFIED),
        (minted(typ="dpop+jwt"), UNVERIFIED),
        (minted(typ=None), UNVERIFIED),
        (minted(secret="another secret of a good length!"), UNVERIFIED),
        (minted(exp=None), UNVERIFIED),
        (minted(exp="tomorrow"), UNVERIFIED),
        (minted(exp=True), UNVERIFIED),
        (minted(nbf=NOW + 60), UNVERIFIED),
        (minted(iat=NOW + 181, exp=NOW + 7200), UNVERIFIED),
        (minted(exp=NOW + 86_401), TOO_LONG),
        (minted(exp=NOW + 60, iat=NOW - 86_400), TOO_LONG),
        (minted(exp=NOW + 86_400 + 181, iat=None), TOO_LONG),
        (minted(exp=1e300), TOO_LONG),
        (minted(exp=1e300, iat=1e300), TOO_LONG),
        (minted(exp=1e300, iat=None), TOO_LONG),
        (minted(exp=float("inf")), UNVERIFIED),
        (minted(exp=float("nan")), UNVERIFIED),
        (minted(scope="com.atproto.refresh"), BAD_SCOPE),
        (minted(scope="com.atproto.takendown"), BAD_SCOPE),
        (minted(scope="com.atproto.signupQueued"), BAD_SCOPE),
        (minted(scope="com.atproto.access atproto"), BAD_SCOPE),
        (minted(scope="com.example.unknown"), BAD_SCOPE),
        (minted(scope=None), BAD_SCOPE),
        (minted(scope=["com.atproto.access"]), BAD_SCOPE),
        (minted(sub="alice.test"), MALFORMED),
        (minted(sub=ALICE + "\n"), MALFORMED),
        (minted(sub=[ALICE]), MALFORMED),
        (minted(sub=None), MALFORMED),
        (minted(cnf={"jkt": "x"}), MALFORMED),
        (minted(lxm=UPLOAD), MALFORMED),
        (minted(sid=5), MALFORMED),
        (minted(sub=BOB), (403, "AccountNotFound", "Account not found")),
        (minted(sid="ended"), (400, "ExpiredToken", "Token has been revoked")),
    ],
    ids=range(39),
)
def test_a_wrong_access_token_is_refused_by_name(authenticator, token, expected):
    assert (
        refusal(authenticator.person, credentials(f"Bearer {token}"), UPLOAD, SESSION) == expected
    )


HEADER, SIGNED = {"alg": "HS256", "typ": "at+jwt"}, minted()


@pytest.mark.parametrize(
    "token",
    [
        unsigned({"alg": "none", "typ": "at+jwt"}, claims()),
        unsigned({"alg": "none", "typ": "at+jwt"}, claims(), SIGNED.rpartition(".")[2]),
        unsigned({"typ": "at+jwt"}, claims(), SIGNED.rpartition(".")[2]),
        unsigned({"alg": ["HS256"], "typ": "at+jwt"}, claims(), SIGNED.rpartition(".")[2]),
        unsigned(HEADER, claims(), "AAAA"),
        Key("HS384", SECRET.encode()).sign("at+jwt", claims()),
        Key("HS512", SECRET.encode()).sign("at+jwt", claims()),
        Signer("ES256").key.sign("at+jwt", claims()),
        Signer("ES256K").key.sign("at+jwt", claims()),
        SIGNED + "=",
        SIGNED[:-1],
        SIGNED + ".",
        SIGNED.replace(".", ".~", 1),
        SIGNED[:-1] + chr(ord(SIGNED[-1]) + 1),
        unsigned(HEADER, [1], "AAAA"),
        unsigned(HEADER, {"sub": "x" * 20_000}, "AAAA"),
        "e30.bnVsbA.AAAA",
        "e30.eyJ4IjpOYU59.AAAA",
        urlsafe_b64encode(b'{"a":' + b"[" * 5000).decode().rstrip("=") + ".e30.AAAA",
    ],
    ids=range(19),
)
def test_a_forged_or_broken_token_could_not_be_verified(authenticator, token):
    assert (
        refusal(authenticator.person, credentials(f"Bearer {token}"), UPLOAD, SESSION) == UNVERIFIED
    )


@pytest.mark.parametrize(
    "extension", [{"crit": ["b64"], "b64": False}, {"crit": []}, {"b64": False}], ids=repr
)
def test_a_token_with_critical_extensions_is_refused_even_if_signed(tokens, extension):
    key = secret_key(SECRET)
    header = {"alg": "HS256", "typ": "at+jwt"} | extension
    signed = unsigned(header, claims()).rstrip(".")
    signature = urlsafe_b64encode(hmac.digest(key.material, signed.encode(), "sha256")).decode()

    assert refusal(tokens.verify_access, f"{signed}.{signature.rstrip('=')}") == UNVERIFIED


@pytest.mark.parametrize("kid", ["unknown", "../../dev/null", 7], ids=repr)
def test_a_kid_chooses_no_key(tokens, kid):
    signed = unsigned({"alg": "HS256", "typ": "at+jwt", "kid": kid}, claims()).rstrip(".")
    signature = urlsafe_b64encode(hmac.digest(b"", signed.encode(), "sha256")).decode().rstrip("=")

    assert refusal(tokens.verify_access, f"{signed}.{signature}") == UNVERIFIED


def test_an_account_that_was_taken_down_is_refused_and_one_that_is_deactivated_may_upload(
    authenticator, database
):
    with database.write() as tx:
        accounts.set_deactivated(tx, ALICE, 1)

    person = authenticator.person(credentials(f"Bearer {minted()}"), UPLOAD, SESSION)

    assert refusal(person.require_active) == (
        401,
        "AccountDeactivated",
        "Account is deactivated",
    )
    with database.write() as tx:
        accounts.take_down(tx, ALICE, 1, "ref")
    taken_down = (401, "AccountTakedown", "Account has been taken down")
    assert (
        refusal(authenticator.person, credentials(f"Bearer {minted()}"), UPLOAD, SESSION)
        == taken_down
    )


def test_a_method_may_allow_a_taken_down_account(authenticator, database):
    with database.write() as tx:
        accounts.take_down(tx, ALICE, 1, "ref")

    person = authenticator.person(
        credentials(f"Bearer {minted()}"), UPLOAD, SESSION, allow_taken_down=True
    )

    assert person.taken_down


def test_ending_a_session_ends_its_access_tokens_at_once(authenticator, database, tokens):
    access = credentials(f"Bearer {tokens.access(ALICE, session_id='s1')}")
    assert authenticator.person(access, UPLOAD, SESSION) == Person(ALICE)

    with database.write() as tx:
        sessions.end(tx, "s1")

    assert refusal(authenticator.person, access, UPLOAD, SESSION)[2] == "Token has been revoked"


def test_a_verified_token_expires(tokens, clock):
    token = tokens.access(ALICE, session_id=None)
    assert tokens.verify_access(token).did == ALICE

    clock.advance(7199)
    assert tokens.verify_access(token).did == ALICE
    clock.advance(1)

    assert refusal(tokens.verify_access, token) == (400, "ExpiredToken", "Token has expired")


def test_a_method_may_ask_for_a_full_session(authenticator):
    app_password = credentials(f"Bearer {minted(scope='com.atproto.appPass')}")
    full = frozenset({"com.atproto.access"})

    assert refusal(authenticator.person, app_password, UPLOAD, SESSION, scopes=full) == BAD_SCOPE


@pytest.mark.parametrize(
    "changes",
    [{"exp": NOW + 86_400}, {"iat": NOW + 180, "exp": NOW + 86_580}],
    ids=["a day", "by a clock that is ahead"],
)
def test_an_access_token_may_live_a_day(tokens, changes):
    assert tokens.verify_access(minted(**changes)).did == ALICE


def test_a_session_holds_though_the_clock_was_set_back(tokens, clock):
    token = tokens.access(ALICE, session_id="s1")
    clock.advance(-7200)

    assert tokens.verify_access(token).session_id == "s1"


@pytest.mark.parametrize("expires_at", [1e300, NOW + 91 * 86_400], ids=repr)
def test_no_refresh_token_lives_longer_than_90_days(tokens, expires_at):
    token = minted("refresh+jwt", scope="com.atproto.refresh", exp=expires_at, sid="s", jti="j")

    assert refusal(tokens.verify_refresh, token) == (
        400,
        "InvalidToken",
        "Token lives longer than 7776000 seconds",
    )


def test_a_refresh_token_names_its_session_and_itself(tokens):
    token = tokens.refresh(ALICE, session_id="s1", jti="j1")

    found = tokens.verify_refresh(token)

    assert found == RefreshClaims(ALICE, "s1", "j1")


def test_a_refresh_token_is_good_for_90_days(tokens, clock):
    token = tokens.refresh(ALICE, session_id="s1", jti="j1")

    clock.advance(90 * 86400 - 1)
    assert tokens.verify_refresh(token).jti == "j1"
    clock.advance(1)

    assert refusal(tokens.verify_refresh, token) == (400, "ExpiredToken", "Token has expired")


def test_access_and_refresh_tokens_do_not_replace_each_other(tokens, authenticator):
    access, refresh = (
        tokens.access(ALICE, session_id="s1"),
        tokens.refresh(ALICE, session_id="s1", jti="j1"),
    )

    assert refusal(tokens.verify_refresh, access) == UNVERIFIED
    assert refusal(tokens.verify_access, refresh) == UNVERIFIED
    assert authenticator.refresh(credentials(f"Bearer {refresh}")).jti == "j1"
    assert refusal(authenticator.refresh, credentials(f"Bearer {access}")) == UNVERIFIED


def test_secrets_rotate_the_first_signs_and_all_verify(clock):
    old, new = SECRET, "f" * 32
    before = SessionTokens((old,), SERVICE, clock).access(ALICE, session_id=None)
    rotated, after = (
        SessionTokens((new, old), SERVICE, clock),
        SessionTokens((new,), SERVICE, clock),
    )

    assert rotated.verify_access(before).did == ALICE
    assert after.verify_access(rotated.access(ALICE, session_id=None)).did == ALICE
    assert refusal(after.verify_access, before) == UNVERIFIED


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path):
    config = Config(data_dir=tmp_path / "data")
    made = []

    assert in_threads(lambda: made.append(open_secrets(config)), 8) == []

    assert len(set(made)) == 1 and len(made[0][0]) == 64
    assert os.listdir(config.data_dir) == ["jwt.secret"]
    assert stat.S_IMODE((config.data_dir / "jwt.secret").stat().st_mode) == 0o600


def test_a_secret_that_was_half_made_is_made_anew(tmp_path):
    (tmp_path / "jwt.secret.new").write_text("half")

    (secret,) = open_secrets(Config(data_dir=tmp_path))

    assert len(secret) == 64
    assert os.listdir(tmp_path) == ["jwt.secret"]


def test_a_configured_secret_is_used_and_nothing_is_written(tmp_path):
    config = Config(data_dir=tmp_path / "data", jwt_secret=(SECRET,))

    assert open_secrets(config) == (SECRET,)
    assert not config.data_dir.exists()


def test_a_damaged_secret_file_ends_the_start(tmp_path):
    (tmp_path / "jwt.secret").write_text("\n")

    with pytest.raises(ConfigError, match="jwt.secret"):
        open_secrets(Config(data_dir=tmp_path))


ADMIN_REFUSED = (401, "AuthenticationRequired", "Authentication Required")


def basic(pair):
    return credentials("Basic " + b64encode(pair.encode()).decode())


def test_the_administrator_is_let_in_by_password(authenticator):
    assert authenticator.administrator(basic("admin:open sesame"), "x") == Administrator()


@pytest.mark.parametrize(
    "pair", ["admin:wrong", "admin:", "root:open sesame", "admin", "admin:open sesam\xe9"]
)
def test_the_administrator_is_refused_with_anything_else(authenticator, pair):
    assert refusal(authenticator.administrator, basic(pair), "x") == ADMIN_REFUSED


@pytest.mark.parametrize("header", [None, "Basic !!!!", "Basic \xe9"])
def test_malformed_admin_credentials_are_refused_alike(authenticator, header):
    assert refusal(authenticator.administrator, credentials(header), "x") == ADMIN_REFUSED


@pytest.mark.parametrize("pair", ["admin:", "admin:None", "admin:open sesame"])
def test_without_an_admin_password_everybody_is_refused(database, clock, tokens, pair):
    authenticator = Authenticator(Config(service_did=SERVICE), database, clock, tokens)

    assert refusal(authenticator.administrator, basic(pair), "x") == ADMIN_REFUSED


def test_a_public_method_knows_the_owner_and_the_administrator(authenticator, database):
    with database.write() as tx:
        accounts.take_down(tx, ALICE, 1, "ref")
    owner = minted(scope="com.atproto.takendown")

    assert authenticator.optional(credentials(None), "x") is None
    assert authenticator.optional(credentials(f"Bearer {owner}"), "x").did == ALICE
    assert authenticator.optional(basic("admin:open sesame"), "x") == Administrator()
    assert authenticator.optional(credentials(f"Bearer {minted(sub=BOB)}"), "x") is None
    assert refusal(authenticator.optional, credentials("Bearer garbage"), "x") == UNVERIFIED
