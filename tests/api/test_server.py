"""com.atproto.server, identity and profiles over HTTP, for each state of an account."""

import base64
import sqlite3

import pytest
from argon2 import PasswordHasher
from support.accounts import ALICE, CAROL
from support.credentials import SECRET
from support.services import services_of

from aurora_blobs.auth import passwords
from aurora_blobs.auth.session import SessionTokens

PASSWORD = "correct horse battery"
ADMIN = {"Authorization": "Basic " + base64.b64encode(b"admin:open sesame").decode()}
GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"


class Client:
    """A client of an application, without an account."""

    def __init__(self, app):
        self.app = app
        self.http = app.test_client()

    def get(self, method, headers=None, **params):
        return self.http.get(
            f"/xrpc/{method}", query_string=params or None, headers=headers, buffered=True
        )

    def post(self, method, headers=None, /, **body):
        return self.http.post(f"/xrpc/{method}", json=body or None, headers=headers)

    def page(self, path, host):
        return self.http.get(path, base_url=f"http://{host}")

    def create(self, handle="alice.test"):
        return self.post(
            "com.atproto.server.createAccount",
            handle=handle,
            email=f"{handle}@example.com",
            password=PASSWORD,
        ).json

    def log_in(self, handle="alice.test", **more):
        return self.post(
            "com.atproto.server.createSession", identifier=handle, password=PASSWORD, **more
        )

    def upload(self, headers, data=GIF):
        return self.http.post(
            "/xrpc/com.atproto.repo.uploadBlob",
            data=data,
            headers={**headers, "Content-Type": "image/gif"},
        )

    def post_blob(self, account, blob, collection="com.example.picture", rkey="one"):
        return self.post(
            "com.atproto.repo.putRecord",
            bearer(account),
            repo=account["did"],
            collection=collection,
            rkey=rkey,
            record={"picture": blob},
        )

    def take_down(self, did, applied=True):
        subject = {"$type": "com.atproto.admin.defs#repoRef", "did": did}
        answer = self.post(
            "com.atproto.admin.updateSubjectStatus",
            ADMIN,
            subject=subject,
            takedown={"applied": applied},
        )
        assert answer.status_code == 200, answer.json


def bearer(account, token="accessJwt"):
    return {"Authorization": f"Bearer {account[token]}"}


def outcome(answer):
    return (answer.status_code, "" if answer.status_code == 200 else answer.json["error"])


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch):
    """Real hashes take 30 ms; tests/accounts tests them."""
    quick = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr(passwords, "HASHER", quick)


@pytest.fixture
def open_service(open_app):
    """``open_service(NAME=value, …)`` is a client of an application with those settings."""
    return lambda **settings: Client(
        open_app(ADMIN_PASSWORD="open sesame", DURABILITY="os", **settings)
    )


@pytest.fixture
def service(open_service):
    return open_service()


@pytest.fixture
def alice(service):
    return service.create()


def test_a_new_account_is_logged_in_and_says_where_it_lives(service):
    answer = service.post(
        "com.atproto.server.createAccount",
        handle="Alice.TEST",
        email="a@example.com",
        password=PASSWORD,
    )

    account = answer.json
    assert (answer.status_code, account["did"], account["handle"]) == (
        200,
        ALICE,
        "alice.test",
    )
    assert account["didDoc"]["service"][0] == {
        "id": "#atproto_pds",
        "type": "AtprotoPersonalDataServer",
        "serviceEndpoint": "http://localhost",
    }
    session = service.get("com.atproto.server.getSession", bearer(account)).json
    assert session == {
        "did": ALICE,
        "handle": "alice.test",
        "didDoc": account["didDoc"],
        "email": "a@example.com",
        "emailConfirmed": False,
        "active": True,
    }
    assert (
        service.get("com.atproto.repo.describeRepo?repo=alice.test").json["didDoc"]
        == account["didDoc"]
    )


