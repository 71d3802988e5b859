"""Credentials over HTTP, through the whole application."""

import time
from base64 import b64encode

import pytest
from support.accounts import ALICE, BOB
from support.credentials import Wallet
from support.services import services_of

from aurora_blobs.app import create_app
from aurora_blobs.auth.jwts import secret_key
from aurora_blobs.catalog import accounts
from aurora_blobs.config import Config
from aurora_blobs.config_values import Limit

SECRET = "0123456789abcdef0123456789abcdef"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
UPLOAD = "/xrpc/com.atproto.repo.uploadBlob"
WALLET = Wallet()


@pytest.fixture
def make(tmp_path):
    """``make(**settings)`` makes an application with the account ALICE."""
    made = []

    def make(**settings):
        config = Config(
            data_dir=tmp_path, jwt_secret=(SECRET,), admin_password="open sesame", **settings
        )
        app = create_app(config)
        database = services_of(app).database
        with database.write() as tx:
            accounts.create(tx, ALICE, handle="alice.test", email=None, password_hash="", now=0)
        made.append(database)
        return app

    yield make
    for database in made:
        database.close()


def exposed(answer):
    """The headers of *answer* that a page of another origin can read."""
    return set(answer.headers["Access-Control-Expose-Headers"].split(", "))


def session(app, **changes):
    now = int(time.time())
    claims = {
        "sub": ALICE,
        "aud": "did:web:localhost",
        "scope": "com.atproto.access",
        "exp": now + 60,
    }
    return {"Authorization": "Bearer " + secret_key(SECRET).sign("at+jwt", claims | changes)}


def bound(nonce, scope="atproto blob:image/*", method="POST", path=UPLOAD, did=ALICE, htu=None):
    now = int(time.time())
    claims = {
        "iss": "https://pds.test",
        "aud": "did:web:localhost",
        "sub": did,
        "exp": now + 60,
        "cnf": {"jkt": WALLET.thumbprint},
        "scope": scope,
    }
    token = secret_key(SECRET).sign("at+jwt", claims)
    proof = WALLET.proof(token, nonce, htu=htu or "http://localhost" + path, iat=now, htm=method)
    return {"Authorization": f"DPoP {token}", "DPoP": proof}


def test_a_client_with_dpop_asks_for_a_nonce_and_then_uploads(make):
    client = make(oauth_issuer="https://pds.test").test_client()

    first = client.post(UPLOAD, data=PNG, content_type="image/png", headers=bound(None))
    nonce = first.headers["DPoP-Nonce"]
    second = client.post(UPLOAD, data=PNG, content_type="image/png", headers=bound(nonce))

    assert (first.status_code, first.json["error"]) == (401, "use_dpop_nonce")
    assert first.headers["WWW-Authenticate"].startswith("DPoP algs=")
    assert {"WWW-Authenticate", "DPoP-Nonce"} <= exposed(first)
    assert second.status_code == 200, second.json
    assert second.headers["DPoP-Nonce"]
    assert second.headers["Vary"] == "Authorization"


@pytest.mark.parametrize(
    "public_url, htu, status",
    [
        ("https://pds.test", "https://pds.test", 200),
        ("https://pds.test", "https://PDS.test:443", 200),
        ("https://pds.test", "http://pds.test", 401),
        ("https://pds.test", "http://evil.test", 401),
        ("https://pds.test:8443", "https://pds.test:8443", 200),
        ("https://pds.test:8443", "https://pds.test", 401),
        # NOTE: without a configured URL, a proof for any site is good here with its name in Host.
        (None, "http://evil.test", 200),
    ],
)
def test_a_proof_is_for_the_configured_url_whatever_host_the_client_names(
    make, public_url, htu, status
):
    client = make(oauth_issuer="https://pds.test", public_url=public_url).test_client()
    nonce = client.post(UPLOAD, headers=bound(None)).headers["DPoP-Nonce"]

    answer = client.post(
        UPLOAD,
        data=PNG,
        content_type="image/png",
        base_url="http://evil.test",
        headers=bound(nonce, htu=htu + UPLOAD),
    )

    assert answer.status_code == status, answer.json


