"""The credentials that each method accepts."""

import time
from base64 import b64encode

import pytest
from support.credentials import Signer, Wallet, credentials
from support.document_server import send, serving
from support.services import services_of

from aurora_blobs.app import create_app
from aurora_blobs.auth.jwts import secret_key
from aurora_blobs.catalog import accounts
from aurora_blobs.config import Config

SECRET = "0123456789abcdef0123456789abcdef"
SERVICE = "did:web:localhost"
SIGNER, WALLET = Signer(), Wallet()

MISSING = (401, "AuthMissing", "Authentication Required")
UNEXPECTED = (400, "InvalidToken", "Unexpected authorization type")
UNVERIFIED = (400, "InvalidToken", "Token could not be verified")
BAD_SCOPE = (400, "InvalidToken", "Bad token scope")
NO_ADMIN = (401, "AuthenticationRequired", "Authentication Required")
BAD_TYPE = (401, "BadJwtType", 'Invalid jwt type "at+jwt"')
BOUND = "Missing required scope "

# The answer of each method to: no credentials, a session, an app password, a service token, OAuth
# without a scope for it, the administrator. None: accepted.
METHODS = {
    "com.atproto.repo.uploadBlob": (
        MISSING,
        None,
        None,
        None,
        (403, "ScopeMissingError", f'{BOUND}"blob:x/y"'),
        UNEXPECTED,
    ),
    "com.atproto.repo.listMissingBlobs": (MISSING, None, None, UNVERIFIED, None, UNEXPECTED),
    "com.atproto.server.checkAccountStatus": (MISSING, None, None, UNVERIFIED, None, UNEXPECTED),
    "blue.aurora.blob.getUsage": (MISSING, None, None, UNVERIFIED, None, UNEXPECTED),
    "com.atproto.sync.getBlob": (None, None, None, UNVERIFIED, None, None),
    "com.atproto.sync.listBlobs": (None, None, None, UNVERIFIED, None, None),
    "com.atproto.repo.importRepo": (
        MISSING,
        None,
        BAD_SCOPE,
        UNVERIFIED,
        (403, "ScopeMissingError", f'{BOUND}"account:repo?action=manage"'),
        None,
    ),
    "com.atproto.repo.createRecord": (
        MISSING,
        None,
        None,
        UNVERIFIED,
        (403, "ScopeMissingError", f'{BOUND}"repo:com.example.file?action=create"'),
        None,
    ),
    "com.atproto.repo.putRecord": (
        MISSING,
        None,
        None,
        UNVERIFIED,
        (403, "ScopeMissingError", f'{BOUND}"repo:com.example.file?action=create"'),
        None,
    ),
    "com.atproto.repo.deleteRecord": (
        MISSING,
        None,
        None,
        UNVERIFIED,
        (403, "ScopeMissingError", f'{BOUND}"repo:com.example.file?action=delete"'),
        None,
    ),
    "com.atproto.repo.applyWrites": (
        MISSING,
        None,
        None,
        UNVERIFIED,
        (403, "ScopeMissingError", f'{BOUND}"repo:com.example.file?action=create"'),
        None,
    ),
    "com.atproto.admin.getSubjectStatus": (NO_ADMIN, BAD_TYPE, BAD_TYPE, None, UNEXPECTED, None),
    "com.atproto.admin.updateSubjectStatus": (NO_ADMIN, BAD_TYPE, BAD_TYPE, None, UNEXPECTED, None),
}
KINDS = ("nothing", "a session", "an app password", "a service token", "OAuth", "the administrator")
QUERIES = frozenset(
    {
        "com.atproto.repo.listMissingBlobs",
        "com.atproto.server.checkAccountStatus",
        "blue.aurora.blob.getUsage",
        "com.atproto.sync.getBlob",
        "com.atproto.sync.listBlobs",
        "com.atproto.admin.getSubjectStatus",
    }
)
CID = "bafkreigc3ug6prjy36grchshsym3ckkgjubgtufol7iyzki5got737vjlq"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """An application with an account that is also its moderation service. Its DID resolves."""

    def answer(handler):
        did = "did:web:" + handler.headers["Host"].replace(":", "%3A")
        send(handler, SIGNER.document(did))

    with serving(answer) as address:
        did = "did:web:" + address.replace(":", "%3A")
        config = Config(
            data_dir=tmp_path_factory.mktemp("data"),
            jwt_secret=(SECRET,),
            admin_password="open sesame",
            allow_loopback_identity=True,
            oauth_issuer="https://pds.test",
            moderation_did=did,
            allowed_mime_types=("*/*",),
        )
        app = create_app(config)
        database = services_of(app).database
        with database.write() as tx:
            accounts.create(tx, did, handle="alice.test", email=None, password_hash="", now=0)
        try:
            yield app, did
        finally:
            database.close()