@pytest.mark.parametrize(
    ("body", "status", "error", "message"),
    [
        ({}, 400, "InvalidRequest", 'Missing required key "handle"'),
        (
            {"handle": "alice.test", "password": PASSWORD},
            400,
            "InvalidRequest",
            "Email is required",
        ),
        (
            {"handle": "alice.test", "email": "a@example.com"},
            400,
            "InvalidPassword",
            "Password is required",
        ),
        (
            {"handle": "alice.test", "email": "a@example.com", "password": 1},
            400,
            "InvalidRequest",
            "(got 1)",
        ),
        (
            {"handle": "alice.test", "plcOp": {}},
            400,
            "InvalidRequest",
            'Unsupported input: "plcOp"',
        ),
        (
            {
                "handle": "alice.test",
                "email": "a@example.com",
                "password": PASSWORD,
                "did": CAROL,
            },
            401,
            "AuthenticationRequired",
            "Missing auth to create account with did: did:plc:ewvi7nxzyoun6zhxrhs64oiz",
        ),
        (
            {"handle": "alice.test", "did": "alice"},
            400,
            "InvalidRequest",
            'Invalid DID (got "alice")',
        ),
    ],
)
def test_an_account_that_cannot_be_made_is_refused_with_the_reason(
    service, body, status, error, message
):
    answer = service.http.post("/xrpc/com.atproto.server.createAccount", json=body)

    assert (answer.status_code, answer.json["error"]) == (status, error)
    assert message in answer.json["message"]
    assert service.get("com.atproto.identity.resolveHandle", handle="alice.test").status_code == 400


def test_unsupported_sign_up_fields_are_ignored(service):
    answer = service.post(
        "com.atproto.server.createAccount",
        handle="alice.test",
        email="a@example.com",
        password=PASSWORD,
        inviteCode="code",
        recoveryKey="did:key:zQ3s",
        verificationCode="1",
    )

    assert answer.status_code == 200


def test_a_session_is_opened_renewed_and_ended(service, alice):
    session = service.log_in().json
    renewed = service.post("com.atproto.server.refreshSession", bearer(session, "refreshJwt"))
    spent = service.post("com.atproto.server.refreshSession", bearer(session, "refreshJwt"))

    assert renewed.json["did"] == alice["did"] and renewed.json["active"] is True
    assert outcome(spent) == (400, "ExpiredToken")
    assert spent.json["message"] == "Token has been revoked"

    ended = service.post("com.atproto.server.deleteSession", bearer(renewed.json, "refreshJwt"))

    assert (ended.status_code, ended.data, "Content-Type" in ended.headers) == (200, b"", False)
    for token in (session, renewed.json):
        assert outcome(service.get("com.atproto.server.getSession", bearer(token))) == (
            400,
            "ExpiredToken",
        )
    assert outcome(service.get("com.atproto.server.getSession", bearer(alice))) == (200, "")


@pytest.mark.parametrize(
    ("method", "token", "expected"),
    [
        ("refreshSession", "accessJwt", (400, "InvalidToken")),
        ("deleteSession", "accessJwt", (400, "InvalidToken")),
        ("deactivateAccount", "refreshJwt", (400, "InvalidToken")),
        ("activateAccount", "refreshJwt", (400, "InvalidToken")),
        ("requestAccountDelete", "refreshJwt", (400, "InvalidToken")),
    ],
)
def test_a_token_of_the_other_kind_is_refused(service, alice, method, token, expected):
    assert outcome(service.post(f"com.atproto.server.{method}", bearer(alice, token))) == expected


@pytest.mark.parametrize(
    "method",
    [
        "refreshSession",
        "deleteSession",
        "deactivateAccount",
        "activateAccount",
        "requestAccountDelete",
    ],
)
def test_session_methods_need_a_token(service, method):
    assert outcome(service.post(f"com.atproto.server.{method}")) == (401, "AuthMissing")


def test_a_wrong_password_opens_no_session(service, alice):
    answer = service.post(
        "com.atproto.server.createSession", identifier="alice.test", password="wrong password"
    )

    assert outcome(answer) == (401, "AuthenticationRequired")
    assert answer.json["message"] == "Invalid identifier or password"


def test_an_access_token_ends_after_two_hours_and_its_session_goes_on(service, alice, clock):
    clock.advance(7201)

    assert outcome(service.get("com.atproto.server.getSession", bearer(alice))) == (
        400,
        "ExpiredToken",
    )
    renewed = service.post("com.atproto.server.refreshSession", bearer(alice, "refreshJwt")).json
    assert outcome(service.get("com.atproto.server.getSession", bearer(renewed))) == (200, "")