def test_an_unknown_account_is_given_the_next_nonce(make):
    client = make(oauth_issuer="https://pds.test").test_client()
    nonce = client.post(UPLOAD, headers=bound(None)).headers["DPoP-Nonce"]
    path = "/xrpc/com.atproto.sync.listBlobs"

    answer = client.get(
        f"{path}?did={ALICE}",
        headers=bound(nonce, method="GET", path=path, did=BOB),
    )

    assert (answer.status_code, answer.json) == (200, {"cids": []})
    assert answer.headers["DPoP-Nonce"]


@pytest.mark.parametrize(
    "scope, declared, status, message",
    [
        ("atproto blob:image/*", "image/png", 200, None),
        ("atproto blob:image/*", "image/png; charset=x", 200, None),
        ("atproto blob:image/*", None, 200, None),
        ("atproto blob:video/*", "video/mp4", 400, None),
        ("atproto blob:video/*", None, 403, 'Missing required scope "blob:image/png"'),
        ("atproto blob:video/*", "image/png", 403, 'Missing required scope "blob:image/png"'),
        ("atproto blob:image/*", "*/*", 403, 'Missing required scope "blob:*/*"'),
        ("atproto blob:image/*", "IMAGE/PNG", 403, 'Missing required scope "blob:image/png"'),
        ("atproto blob:image/*", "video/mp4", 403, 'Missing required scope "blob:video/mp4"'),
        ("atproto blob:*/*", "image/png", 200, None),
        ("atproto blob:*/*", "x/y", 400, None),
        ("atproto blob:*/*", "*/*", 403, 'Missing required scope "blob:*/*"'),
        ("atproto blob?accept=image/png&accept=video/mp4", "image/png", 200, None),
        ("atproto blob?accept=image/png&accept=video/mp4", "video/mp4", 400, None),
        ("atproto blob:IMAGE/PNG", "image/png", 403, 'Missing required scope "blob:image/png"'),
        ("atproto blob:image/png", "IMAGE/PNG", 403, 'Missing required scope "blob:image/png"'),
        (
            "atproto blob blob:* blob:/image",
            "image/png",
            403,
            'Missing required scope "blob:image/png"',
        ),
        (
            "atproto include:app.bsky.authFull",
            "image/png",
            403,
            'Missing required scope "blob:image/png"',
        ),
        ("atproto transition:generic", "*/*", 200, None),
        ("atproto", "image/png", 403, 'Missing required scope "blob:image/png"'),
    ],
)
def test_a_scope_must_allow_the_declared_and_the_detected_type(
    make, scope, declared, status, message
):
    client = make(oauth_issuer="https://pds.test").test_client()
    nonce = client.post(UPLOAD, headers=bound(None)).headers["DPoP-Nonce"]

    answer = client.post(UPLOAD, data=PNG, content_type=declared, headers=bound(nonce, scope))

    assert answer.status_code == status, answer.json
    assert message in (None, answer.json.get("message"))


def test_parameters_are_checked_first_then_credentials_then_the_body(make):
    client = make().test_client()

    upload = client.post(UPLOAD, data=b"")
    listed = client.get("/xrpc/com.atproto.repo.listMissingBlobs?limit=0")

    assert upload.json == {"error": "AuthMissing", "message": "Authentication Required"}
    assert listed.json["message"].startswith("Invalid com.atproto.repo.listMissingBlobs params")


