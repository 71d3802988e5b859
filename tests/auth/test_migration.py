"""Accounts that bring their DID, and the check of DIDs from elsewhere."""

import json

import pytest
from support.accounts import CAROL
from support.clock import NOW
from support.credentials import SERVICE, UPLOAD, Signer
from support.document_server import send, serving
from support.services import services_of

from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.protocol.did_document import names_host

CREATE = "com.atproto.server.createAccount"


@pytest.fixture
def signer():
    return Signer()


@pytest.fixture
def documents():
    """The documents of the PLC directory, by DID."""
    return {}


@pytest.fixture
def open_client(open_app, documents):
    """``open_client(NAME=value, …)`` is a client of an application with those settings."""

    def answer(handler):
        document = documents.get(handler.path.removeprefix("/"))
        send(handler, document or {}, 200 if document else 404)

    with serving(answer) as address:
        yield lambda **settings: open_app(
            SERVICE_DID=SERVICE,
            PLC_URL=f"http://{address}",
            ALLOW_LOOPBACK_IDENTITY="1",
            **settings,
        ).test_client()


@pytest.fixture
def client(open_client):
    return open_client()


def create(client, token=None, did=CAROL, handle="alice.test", **more):
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    body = {
        "handle": handle,
        "email": f"{handle}@example.com",
        "password": "correct horse",
        "did": did,
        **more,
    }
    return client.post(f"/xrpc/{CREATE}", json=body, headers=headers)


def token(signer, **changes):
    return signer.token(**({"iss": CAROL, "lxm": CREATE, "exp": NOW + 60, "iat": NOW} | changes))


def pds_at(url):
    return [{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": url}]


def test_an_account_that_brings_its_did_is_made_deactivated(client, documents, signer):
    documents[CAROL] = signer.document(CAROL)

    made = create(client, token(signer))

    assert (made.status_code, made.json["did"], made.json["handle"]) == (200, CAROL, "alice.test")
    assert "didDoc" not in made.json
    headers = {"Authorization": f"Bearer {made.json['accessJwt']}"}
    session = client.get("/xrpc/com.atproto.server.getSession", headers=headers).json
    assert (session["active"], session["status"]) == (False, "deactivated")
    uploaded = client.post(
        "/xrpc/com.atproto.repo.uploadBlob",
        data=b"GIF89a\x01\x00\x01\x00",
        headers={**headers, "Content-Type": "image/gif"},
    )
    assert uploaded.status_code == 200
    assert (
        client.post("/xrpc/com.atproto.server.activateAccount", headers=headers).status_code == 200
    )
    assert client.get("/xrpc/com.atproto.server.getSession", headers=headers).json["active"]


def test_an_account_that_brings_its_did_is_held_to_invite_codes_too(open_client, documents, signer):
    documents[CAROL] = signer.document(CAROL)
    client = open_client(SIGNUPS="invite")
    code = services_of(client.application).sign_ups.invite(uses=1)

    without = create(client, token(signer))
    made = create(client, token(signer), inviteCode=code)

    assert (without.status_code, without.json["error"]) == (400, "InvalidInviteCode")
    assert (made.status_code, made.json["did"]) == (200, CAROL)


def test_an_account_that_brings_its_did_finds_a_closed_service_closed(
    open_client, documents, signer
):
    documents[CAROL] = signer.document(CAROL)

    answer = create(open_client(SIGNUPS="closed"), token(signer))

    assert (answer.status_code, answer.json["error"]) == (400, "InvalidRequest")


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"lxm": "com.atproto.repo.uploadBlob"}, 401, "BadJwtLexiconMethod"),
        ({"aud": "did:web:elsewhere.test"}, 401, "BadJwtAudience"),
        ({"exp": NOW - 1}, 401, "JwtExpired"),
        ({"iss": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"}, 401, "AuthenticationRequired"),
    ],
    ids=["for another method", "for another service", "expired", "of somebody unknown"],
)
def test_a_did_is_brought_only_by_its_owner(client, documents, signer, changes, status, error):
    documents[CAROL] = signer.document(CAROL)

    answer = create(client, token(signer, **changes))

    assert (answer.status_code, answer.json["error"]) == (status, error)