def test_the_service_describes_itself(open_service):
    service = open_service(
        MAX_BLOB_SIZE="123456",
        HANDLE_DOMAINS=".test,.example.com",
        SERVICE_DID="did:web:pds.example.com",
    )

    assert service.get("com.atproto.server.describeServer").json == {
        "did": "did:web:pds.example.com",
        "availableUserDomains": [".test", ".example.com"],
        "inviteCodeRequired": False,
        "blobUploadLimit": 123456,
        "links": {},
        "contact": {},
    }


def test_a_local_handle_resolves_in_any_case_and_others_do_not(service, alice):
    resolve = "com.atproto.identity.resolveHandle"

    assert service.get(resolve, handle="ALICE.test").json == {"did": ALICE}
    assert outcome(service.get(resolve, handle="bob.test")) == (400, "HandleNotFound")
    assert outcome(service.get(resolve, handle="al_ice")) == (400, "InvalidRequest")


def test_the_document_of_a_local_did_is_where_did_web_looks_for_it(service, alice):
    document = service.page("/.well-known/did.json", "alice.test:8080").json

    assert document == {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": ALICE,
        "alsoKnownAs": ["at://alice.test"],
        "verificationMethod": [],
        "service": [
            {
                "id": "#atproto_pds",
                "type": "AtprotoPersonalDataServer",
                "serviceEndpoint": "http://alice.test:8080",
            }
        ],
    }
    assert service.page("/.well-known/atproto-did", "Alice.test").data == b"did:web:alice.test"


@pytest.mark.parametrize(
    ("service_did", "host", "status"),
    [
        ("did:web:localhost", "localhost", 200),
        ("did:web:localhost", "localhost:2583", 200),
        ("did:web:pds.example.com", "PDS.example.com", 200),
        ("did:web:localhost%3A2583", "localhost:2583", 200),
        ("did:web:localhost%3A2583", "localhost:2584", 404),
        ("did:web:localhost%3A2583", "localhost", 404),
        ("did:web:pds.example.com", "example.com", 404),
        ("did:web:pds.example.com:user", "pds.example.com", 404),
        (CAROL, "localhost", 404),
    ],
)
def test_the_services_own_document_is_at_its_own_host(open_service, service_did, host, status):
    answer = open_service(SERVICE_DID=service_did).page("/.well-known/did.json", host)

    assert (answer.status_code, answer.json.get("id", service_did)) == (status, service_did)


@pytest.mark.parametrize("path", ["/.well-known/did.json", "/.well-known/atproto-did"])
def test_a_host_that_is_no_handle_has_no_document(service, alice, path):
    answer = service.page(path, "bob.test")

    assert (answer.status_code, answer.json["error"]) == (404, "NotFound")


def test_the_endpoint_is_the_url_that_the_client_used_behind_proxies(open_service):
    service = open_service(PROXY_HOPS="1", SIGNUPS="open")
    forwarded = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "pds.example.com",
        "X-Forwarded-For": "192.0.2.1",
    }
    service.create()

    answer = service.post(
        "com.atproto.server.createSession", forwarded, identifier="alice.test", password=PASSWORD
    ).json

    assert answer["didDoc"]["service"][0]["serviceEndpoint"] == "https://pds.example.com"


PUBLIC = "https://pds.example.com"
ELSEWHERE = "evil.example"


@pytest.fixture
def public(open_service):
    """A service with an address of its own."""
    return open_service(PUBLIC_URL=PUBLIC, SERVICE_DID="did:web:pds.example.com")


def endpoint(document):
    return document["service"][0]["serviceEndpoint"]