def test_a_taken_down_account_reads_its_own_and_uploads_nothing(make):
    app = make()
    with services_of(app).database.write() as tx:
        accounts.take_down(tx, ALICE, 1, "ref")
    client, owner = app.test_client(), session(app, scope="com.atproto.takendown")

    listed = client.get(f"/xrpc/com.atproto.sync.listBlobs?did={ALICE}", headers=owner)
    public = client.get(f"/xrpc/com.atproto.sync.listBlobs?did={ALICE}")
    upload = client.post(UPLOAD, data=PNG, headers=session(app))

    assert listed.status_code == 200
    assert public.json["error"] == "RepoTakendown"
    assert (upload.status_code, upload.json["error"]) == (401, "AccountTakedown")


SUBJECT = f"/xrpc/com.atproto.admin.getSubjectStatus?did={ALICE}"


def basic(password):
    return {"Authorization": "Basic " + b64encode(f"admin:{password}".encode()).decode()}


def test_guesses_of_the_admin_password_are_limited(make):
    client = make(failures_per_address=Limit(3, 300)).test_client()

    statuses = [
        client.get(SUBJECT, headers=basic(f"guess {number}")).status_code for number in range(4)
    ]
    stopped = client.get(SUBJECT, headers=basic("open sesame"))
    elsewhere = client.get(
        SUBJECT, headers=basic("open sesame"), environ_base={"REMOTE_ADDR": "192.0.2.7"}
    )

    assert statuses == [401, 401, 401, 429]
    assert stopped.json == {"error": "RateLimitExceeded", "message": "Rate Limit Exceeded"}
    assert 0 < int(stopped.headers["Retry-After"]) <= 300
    assert elsewhere.status_code == 200


def test_a_user_is_no_administrator(make):
    app = make()

    answer = app.test_client().get(SUBJECT, headers=session(app))

    assert (answer.status_code, answer.json["error"]) == (401, "BadJwtType")


def upload(client, headers, data, address="192.0.2.1"):
    return client.post(
        UPLOAD,
        data=data,
        content_type="image/png",
        headers=headers,
        environ_base={"REMOTE_ADDR": address},
    )


@pytest.mark.parametrize(
    "settings, other_address_status",
    [({"uploads_per_address": Limit(2, 86400)}, 200), ({"uploads_per_day": 2}, 429)],
    ids=["per address", "per account"],
)
def test_uploads_are_limited_and_the_rest_is_in_the_headers(make, settings, other_address_status):
    app = make(**settings)
    client, headers = app.test_client(), session(app)

    answers = [upload(client, headers, PNG + bytes([number])) for number in range(3)]
    again = upload(client, headers, PNG + b"\x00")
    other = upload(client, headers, PNG + b"other", "192.0.2.2")

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert answers[0].headers["RateLimit-Limit"] == "2"
    assert answers[0].headers["RateLimit-Policy"] == "2;w=86400"
    assert {"RateLimit-Reset", "Retry-After"} <= exposed(answers[2])
    assert 86000 < int(answers[2].headers["Retry-After"]) <= 86400
    assert again.status_code == 200
    assert other.status_code == other_address_status


