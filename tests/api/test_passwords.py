"""New passwords that the administrator sets, over HTTP."""

import pytest
from support.accounts import ADMIN, ALICE, CAROL, sign_up

SET_PASSWORD = "com.atproto.admin.updateAccountPassword"
SESSION = "com.atproto.server.getSession"
OLD, NEW = "correct horse", "battery staple"


def set_password(client, did, password, **credentials):
    credentials = credentials or {"auth": ADMIN}
    return client.post(
        f"/xrpc/{SET_PASSWORD}", json={"did": did, "password": password}, **credentials
    )


def log_in(client, password=OLD):
    body = {"identifier": "alice.test", "password": password}
    return client.post("/xrpc/com.atproto.server.createSession", json=body)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def outcome(answer):
    return (answer.status_code, answer.json.get("error"))


def test_a_new_password_ends_all_sessions_of_its_account_and_no_other(client, alice):
    bob = sign_up(client, "bob.test")
    second = log_in(client).json

    answer = set_password(client, ALICE, NEW)

    assert (answer.status_code, answer.data) == (200, b"")
    assert outcome(alice.get(SESSION)) == (400, "ExpiredToken")
    second_ended = client.get(f"/xrpc/{SESSION}", headers=bearer(second["accessJwt"]))
    not_renewed = client.post(
        "/xrpc/com.atproto.server.refreshSession", headers=bearer(second["refreshJwt"])
    )
    assert outcome(second_ended) == outcome(not_renewed) == (400, "ExpiredToken")
    assert bob.get(SESSION).status_code == 200
    assert outcome(log_in(client)) == (401, "AuthenticationRequired")
    assert log_in(client, NEW).status_code == 200


def test_only_the_administrator_sets_passwords(client, alice):
    answers = [
        set_password(client, ALICE, NEW, **credentials)
        for credentials in (
            {"auth": ("admin", "a guess")},
            {"headers": alice.headers},
            {"headers": {}},
        )
    ]

    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert log_in(client).status_code == 200


@pytest.mark.parametrize(
    "did, password, error",
    [
        (ALICE, "short", "InvalidPassword"),
        (ALICE, "long" * 65, "InvalidPassword"),
        (CAROL, NEW, "InvalidRequest"),
        ("alice.test", NEW, "InvalidRequest"),
    ],
    ids=["short", "long", "no account", "no DID"],
)
def test_a_refused_password_changes_nothing(client, alice, did, password, error):
    answer = set_password(client, did, password)

    assert outcome(answer) == (400, error)
    assert alice.get(SESSION).status_code == 200
    assert log_in(client).status_code == 200


def test_beside_a_pds_nobody_sets_passwords(open_app):
    client = open_app(ACCOUNTS="external", ADMIN_PASSWORD=ADMIN[1]).test_client()

    assert outcome(set_password(client, ALICE, NEW)) == (501, "MethodNotImplemented")
