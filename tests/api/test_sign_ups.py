"""Who may create an account, and invite codes, over HTTP."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.accounts import ADMIN, ALICE, CAROL
from support.services import services_of

CREATE = "/xrpc/com.atproto.server.createAccount"
CREATE_CODE = "/xrpc/com.atproto.server.createInviteCode"
DESCRIBE = "/xrpc/com.atproto.server.describeServer"
PASSWORD = "correct horse"
UNAVAILABLE = {"error": "InvalidInviteCode", "message": "Provided invite code not available"}
NO_CODE = "aaaa-bbbb-cccc-dddd"


@pytest.fixture
def open_client(open_app):
    """``open_client(NAME=value, …)`` is a client of an application with those settings."""
    return lambda **settings: open_app(ADMIN_PASSWORD=ADMIN[1], **settings).test_client()


@pytest.fixture
def client(open_client):
    """A client of an application that wants invite codes."""
    return open_client(SIGNUPS="invite")


def sign_up(client, handle="alice.test", address="192.0.2.1", **more):
    body = {"handle": handle, "email": f"{handle}@example.com", "password": PASSWORD, **more}
    return client.post(CREATE, json=body, environ_base={"REMOTE_ADDR": address})


def code_of(client, uses=1, **more):
    answer = client.post(CREATE_CODE, json={"useCount": uses, **more}, auth=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json["code"]


def outcome(answer):
    return (answer.status_code, answer.json.get("error"))


def wants_code(client):
    return client.get(DESCRIBE).json["inviteCodeRequired"]


@pytest.mark.parametrize(
    "settings, status",
    [
        ({}, 200),
        ({"BIND": "unix:/run/here.sock"}, 200),
        ({"BIND": "[::1]:80"}, 200),
        ({"BIND": "localhost:80"}, 200),
        ({"BIND": "0.0.0.0:80"}, 400),
        ({"BIND": ":80"}, 400),
        ({"BIND": "[::]:80"}, 400),
        ({"BIND": "pds.example.com:80"}, 400),
        ({"PROXY_HOPS": "1"}, 400),
        ({"BIND": "unix:/run/here.sock", "PROXY_HOPS": "1"}, 400),
        ({"BIND": "0.0.0.0:80", "PROXY_HOPS": "1", "SIGNUPS": "open"}, 200),
        ({"SIGNUPS": "invite"}, 400),
    ],
)
def test_sign_up_is_open_where_only_this_machine_calls_or_a_setting_says_so(
    open_client, settings, status
):
    client = open_client(**settings)

    assert sign_up(client).status_code == status
    assert wants_code(client) == (status == 400)


def test_a_code_makes_as_many_accounts_as_it_has_uses(client):
    code = code_of(client, 2)

    answers = [
        sign_up(client, handle, inviteCode=code) for handle in ("one.test", "two.test", "six.test")
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 400]
    assert answers[2].json == UNAVAILABLE


def test_a_code_is_hard_to_guess_and_no_two_are_the_same(client):
    codes = {code_of(client) for _ in range(20)}

    assert len(codes) == 20
    assert all(re.fullmatch("[a-z2-7]{4}(-[a-z2-7]{4}){3}", code) for code in codes)


def test_a_code_may_be_written_in_capitals_and_between_blanks(client):
    code = code_of(client)

    assert sign_up(client, inviteCode=f" {code.upper()}\n").status_code == 200


@pytest.mark.parametrize(
    "code",
    [NO_CODE, "%", "aaaa-bbbb-cccc", "ÄÄÄÄ-bbbb-cccc-dddd", "x" * 500_000, " " * 500_000],
    ids=["unknown", "percent", "short", "not ASCII", "long", "long and blank"],
)
def test_a_wrong_code_makes_no_account_and_is_not_repeated_in_the_answer(client, code):
    answer = sign_up(client, inviteCode=code)

    assert (answer.status_code, answer.json) == (400, UNAVAILABLE)
    assert services_of(client.application).accounts.find(ALICE) is None


@pytest.mark.parametrize(
    "given",
    [{}, {"inviteCode": None}, {"inviteCode": ""}],
    ids=["absent", "null", "empty"],
)
def test_without_a_code_no_account_is_made_and_the_answer_says_what_is_missing(client, given):
    answer = sign_up(client, **given)

    assert answer.status_code == 400
    assert answer.json == {
        "error": "InvalidInviteCode",
        "message": "An account here wants an invite code: none was given",
    }


@pytest.mark.parametrize("refused", ["short.example", "al.test", "alice.test"])
def test_a_refused_sign_up_uses_no_code(client, refused):
    sign_up(client, inviteCode=code_of(client))
    code = code_of(client)

    assert sign_up(client, refused, inviteCode=code).status_code == 400
    assert sign_up(client, "bob.test", inviteCode=code).status_code == 200


def test_a_code_is_over_when_its_time_is(client, clock):
    sign_ups = services_of(client.application).sign_ups
    code = sign_ups.invite(uses=5, seconds=3600)
    clock.advance(3599)
    assert sign_up(client, inviteCode=code).status_code == 200
    clock.advance(1)

    assert sign_up(client, "bob.test", inviteCode=code).json == UNAVAILABLE


def test_many_sign_ups_at_once_use_a_code_no_more_often_than_it_has_uses(client):
    code = code_of(client, 5)

    with ThreadPoolExecutor(16) as pool:
        handles = [f"racer{number}.test" for number in range(16)]
        answers = list(
            pool.map(
                lambda handle: sign_up(client.application.test_client(), handle, inviteCode=code),
                handles,
            )
        )

    assert (
        sorted(map(outcome, answers), key=str)
        == [(200, None)] * 5 + [(400, "InvalidInviteCode")] * 11
    )
    (invite,) = services_of(client.application).sign_ups.invites()
    assert (invite.uses, invite.uses_left) == (5, 0)


def test_wrong_codes_are_limited_like_wrong_passwords_and_then_no_right_one_is_told(open_client):
    client = open_client(SIGNUPS="invite", FAILURES_PER_ADDRESS="3/5m")
    code = code_of(client)

    guesses = [sign_up(client, inviteCode=NO_CODE) for _ in range(4)]

    assert [answer.status_code for answer in guesses] == [400, 400, 400, 429]
    assert sign_up(client, inviteCode=code).status_code == 429
    assert sign_up(client, inviteCode=code, address="192.0.2.2").status_code == 200


def test_a_sign_up_without_a_code_is_no_guess(open_client):
    client = open_client(SIGNUPS="invite", FAILURES_PER_ADDRESS="1/5m")
    code = code_of(client)

    assert [sign_up(client).status_code for _ in range(3)] == [400, 400, 400]
    assert sign_up(client, inviteCode=code).status_code == 200


def test_an_open_service_looks_at_no_code(open_client):
    client = open_client()
    code = code_of(client)

    assert sign_up(client, inviteCode="anything").status_code == 200
    assert sign_up(client, "bob.test", inviteCode=code).status_code == 200
    (invite,) = services_of(client.application).sign_ups.invites()
    assert invite.uses_left == 1


def test_a_closed_service_says_that_it_is_and_takes_no_code(open_client):
    client = open_client(SIGNUPS="closed")
    code = code_of(client)

    answer = sign_up(client, inviteCode=code)

    assert outcome(answer) == (400, "InvalidRequest")
    assert "closed" in answer.json["message"]
    assert not wants_code(client)


@pytest.mark.parametrize("policy", ["invite", "closed"])
def test_the_operator_makes_accounts_whoever_may_sign_up(open_client, policy):
    client = open_client(SIGNUPS=policy)

    done = client.application.test_cli_runner().invoke(
        args=[
            *("account", "create", "--handle", "alice.test"),
            *("--email", "a@example.com", "--password", PASSWORD),
        ]
    )

    assert done.exit_code == 0
    assert services_of(client.application).accounts.find(ALICE) is not None


def test_a_code_is_made_for_an_account_and_kept_with_it(client):
    code = code_of(client, 3, forAccount=CAROL)

    (invite,) = services_of(client.application).sign_ups.invites()
    assert (invite.code, invite.for_account, invite.uses) == (code, CAROL, 3)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"useCount": 0},
        {"useCount": -1},
        {"useCount": 1_000_001},
        {"useCount": "1"},
        {"useCount": True},
        {"useCount": 1, "forAccount": "alice.test"},
    ],
    ids=["none", "zero", "negative", "too many", "text", "boolean", "no DID"],
)
def test_an_odd_code_is_not_made(client, body):
    answer = client.post(CREATE_CODE, json=body, auth=ADMIN)

    assert outcome(answer) == (400, "InvalidRequest")
    assert list(services_of(client.application).sign_ups.invites()) == []


def test_only_the_administrator_makes_codes(client):
    alice = sign_up(client, inviteCode=code_of(client)).json
    bearer = {"Authorization": f"Bearer {alice['accessJwt']}"}

    answers = [
        client.post(CREATE_CODE, json={"useCount": 1}, **credentials)
        for credentials in ({}, {"auth": ("admin", "a guess")}, {"headers": bearer})
    ]

    assert [answer.status_code for answer in answers] == [401, 401, 401]


def test_beside_a_pds_nobody_makes_codes(open_client):
    client = open_client(ACCOUNTS="external", BIND="0.0.0.0:80")

    code = client.post(CREATE_CODE, json={"useCount": 1}, auth=ADMIN)

    assert outcome(code) == (501, "MethodNotImplemented")
    assert not wants_code(client)