def test_a_did_signed_for_by_another_key_is_refused(client, documents, signer):
    documents[CAROL] = Signer().document(CAROL)

    assert create(client, token(signer)).json["error"] == "BadJwtSignature"


def test_a_token_of_another_did_brings_no_account(client, documents, signer):
    other = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
    documents[CAROL] = signer.document(CAROL)

    answer = create(client, token(signer), did=other)

    assert (answer.status_code, answer.json["error"]) == (401, "AuthenticationRequired")
    assert answer.json["message"] == f"Missing auth to create account with did: {other}"


def test_a_session_token_brings_no_did(client):
    local = client.post(
        f"/xrpc/{CREATE}",
        json={"handle": "bob.test", "email": "b@example.com", "password": "correct horse"},
    ).json

    answer = create(client, local["accessJwt"])

    assert (answer.status_code, answer.json["error"]) == (400, "InvalidToken")


def test_a_did_is_brought_once(client, documents, signer):
    documents[CAROL] = signer.document(CAROL)
    create(client, token(signer))

    again = create(client, token(signer), handle="bob.test")

    assert (again.status_code, again.json["message"]) == (400, f"Account already exists: {CAROL}")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("active", (200, None)),
        ("deactivated", (200, None)),
        ("taken down", (401, "AccountTakedown")),
        ("deleted", (403, "AccountNotFound")),
    ],
)
def test_a_service_token_uploads_as_the_state_of_its_account_allows(
    client, documents, signer, state, expected
):
    documents[CAROL] = signer.document(CAROL)
    create(client, token(signer))
    services = services_of(client.application)
    enter = {
        "active": services.accounts.activate,
        "deactivated": services.accounts.deactivate,
        "taken down": lambda did: services.moderation.take_down(Subject(did, None), "spam"),
        "deleted": services.blobs.delete_account,
    }
    enter[state](CAROL)

    answer = client.post(
        "/xrpc/com.atproto.repo.uploadBlob",
        data=b"GIF89a\x01\x00\x01\x00",
        headers={
            "Authorization": f"Bearer {token(signer, lxm=UPLOAD)}",
            "Content-Type": "image/gif",
        },
    )

    assert (answer.status_code, answer.json.get("error")) == expected


@pytest.mark.parametrize(
    ("endpoint", "valid"),
    [
        ("https://localhost", True),
        ("http://localhost:2583/", True),
        ("https://old.example.com", False),
    ],
)
def test_a_did_that_is_not_ours_is_valid_once_it_names_this_host(
    client, documents, signer, endpoint, valid
):
    documents[CAROL] = signer.document(CAROL) | {"service": pds_at(endpoint)}
    access = create(client, token(signer)).json["accessJwt"]

    status = client.get(
        "/xrpc/com.atproto.server.checkAccountStatus", headers={"Authorization": f"Bearer {access}"}
    )

    assert status.json["validDid"] is valid


@pytest.mark.parametrize(
    "service",
    [
        None,
        {},
        "x",
        [None],
        [{"id": "#other", "serviceEndpoint": "https://pds.test"}],
        pds_at(None),
        pds_at({"uri": "https://pds.test"}),
        pds_at("https://[pds.test"),
        pds_at("https://pds.test.evil.example"),
    ],
    ids=json.dumps,
)
def test_a_document_of_any_shape_may_be_asked_where_its_pds_is(service):
    assert not names_host({"id": CAROL, "service": service}, "pds.test:443")


@pytest.mark.parametrize("name", ["#atproto_pds", f"{CAROL}#atproto_pds"])
def test_a_pds_is_named_in_either_form(name):
    service = [{"id": name, "serviceEndpoint": "https://PDS.test:8443/"}]

    assert names_host({"id": CAROL, "service": service}, "pds.test")