@pytest.mark.parametrize("default", [0, 9], ids=["without a default", "over the default"])
def test_an_account_is_told_of_its_own_limit_from_the_first_upload_on(make, default):
    app = make(uploads_per_day=default)
    client, headers = app.test_client(), session(app)
    with services_of(app).database.write() as tx:
        accounts.set_uploads_per_day(tx, ALICE, 2)

    answers = [upload(client, headers, PNG + bytes([number])) for number in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert answers[0].headers["RateLimit-Policy"] == "2;w=86400"


def test_without_a_limit_no_rate_limit_header_is_sent(make):
    app = make()

    answer = upload(app.test_client(), session(app), PNG)

    assert answer.status_code == 200
    assert not [name for name, _ in answer.headers if name.startswith("RateLimit")]


SIGN_UP = "/xrpc/com.atproto.server.createAccount"
LOG_IN = "/xrpc/com.atproto.server.createSession"
MARY = {"handle": "mary.test", "email": "mary@example.com", "password": "correct horse"}


def log_in(client, password, address="192.0.2.1"):
    given = {"identifier": "mary.test", "password": password}
    return client.post(LOG_IN, json=given, environ_base={"REMOTE_ADDR": address})


def test_password_guesses_are_limited_in_every_method(make):
    client = make(failures_per_address=Limit(3, 300)).test_client()
    did = client.post(SIGN_UP, json=MARY).json["did"]

    first = [log_in(client, f"guess {number}").status_code for number in range(2)]
    given = {"did": did, "password": "guess", "token": "x"}
    deletion = client.post(
        "/xrpc/com.atproto.server.deleteAccount",
        json=given,
        environ_base={"REMOTE_ADDR": "192.0.2.1"},
    )
    stopped = log_in(client, "correct horse")

    assert first == [401, 401] and deletion.status_code == 401
    assert (stopped.status_code, stopped.json["error"]) == (429, "RateLimitExceeded")
    assert log_in(client, "correct horse", "192.0.2.2").status_code == 200


@pytest.mark.parametrize(
    "forwarded",
    [
        ["192.0.2.7:1", "192.0.2.7:2", "192.0.2.7", "[::ffff:192.0.2.7]:3"],
        ["unknown", "_hidden", "", None],
    ],
    ids=["ports", "no addresses"],
)
def test_guesses_behind_a_proxy_count_as_one_client_however_it_is_written(make, forwarded):
    client = make(failures_per_address=Limit(3, 300), proxy_hops=1).test_client()

    headers = [{} if name is None else {"X-Forwarded-For": name} for name in forwarded]
    statuses = [
        client.get(SUBJECT, headers={**basic("guess"), **named}).status_code for named in headers
    ]
    elsewhere = {**basic("open sesame"), "X-Forwarded-For": "192.0.2.8"}

    assert statuses == [401, 401, 401, 429]
    assert client.get(SUBJECT, headers=elsewhere).status_code == 200


def test_who_comes_past_the_proxies_is_not_taken_for_this_machine(make):
    client = make(signups="open", signups_per_address=Limit(1, 3600), proxy_hops=2).test_client()
    joan = MARY | {"handle": "joan.test", "email": "joan@example.com"}
    one_hop = {"X-Forwarded-For": "127.0.0.1"}

    answers = [client.post(SIGN_UP, json=given, headers=one_hop) for given in (MARY, joan)]

    assert [answer.status_code for answer in answers] == [200, 429]


def test_sign_ups_are_limited_if_a_setting_says_so(make):
    client = make(signups_per_address=Limit(1, 3600)).test_client()

    elsewhere = {"REMOTE_ADDR": "192.0.2.1"}
    joan = MARY | {"handle": "joan.test", "email": "joan@example.com"}

    first = client.post(SIGN_UP, json=MARY, environ_base=elsewhere)
    second = client.post(SIGN_UP, json=joan, environ_base=elsewhere)

    assert (first.status_code, first.headers["RateLimit-Remaining"]) == (200, "0")
    assert (second.status_code, second.headers["RateLimit-Policy"]) == (429, "1;w=3600")


def test_no_log_line_holds_a_credential(make, caplog):
    client = make(oauth_issuer="https://pds.test").test_client()
    caplog.set_level(0)
    tokens = [
        session(client.application)["Authorization"],
        bound("x")["Authorization"],
        "Bearer garbage-token",
    ]

    for token in tokens:
        client.post(UPLOAD, data=PNG, headers={"Authorization": token})
    client.get(SUBJECT, headers=basic("a guess"))
    client.get(SUBJECT + "&token=in-the-query", headers=basic("open sesame"))
    client.post(SIGN_UP, json=MARY)
    log_in(client, "wrong-horse")

    secrets = [token.partition(" ")[2] for token in tokens]
    secrets += ["a guess", "open sesame", "in-the-query", MARY["password"], "wrong-horse", SECRET]
    secrets += [b64encode(f"admin:{word}".encode()).decode() for word in ("a guess", "open sesame")]
    assert [secret for secret in secrets if secret in caplog.text] == []