def test_the_configured_url_is_in_every_document_whatever_the_client_says(public):
    made = public.create()
    log_in = {"json": {"identifier": "alice.test", "password": PASSWORD}}
    http, base = public.app.test_client(), {"base_url": f"http://{ELSEWHERE}"}
    calls = [
        http.post("/xrpc/com.atproto.server.createSession", **log_in, **base),
        http.get("/xrpc/com.atproto.server.getSession", headers=bearer(made), **base),
        http.get("/xrpc/com.atproto.repo.describeRepo?repo=alice.test", **base),
    ]

    assert [endpoint(answer.json["didDoc"]) for answer in calls] == [PUBLIC] * 3
    assert endpoint(made["didDoc"]) == PUBLIC
    assert endpoint(public.page("/.well-known/did.json", "alice.test").json) == PUBLIC
    assert endpoint(public.page("/.well-known/did.json", "pds.example.com:81").json) == PUBLIC
    assert endpoint(services_of(public.app).identities.document(ALICE)) == PUBLIC


def test_links_in_answers_begin_with_the_configured_url(public):
    made = public.create()
    blob = public.upload(bearer(made)).json["blob"]
    profile = {"$type": "app.bsky.actor.profile", "banner": blob}
    public.post(
        "com.atproto.repo.putRecord",
        bearer(made),
        repo=ALICE,
        collection="app.bsky.actor.profile",
        rkey="self",
        record=profile,
        validate=False,
    )

    answer = public.page("/xrpc/app.bsky.actor.getProfile?actor=alice.test", ELSEWHERE)

    assert answer.json["banner"].startswith(f"{PUBLIC}/xrpc/com.atproto.sync.getBlob?")


@pytest.mark.parametrize("host", ["localhost", ELSEWHERE])
def test_a_client_does_not_choose_the_host_that_a_did_must_name(public, host):
    made = public.create()

    status = public.app.test_client().get(
        "/xrpc/com.atproto.server.checkAccountStatus",
        headers=bearer(made),
        base_url=f"http://{host}",
    )

    assert status.json["validDid"] is True


def test_no_answer_repeats_a_host_that_is_not_configured(public):
    for path in (
        "/xrpc/com.atproto.server.describeServer",
        "/xrpc/_health",
        "/.well-known/did.json",
    ):
        assert ELSEWHERE not in public.page(path, ELSEWHERE).text


def test_a_forwarded_host_is_believed_from_a_trusted_proxy_only(service, alice):
    answer = service.get(
        "com.atproto.server.getSession", {**bearer(alice), "X-Forwarded-Host": "evil.example"}
    ).json

    assert answer["didDoc"]["service"][0]["serviceEndpoint"] == "http://localhost"


def test_a_profile_is_what_its_record_says(service, alice):
    blob = service.upload(bearer(alice)).json["blob"]
    profile = {
        "$type": "app.bsky.actor.profile",
        "displayName": "Alice",
        "description": "likes cats",
        "banner": {"not": "a blob"},
        "picture": blob,
    }
    written = service.post(
        "com.atproto.repo.putRecord",
        bearer(alice),
        repo=alice["did"],
        collection="app.bsky.actor.profile",
        rkey="self",
        record=profile,
        validate=False,
    )
    assert written.status_code == 200, written.json

    assert service.get("app.bsky.actor.getProfile", actor="alice.test").json == {
        "did": ALICE,
        "handle": "alice.test",
        "displayName": "Alice",
        "description": "likes cats",
    }
    assert service.get("app.bsky.actor.getProfile", actor=alice["did"]).status_code == 200
    assert outcome(service.get("app.bsky.actor.getProfile", actor="bob.test")) == (
        400,
        "InvalidRequest",
    )


def test_a_deactivated_profile_is_its_owners_alone(service, alice):
    service.post(
        "com.atproto.server.deactivateAccount", bearer(alice), deleteAfter="2030-01-01T00:00:00Z"
    )

    assert outcome(service.get("app.bsky.actor.getProfile", actor="alice.test")) == (
        400,
        "InvalidRequest",
    )
    assert outcome(service.get("app.bsky.actor.getProfile", bearer(alice), actor="alice.test")) == (
        200,
        "",
    )


