"""Tokens of deleted accounts: when they are refused, and how long that is remembered."""

import pytest
from support.accounts import ALICE, CAROL
from support.credentials import SERVICE, Wallet, credentials
from support.services import services_of

from aurora_blobs.auth.jwts import secret_key
from aurora_blobs.auth.session import MAX_ACCESS_SECONDS, SKEW_SECONDS
from aurora_blobs.catalog import accounts
from aurora_blobs.maintenance.collect import Collector

SECRET = "0123456789abcdef0123456789abcdef"
CID = "bafkreigc3ug6prjy36grchshsym3ckkgjubgtufol7iyzki5got737vjlq"
UPLOAD = "com.atproto.repo.uploadBlob"
WALLET = Wallet()
NOT_HERE = (403, "AccountNotFound", "Account not found")
NO_REPO = (400, "NotFound", "Repo not found")


@pytest.fixture
def app(open_app):
    return open_app(
        ACCOUNTS="external", JWT_SECRET=SECRET, SERVICE_DID=SERVICE, OAUTH_ISSUER="https://pds.test"
    )


def session(now, **changes):
    claims = {
        "sub": CAROL,
        "aud": SERVICE,
        "scope": "com.atproto.access",
        "iat": now,
        "exp": now + 7200,
    } | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return {"Authorization": "Bearer " + secret_key(SECRET).sign("at+jwt", claims)}


def bound(app, issued_at, now, method="POST", nsid=UPLOAD, **changes):
    claims = {
        "iss": "https://pds.test",
        "aud": SERVICE,
        "sub": CAROL,
        "iat": issued_at,
        "exp": issued_at + 3600,
    }
    claims |= {"scope": "atproto blob:*/*", "cnf": {"jkt": WALLET.thumbprint}} | changes
    token = secret_key(SECRET).sign(
        "at+jwt", {name: value for name, value in claims.items() if value is not None}
    )
    authenticator = services_of(app).authenticator
    nonce = dict(authenticator.headers(credentials("DPoP x")))["DPoP-Nonce"]
    proof = WALLET.proof(token, nonce, htu=f"http://localhost/xrpc/{nsid}", htm=method, iat=now)
    return {"Authorization": f"DPoP {token}", "DPoP": proof}


def upload(app, headers):
    return app.test_client().post(f"/xrpc/{UPLOAD}", data=b"\x89PNG\r\n\x1a\n1234", headers=headers)


def said(answer):
    return answer.status_code, (answer.json or {}).get("error"), (answer.json or {}).get("message")


def is_here(services):
    with services.database.read() as tx:
        return accounts.find(tx, CAROL) is not None


def test_a_token_from_before_the_deletion_does_not_bring_the_account_back(app, services, clock):
    before = session(clock.seconds)
    assert upload(app, before).status_code == 200
    services.delete_account(CAROL)

    assert said(upload(app, before)) == NOT_HERE
    assert not is_here(services)


def test_a_bound_token_from_before_the_deletion_is_refused(app, services, clock):
    issued_at = clock.seconds
    assert upload(app, bound(app, issued_at, issued_at)).status_code == 200
    services.delete_account(CAROL)

    answer = upload(app, bound(app, issued_at, clock.seconds))

    assert said(answer) == NOT_HERE
    assert answer.headers["DPoP-Nonce"]
    assert not is_here(services)


@pytest.mark.parametrize("kind", ["session", "OAuth"])
def test_a_later_token_creates_the_account_again_and_older_ones_stay_refused(
    app, services, clock, kind
):
    before = session(clock.seconds)
    upload(app, before)
    services.delete_account(CAROL)
    clock.advance(1)
    made = {"session": lambda now: session(now), "OAuth": lambda now: bound(app, now, now)}[kind]

    assert upload(app, made(clock.seconds)).status_code == 200
    assert said(upload(app, before)) == NOT_HERE
    assert is_here(services)


@pytest.mark.parametrize(
    "hours, expected", [(22, NOT_HERE), (25, (200, None, None))], ids=["before", "after"]
)
def test_a_token_without_a_time_of_issue_is_refused_while_it_may_be_old(
    app, services, clock, hours, expected
):
    upload(app, session(clock.seconds))
    services.delete_account(CAROL)
    clock.advance(hours * 3600)

    assert said(upload(app, session(clock.seconds, iat=None, exp=clock.seconds + 3600))) == expected


@pytest.mark.parametrize("issued_at", ["now", True, [1]], ids=repr)
def test_an_invalid_time_of_issue_is_refused(app, clock, issued_at):
    answer = upload(app, session(clock.seconds, iat=issued_at))

    assert said(answer) == (400, "InvalidToken", "Token could not be verified")


def test_the_collector_forgets_a_deletion_once_older_tokens_have_expired(app, services, clock):
    upload(app, session(clock.seconds))
    services.delete_account(CAROL)
    collector = Collector(
        services.blobs.backend,
        services.database,
        spool=services.config.data_folder.spool,
        grace_seconds=86_400,
        clock=clock,
    )

    clock.advance(MAX_ACCESS_SECONDS + SKEW_SECONDS)
    early = [step.kind for step in collector.run()]
    clock.advance(1)
    late = [step.kind for step in collector.run()]

    assert ("deletion" in early, "deletion" in late) == (False, True)
    assert [step.kind for step in collector.run()] == []


def test_tokens_of_a_deleted_account_do_not_work_for_its_successor(open_app, clock):
    app = open_app()
    found = services_of(app)
    alice = {"handle": "alice.test", "email": "alice@example.com", "password": "correct horse"}
    token = found.accounts.access_token(
        found.accounts.create(**alice)
    )  # as made by the command: without a session
    found.delete_account(ALICE)
    clock.advance(1)
    successor = found.accounts.create(**alice | {"email": "other@example.com"})

    assert said(upload(app, {"Authorization": f"Bearer {token}"})) == NOT_HERE
    newer = found.accounts.access_token(successor)
    assert upload(app, {"Authorization": f"Bearer {newer}"}).status_code == 200


# The errors of a deleted account's own calls, as on the reference PDS. Methods that it does not
# have answer like its most similar ones.
DELETED = {
    "com.atproto.repo.uploadBlob": NOT_HERE,
    "com.atproto.repo.createRecord": NOT_HERE,
    "com.atproto.repo.importRepo": NOT_HERE,
    "com.atproto.repo.listMissingBlobs": NO_REPO,
    "com.atproto.server.checkAccountStatus": NO_REPO,
    "blue.aurora.blob.getUsage": NO_REPO,
    "blue.aurora.blob.listRecords": NO_REPO,
    "com.atproto.sync.getBlob": (400, "RepoNotFound", f"Could not find repo for DID: {CAROL}"),
    "com.atproto.sync.listBlobs": (400, "RepoNotFound", f"Could not find repo for DID: {CAROL}"),
}


@pytest.mark.parametrize("nsid, expected", DELETED.items())
@pytest.mark.parametrize("kind", ["session", "OAuth"])
def test_a_deleted_account_is_answered_with_account_not_found(
    app, services, clock, nsid, expected, kind
):
    issued_at = clock.seconds
    upload(app, session(issued_at))
    services.delete_account(CAROL)
    client = app.test_client()
    call, method = (client.post, "POST") if expected == NOT_HERE else (client.get, "GET")
    made = {
        "session": lambda: session(issued_at),
        "OAuth": lambda: bound(app, issued_at, issued_at, method, nsid),
    }

    answer = call(f"/xrpc/{nsid}", query_string={"did": CAROL, "cid": CID}, headers=made[kind]())

    assert said(answer) == expected