def shown(app, did, kind, nsid, method, scope="atproto"):
    """Credentials of *kind* for a call of *nsid*, as headers."""
    now = int(time.time())
    session = {"sub": did, "aud": SERVICE, "scope": "com.atproto.access", "exp": now + 60}
    key = secret_key(SECRET)
    if kind == "nothing":
        return {}
    if kind == "a session":
        return {"Authorization": "Bearer " + key.sign("at+jwt", session)}
    if kind == "an app password":
        return {
            "Authorization": "Bearer "
            + key.sign("at+jwt", session | {"scope": "com.atproto.appPass"})
        }
    if kind == "a service token":
        claims = {"iss": did, "aud": SERVICE, "lxm": nsid, "exp": now + 60}
        return {"Authorization": "Bearer " + SIGNER.key.sign("JWT", claims)}
    if kind == "the administrator":
        return {"Authorization": "Basic " + b64encode(b"admin:open sesame").decode()}
    authenticator = services_of(app).authenticator
    claims = {
        "iss": "https://pds.test",
        "aud": SERVICE,
        "sub": did,
        "exp": now + 60,
        "scope": scope,
    }
    token = key.sign("at+jwt", claims | {"cnf": {"jkt": WALLET.thumbprint}})
    nonce = dict(authenticator.headers(credentials("DPoP x")))["DPoP-Nonce"]
    proof = WALLET.proof(token, nonce, htu=f"http://localhost/xrpc/{nsid}", htm=method, iat=now)
    return {"Authorization": f"DPoP {token}", "DPoP": proof}


def called(app, did, nsid, headers):
    client = app.test_client()
    path = f"/xrpc/{nsid}"
    if nsid in QUERIES:
        return client.get(path, query_string={"did": did, "cid": CID}, headers=headers)
    if nsid in ("com.atproto.repo.uploadBlob", "com.atproto.repo.importRepo"):
        return client.post(path, data=b"text", content_type="x/y", headers=headers)
    record = {"repo": did, "collection": "com.example.file", "rkey": "self", "record": {"a": 1}}
    write = {
        "$type": "com.atproto.repo.applyWrites#create",
        "collection": "com.example.file",
        "value": {"a": 1},
    }
    return client.post(path, json=record | {"writes": [write]}, headers=headers)


# Errors after credentials were accepted, since the calls ask for nothing that exists.
LET_IN = frozenset({None, "BlobNotFound", "InvalidRequest"})


@pytest.mark.parametrize("nsid", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_method_accepts_its_credentials_and_refuses_others_by_name(opened, nsid, kind):
    app, did = opened
    expected = METHODS[nsid][KINDS.index(kind)]

    answer = called(
        app, did, nsid, shown(app, did, kind, nsid, "GET" if nsid in QUERIES else "POST")
    )

    said = (
        answer.status_code,
        (answer.json or {}).get("error"),
        (answer.json or {}).get("message"),
    )
    assert said == expected or (expected is None and said[1] in LET_IN), said


TAKEN_DOWN = (401, "AccountTakedown", "Account has been taken down")
DEACTIVATED = (401, "AccountDeactivated", "Account is deactivated")
# The answer of each method to a deactivated and to a taken down account. None: accepted.
STATES = {
    "com.atproto.repo.uploadBlob": (None, TAKEN_DOWN),
    "com.atproto.repo.listMissingBlobs": (None, None),
    "com.atproto.server.checkAccountStatus": (None, None),
    "blue.aurora.blob.getUsage": (None, None),
    "com.atproto.sync.getBlob": (None, None),
    "com.atproto.sync.listBlobs": (None, None),
    "com.atproto.repo.importRepo": (None, TAKEN_DOWN),
    "com.atproto.repo.createRecord": (DEACTIVATED, TAKEN_DOWN),
    "com.atproto.repo.putRecord": (DEACTIVATED, TAKEN_DOWN),
    "com.atproto.repo.deleteRecord": (DEACTIVATED, TAKEN_DOWN),
    "com.atproto.repo.applyWrites": (DEACTIVATED, TAKEN_DOWN),
}


@pytest.fixture(params=["deactivated", "taken down"])
def state(opened, request):
    """The state of the account during the test."""
    app, did = opened
    apply, undo = {
        "deactivated": (
            lambda tx: accounts.set_deactivated(tx, did, 1),
            lambda tx: accounts.set_deactivated(tx, did, None),
        ),
        "taken down": (
            lambda tx: accounts.take_down(tx, did, 1, "ref"),
            lambda tx: accounts.lift_takedown(tx, did),
        ),
    }[request.param]
    database = services_of(app).database
    with database.write() as tx:
        apply(tx)
    yield request.param
    with database.write() as tx:
        undo(tx)


@pytest.mark.parametrize("nsid", STATES)
@pytest.mark.parametrize("kind", ["a session", "OAuth"])
def test_a_method_checks_the_state_of_the_account(opened, state, nsid, kind):
    app, did = opened
    scope = "atproto blob:*/* repo:* account:repo?action=manage"
    method = "GET" if nsid in QUERIES else "POST"
    expected = STATES[nsid][("deactivated", "taken down").index(state)]

    answer = called(app, did, nsid, shown(app, did, kind, nsid, method, scope))

    said = (
        answer.status_code,
        (answer.json or {}).get("error"),
        (answer.json or {}).get("message"),
    )
    assert said == expected or (expected is None and said[1] in LET_IN), said


@pytest.mark.parametrize("nsid", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_depends_on_credentials_varies_on_them(opened, nsid, kind):
    app, did = opened

    answer = called(
        app, did, nsid, shown(app, did, kind, nsid, "GET" if nsid in QUERIES else "POST")
    )

    assert answer.headers.getlist("Cache-Control") == ["private"]
    assert answer.headers.getlist("Vary") == ["Authorization"]