def test_the_status_of_an_account_counts_what_it_has(service, alice):
    blob = service.upload(bearer(alice)).json["blob"]
    before = service.get("com.atproto.server.checkAccountStatus", bearer(alice)).json
    service.post_blob(alice, blob)
    after = service.get("com.atproto.server.checkAccountStatus", bearer(alice)).json

    assert (before["indexedRecords"], before["expectedBlobs"], before["importedBlobs"]) == (0, 0, 1)
    assert (after["indexedRecords"], after["expectedBlobs"], after["importedBlobs"]) == (1, 1, 1)
    assert after["repoRev"] > before["repoRev"]
    assert after["repoCommit"].startswith("bafyrei") and after["repoCommit"] != before["repoCommit"]
    assert (after["activated"], after["validDid"], after["privateStateValues"]) == (True, True, 0)


@pytest.mark.sqlite
def test_a_deleted_account_leaves_no_row_and_no_byte(service, alice, tmp_path):
    blob = service.upload(bearer(alice)).json["blob"]
    service.post_blob(alice, blob)

    refused = service.post(
        "com.atproto.server.deleteAccount", did=alice["did"], password="wrong password", token="any"
    )
    deleted = service.post(
        "com.atproto.server.deleteAccount", did=alice["did"], password=PASSWORD, token="any"
    )

    assert outcome(refused) == (401, "AuthenticationRequired")
    assert (deleted.status_code, deleted.data) == (200, b"")
    assert outcome(service.log_in()) == (401, "AuthenticationRequired")
    assert rows(tmp_path) == {
        "account": 0, "blob": 0, "blob_metadata": 0, "record": 0, "record_blob": 0, "session": 0,
    }  # fmt: skip
    assert list((tmp_path / "data0" / "blobs").glob("??/*")) == []
    again = service.post(
        "com.atproto.server.deleteAccount", did=alice["did"], password=PASSWORD, token="any"
    )
    assert outcome(again) == (400, "InvalidRequest")


def test_deleting_an_account_leaves_the_blobs_of_others(service, alice):
    bob = service.create("bob.test")
    for account in (alice, bob):
        service.post_blob(account, service.upload(bearer(account)).json["blob"])
    cid = service.upload(bearer(bob)).json["blob"]["ref"]["$link"]

    service.post(
        "com.atproto.server.deleteAccount", did=alice["did"], password=PASSWORD, token="any"
    )

    assert outcome(service.get("com.atproto.sync.getBlob", did=alice["did"], cid=cid)) == (
        400,
        "RepoNotFound",
    )
    assert service.get("com.atproto.sync.getBlob", did=bob["did"], cid=cid).data == GIF


def test_a_handle_is_free_again_after_its_account_is_gone_and_old_tokens_stay_dead(service, alice):
    service.post(
        "com.atproto.server.deleteAccount", did=alice["did"], password=PASSWORD, token="any"
    )
    service.create()

    assert outcome(service.get("com.atproto.server.getSession", bearer(alice))) == (
        400,
        "ExpiredToken",
    )
    assert (
        outcome(service.post("com.atproto.server.refreshSession", bearer(alice, "refreshJwt")))[0]
        == 400
    )


def test_an_admin_deletes_an_account_without_its_password(service, alice):
    assert outcome(service.post("com.atproto.admin.deleteAccount", ADMIN, did=alice["did"])) == (
        200,
        "",
    )
    assert outcome(service.log_in()) == (401, "AuthenticationRequired")


OK = (200, "")
DEACTIVATED, TAKEN_DOWN, GONE = (
    (401, "AccountDeactivated"),
    (401, "AccountTakedown"),
    (403, "AccountNotFound"),
)
NO_REPO = (400, "NotFound")
NO_SERVING = {
    "deactivated": (400, "RepoDeactivated"),
    "taken down": (400, "RepoTakendown"),
    "deleted": (400, "RepoNotFound"),
}
CALLS = {
    #               active  deactivated  taken down  deleted
    "uploadBlob": (OK, OK, TAKEN_DOWN, GONE),
    "putRecord": (OK, DEACTIVATED, TAKEN_DOWN, GONE),
    "deleteRecord": (OK, DEACTIVATED, TAKEN_DOWN, GONE),
    "applyWrites": (OK, DEACTIVATED, TAKEN_DOWN, GONE),
    "listMissingBlobs": (OK, OK, OK, NO_REPO),
    "checkAccountStatus": (OK, OK, OK, NO_REPO),
    "getSession": (OK, OK, OK, GONE),
    "refreshSession": (OK, OK, TAKEN_DOWN, (400, "ExpiredToken")),
    "createSession": (OK, OK, TAKEN_DOWN, (401, "AuthenticationRequired")),
    "requestAccountDelete": (OK, OK, OK, GONE),
    "getBlob by anybody": (OK, *NO_SERVING.values()),
    "listBlobs by anybody": (OK, *NO_SERVING.values()),
    "getBlob by the owner": (OK, OK, OK, NO_SERVING["deleted"]),
    "listBlobs by the owner": (OK, OK, OK, NO_SERVING["deleted"]),
    "getBlob by an admin": (OK, OK, OK, NO_SERVING["deleted"]),
    "listBlobs by an admin": (OK, OK, OK, NO_SERVING["deleted"]),
    "resolveHandle": (OK, *[(400, "HandleNotFound")] * 3),
    # Last: these change the state.
    "deactivateAccount": (OK, OK, TAKEN_DOWN, GONE),
    "activateAccount": (OK, OK, TAKEN_DOWN, GONE),
}
STATES = ("active", "deactivated", "taken down", "deleted")


def put_in(service, account, state):
    if state == "deactivated":
        service.post(
            "com.atproto.server.deactivateAccount",
            bearer(account),
            deleteAfter="2030-01-01T00:00:00Z",
        )
    if state == "taken down":
        service.take_down(account["did"])
    if state == "deleted":
        service.post(
            "com.atproto.server.deleteAccount", did=account["did"], password=PASSWORD, token="any"
        )


def make_call(service, call, account, blob):
    mine, did = bearer(account), account["did"]
    name, _, by = call.partition(" by ")
    asking = {"": mine, "anybody": None, "the owner": mine, "an admin": ADMIN}[by]
    record = {"repo": did, "collection": "com.example.picture", "rkey": "one"}
    create = {
        "$type": "com.atproto.repo.applyWrites#create",
        "collection": "com.example.picture",
        "value": {},
    }
    return {
        "uploadBlob": lambda: service.upload(mine),
        "putRecord": lambda: service.post_blob(account, blob, rkey="two"),
        "deleteRecord": lambda: service.post("com.atproto.repo.deleteRecord", mine, **record),
        "applyWrites": lambda: service.post(
            "com.atproto.repo.applyWrites", mine, repo=did, writes=[create]
        ),
        "listMissingBlobs": lambda: service.get("com.atproto.repo.listMissingBlobs", mine),
        "checkAccountStatus": lambda: service.get("com.atproto.server.checkAccountStatus", mine),
        "getSession": lambda: service.get("com.atproto.server.getSession", mine),
        "refreshSession": lambda: service.post(
            "com.atproto.server.refreshSession", bearer(account, "refreshJwt")
        ),
        "createSession": lambda: service.log_in(),
        "deactivateAccount": lambda: service.post(
            "com.atproto.server.deactivateAccount", mine, deleteAfter="2030-01-01T00:00:00Z"
        ),
        "activateAccount": lambda: service.post("com.atproto.server.activateAccount", mine),
        "requestAccountDelete": lambda: service.post(
            "com.atproto.server.requestAccountDelete", mine
        ),
        "getBlob": lambda: service.get(
            "com.atproto.sync.getBlob", asking, did=did, cid=blob["ref"]["$link"]
        ),
        "listBlobs": lambda: service.get("com.atproto.sync.listBlobs", asking, did=did),
        "resolveHandle": lambda: service.get(
            "com.atproto.identity.resolveHandle", handle="alice.test"
        ),
    }[name]()


@pytest.mark.parametrize("state", STATES)
def test_each_state_of_an_account_allows_what_it_should(service, alice, state):
    blob = service.upload(bearer(alice)).json["blob"]
    service.post_blob(alice, blob)
    put_in(service, alice, state)

    outcomes = {call: outcome(make_call(service, call, alice, blob)) for call in CALLS}

    assert outcomes == {call: expected[STATES.index(state)] for call, expected in CALLS.items()}


def test_an_account_is_served_again_when_it_is_activated_or_its_takedown_lifted(service, alice):
    blob = service.upload(bearer(alice)).json["blob"]
    service.post_blob(alice, blob)

    for state in ("deactivated", "taken down"):
        put_in(service, alice, state)
        service.take_down(alice["did"], applied=False)
        service.post("com.atproto.server.activateAccount", bearer(alice))

        assert outcome(make_call(service, "getBlob by anybody", alice, blob)) == OK
        assert outcome(make_call(service, "putRecord", alice, blob)) == OK


def test_the_reason_an_account_is_not_served_is_public(service, alice):
    listed = {"did": alice["did"]}
    put_in(service, alice, "deactivated")
    deactivated = service.get("com.atproto.sync.listBlobs", **listed).json["message"]
    put_in(service, alice, "taken down")
    taken_down = service.get("com.atproto.sync.listBlobs", **listed).json["message"]
    put_in(service, alice, "deleted")
    deleted = service.get("com.atproto.sync.listBlobs", **listed).json["message"]

    assert (deactivated, taken_down, deleted) == (
        f"Repo has been deactivated: {alice['did']}",
        f"Repo has been takendown: {alice['did']}",
        f"Could not find repo for DID: {alice['did']}",
    )


def test_the_owner_of_an_account_that_was_taken_down_takes_the_data_out(service, alice):
    blob = service.upload(bearer(alice)).json["blob"]
    service.post_blob(alice, blob)
    service.take_down(alice["did"])

    session = service.log_in(allowTakendown=True).json

    assert (session["active"], session["status"]) == (False, "takendown")
    assert (
        service.get("com.atproto.server.getSession", bearer(session)).json["status"] == "takendown"
    )
    where = {"did": alice["did"], "cid": blob["ref"]["$link"]}
    assert service.get("com.atproto.sync.getBlob", bearer(session), **where).data == GIF
    assert outcome(service.upload(bearer(session))) == (400, "InvalidToken")
    assert (
        outcome(service.post("com.atproto.server.refreshSession", bearer(session, "refreshJwt")))
        == TAKEN_DOWN
    )


def test_beside_a_pds_account_methods_are_not_implemented(open_service):
    service = open_service(ACCOUNTS="external")
    procedures = (
        "createAccount",
        "createSession",
        "refreshSession",
        "deleteSession",
        "deactivateAccount",
        "activateAccount",
        "deleteAccount",
        "requestAccountDelete",
    )

    answers = [
        *(service.post(f"com.atproto.server.{name}") for name in procedures),
        service.get("com.atproto.server.getSession"),
        service.get("com.atproto.identity.resolveHandle", handle="alice.test"),
        service.get("app.bsky.actor.getProfile", actor="alice.test"),
    ]

    assert [outcome(answer) for answer in answers] == [(501, "MethodNotImplemented")] * len(answers)
    assert service.page("/.well-known/atproto-did", "alice.test").status_code == 404


def test_beside_a_pds_the_service_and_account_status_are_described(
    open_service,
    clock,
):
    service = open_service(ACCOUNTS="external", JWT_SECRET=SECRET)
    tokens = SessionTokens((SECRET,), "did:web:localhost", clock)
    token = tokens.access(CAROL, session_id=None)

    assert service.get("com.atproto.server.describeServer").json["availableUserDomains"] == []
    status = service.get(
        "com.atproto.server.checkAccountStatus", {"Authorization": f"Bearer {token}"}
    )
    assert (status.status_code, status.json["activated"]) == (200, True)


def rows(folder):
    connection = sqlite3.connect(folder / "data0" / "aurora.sqlite3")
    try:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("account", "blob", "blob_metadata", "record", "record_blob", "session")
        }
    finally:
        connection.close()


@pytest.mark.parametrize("field", ["handle", "email", "password"])
def test_a_lone_surrogate_is_refused(service, field):
    body = {"handle": "alice.test", "email": "a@example.com", "password": PASSWORD} | {
        field: "half \ud83d"
    }

    answer = service.post("com.atproto.server.createAccount", **body)

    assert outcome(answer) == (400, "InvalidRequest")
    assert answer.json["message"] == "The request body is not UTF-8"
