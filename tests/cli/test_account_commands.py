"""``aurora-blobs account …``."""

import json

import pytest
from support.accounts import ALICE, BOB, sign_up
from support.media_samples import jpeg

from aurora_blobs.app import create_command_app
from aurora_blobs.config import Config


@pytest.fixture
def run(app):
    """``run("list", …)`` runs an account command; its exit code and output."""

    def run(*arguments, answer=None):
        result = app.test_cli_runner().invoke(args=["account", *arguments], input=answer)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.output

    return run


def create(run, handle="alice.test", *more):
    return run(
        "create",
        "--handle",
        handle,
        "--email",
        f"{handle}@example.com",
        "--password",
        "correct horse",
        *more,
    )


def test_an_account_is_made_and_can_log_in(run, client):
    assert create(run) == (0, f"did     {ALICE}\nhandle  alice.test\n")

    session = {"identifier": "alice.test", "password": "correct horse"}
    assert client.post("/xrpc/com.atproto.server.createSession", json=session).json["did"] == ALICE


def test_the_operator_may_create_a_reserved_handle(run):
    code, output = create(run, "admin.test", "--json")

    assert (code, json.loads(output)) == (0, {"did": "did:web:admin.test", "handle": "admin.test"})


def test_a_missing_password_is_prompted_for_and_not_shown(run):
    code, output = run(
        "create",
        "--handle",
        "alice.test",
        "--email",
        "a@example.com",
        answer="correct horse\ncorrect horse\n",
    )

    assert code == 0 and "correct horse" not in output


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("show", "bob.test"), "Error: no account bob.test"),
        (("token", BOB), "Error: no account did:web:bob.test"),
        (("delete", "bob.test", "--yes"), "Error: no account bob.test"),
        (("quota", "bob.test", "1GB"), "Error: no account bob.test"),
        (("password", "bob.test", "--password", "long enough"), "Error: no account bob.test"),
        (
            ("password", "alice.test", "--password", "short"),
            "Error: Password too short. Minimum length is 8 characters.",
        ),
        (
            ("invite", "--expires", "soon"),
            "Error: --expires 'soon': accepted is seconds as a plain number, "
            "or like 90m, 24h or 7d",
        ),
        (
            ("invite", "--expires", "0"),
            "Error: --expires 0: accepted is one second or more, like 12h or 7d",
        ),
        (("takedown", "bob.test"), "Error: no account bob.test"),
        (
            ("quota", "alice.test", "much"),
            "Error: SIZE 'much': accepted is bytes as a plain number, or like 50MB or 50MiB, "
            "or default",
        ),
        (
            ("quota", "alice.test", "--uploads-per-day", "-1"),
            "Error: --uploads-per-day '-1': accepted is a whole number, or default",
        ),
        (
            (
                "create",
                "--handle",
                "alice.test",
                "--email",
                "b@example.com",
                "--password",
                "correct horse",
            ),
            "Error: Handle already taken: alice.test",
        ),
        (
            (
                "create",
                "--handle",
                "bob.example",
                "--email",
                "b@example.com",
                "--password",
                "correct horse",
            ),
            "Error: Not a supported handle domain: handles here end in .test",
        ),
        (
            ("create", "--handle", "bob.test", "--email", "b@example.com", "--password", "short"),
            "Error: Password too short. Minimum length is 8 characters.",
        ),
    ],
)
def test_a_failed_command_prints_one_line_and_exits_with_a_status(run, arguments, line):
    create(run)

    assert run(*arguments) == (1, f"{line}\n")


def test_a_quota_command_without_a_limit_shows_how_it_is_used(run):
    create(run)

    code, output = run("quota", "alice.test")

    assert code == 2 and "say SIZE, --uploads-per-day, or both" in output


def test_accounts_are_listed_one_a_line(run):
    create(run)
    create(run, "bob.test")
    run("takedown", "bob.test", "--ref", "spam")

    code, output = run("list")
    as_json = [json.loads(line) for line in run("list", "--json")[1].splitlines()]

    assert code == 0
    assert [line.split("\t")[:5] for line in output.splitlines()] == [
        ["did", "handle", "state", "blobs", "bytes"],
        [ALICE, "alice.test", "active", "0", "0"],
        [BOB, "bob.test", "takendown", "0", "0"],
    ]
    assert as_json[1] == {
        "did": BOB,
        "handle": "bob.test",
        "state": "takendown",
        "blobs": 0,
        "bytes": 0,
        "createdAt": "2025-06-15T15:06:40+00:00",
    }


def test_an_account_is_shown_with_its_usage_and_quota(run, app):
    member = sign_up(app.test_client(), "alice.test")
    member.publish(jpeg("public"))
    member.blob(jpeg("temporary"))
    run("quota", "alice.test", "1MB")

    code, output = run("show", ALICE, "--json")

    shown = json.loads(output)
    total, temporary = len(jpeg("public")) + len(jpeg("temporary")), len(jpeg("temporary"))
    assert (code, shown["blobs"], shown["bytes"], shown["usedBytes"]) == (0, 2, total, total)
    assert (shown["records"], shown["referencedBlobs"], shown["storedBlobs"]) == (1, 1, 2)
    assert (shown["temporaryBytes"], shown["quotaBytes"], shown["quotaIsDefault"]) == (
        temporary,
        1_000_000,
        False,
    )
    assert "quotaBytes" in run("show", ALICE)[1]


def test_a_token_of_the_command_is_accepted(run, client):
    create(run)

    code, token = run("token", "ALICE.test")

    headers = {"Authorization": f"Bearer {token.strip()}"}
    assert code == 0
    assert client.get("/xrpc/com.atproto.server.getSession", headers=headers).json["did"] == ALICE


def test_a_quota_holds_at_once_and_can_be_taken_back(run, app):
    member = sign_up(app.test_client(), "alice.test")

    code, output = run("quota", "alice.test", "10", "--uploads-per-day", "5", "--json")
    refused = member.upload(jpeg("too much for ten bytes"))
    run("quota", "alice.test", "default", "--uploads-per-day", "default")

    limits = {
        "quotaBytes": 10,
        "quotaIsDefault": False,
        "uploadsPerDay": 5,
        "uploadsPerDayIsDefault": False,
    }
    assert (code, json.loads(output)) == (0, {"did": ALICE, "usedBytes": 0, **limits})
    assert refused.json["error"] == "QuotaExceeded"
    assert json.loads(run("show", "alice.test", "--json")[1])["quotaIsDefault"]
    assert member.upload(jpeg("no limit")).status_code == 200


def test_uploads_per_day_are_limited_without_touching_the_quota(run, app):
    member = sign_up(app.test_client(), "alice.test")
    run("quota", "alice.test", "--uploads-per-day", "1")

    statuses = [member.upload(jpeg(number)).status_code for number in range(2)]

    assert statuses == [200, 429]
    assert json.loads(run("show", "alice.test", "--json")[1])["quotaIsDefault"]


def test_a_takedown_stops_serving_until_it_is_lifted(run, app):
    member = sign_up(app.test_client(), "alice.test")
    blob, _ = member.publish(jpeg("cat"))
    cid = blob["ref"]["$link"]

    applied = run("takedown", "alice.test", "--ref", "spam")
    refused, shown = member.fetch(cid), json.loads(run("show", "alice.test", "--json")[1])
    lifted, again = (run("takedown", "alice.test", "--lift") for _ in range(2))

    assert (applied, lifted) == (
        (0, f"{ALICE} is taken down\n"),
        (0, f"{ALICE} is not taken down any more\n"),
    )
    assert again == (0, f"{ALICE} was not taken down\n")
    assert (refused.json["error"], shown["takedownRef"], shown["state"]) == (
        "RepoTakendown",
        "spam",
        "takendown",
    )
    assert member.fetch(cid).status_code == 200


@pytest.mark.parametrize("answer", ["n\n", "\n", ""], ids=["no", "nothing", "no terminal"])
def test_an_account_is_deleted_only_when_confirmed(run, answer):
    create(run)

    code, _ = run("delete", "alice.test", answer=answer)

    assert code == 1
    assert run("show", "alice.test")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "answer"), [(("--yes",), None), ((), "y\n")], ids=["--yes", "asked"]
)
def test_a_deleted_account_is_gone_with_its_bytes(run, app, services, arguments, answer):
    sign_up(app.test_client(), "alice.test").publish(jpeg("cat"))

    code, output = run("delete", "alice.test", *arguments, answer=answer)

    assert code == 0 and output.endswith(f"deleted {ALICE}, 1 blobs, {len(jpeg('cat'))} bytes\n")
    assert run("list") == (0, "")
    assert list(services.blobs.backend.scan()) == []


def test_a_new_password_is_asked_for_twice_and_ends_the_sessions(run, app):
    member = sign_up(app.test_client(), "alice.test")

    code, output = run("password", "alice.test", answer="battery staple\nbattery staple\n")

    assert code == 0 and "battery staple" not in output
    assert output.endswith(f"{ALICE} has a new password, and its sessions have ended\n")
    assert member.get("com.atproto.server.getSession").json["error"] == "ExpiredToken"
    log_ins = [
        member.post("com.atproto.server.createSession", identifier=ALICE, password=password)
        for password in ("correct horse", "battery staple")
    ]
    assert [log_in.status_code for log_in in log_ins] == [401, 200]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "Error: no account bob.test"),
        (
            {"ACCOUNTS": "external"},
            "Error: AURORA_BLOBS_ACCOUNTS=external: the PDS keeps the accounts",
        ),
    ],
    ids=["no such account", "no local accounts"],
)
def test_nobody_is_asked_for_a_password_that_cannot_be_set(open_app, settings, line):
    runner = open_app(**settings).test_cli_runner()

    result = runner.invoke(args=["account", "password", "bob.test"], input="long enough\n" * 2)

    assert (result.exit_code, result.output) == (1, f"{line}\n")


def test_nobody_is_asked_for_a_password_where_there_is_no_database(tmp_path):
    config = Config.from_environ({"AURORA_BLOBS_DATA_DIR": str(tmp_path / "none")})
    runner = create_command_app(config).test_cli_runner()

    made = [
        runner.invoke(args=["account", *words], input="long enough\n" * 2)
        for words in (
            ("password", "bob.test"),
            ("create", "--handle", "bob.test", "--email", "bob@example.com"),
        )
    ]

    line = f"aurora_blobs: no database at {tmp_path}/none/aurora.sqlite3\n"
    assert [result.output for result in made] == [line, line]


def test_a_code_of_the_command_makes_so_many_accounts_until_it_expires(open_app, clock):
    app = open_app(SIGNUPS="invite")
    done = app.test_cli_runner().invoke(
        args=["account", "invite", "--uses", "3", "--expires", "7d"]
    )
    client, code = app.test_client(), done.output.removesuffix("\n")

    sign_up(client, "alice.test", invite_code=code)
    clock.advance(7 * 86_400 - 1)
    sign_up(client, "bob.test", invite_code=code)
    clock.advance(1)

    with pytest.raises(AssertionError, match="InvalidInviteCode"):
        sign_up(client, "carol.test", invite_code=code)


def test_codes_are_listed_with_what_is_left_of_each(run, services, clock):
    sign_ups = services.sign_ups
    used_up, lasting = sign_ups.invite(uses=1), sign_ups.invite(uses=2, for_account=BOB)
    expired = sign_ups.invite(uses=1, seconds=60)
    services.accounts.create(
        handle="alice.test", email="a@b.c", password="correct horse", invite_code=used_up
    )
    clock.advance(60)

    shown = [json.loads(line) for line in run("invites", "--json")[1].splitlines()]

    assert {row["code"]: (row["state"], row["usesLeft"], row["uses"]) for row in shown} == {
        used_up: ("used up", 0, 1),
        lasting: ("good", 2, 2),
        expired: ("expired", 1, 1),
    }
    ends = {row["code"]: (row["forAccount"], row["endsAt"]) for row in shown}
    assert ends[lasting] == (BOB, None)
    assert ends[expired] == (None, "2025-06-15T15:07:40+00:00")
    assert [line.split("\t")[0] for line in run("invites")[1].splitlines()] == [
        "code",
        *(row["code"] for row in shown),
    ]


@pytest.mark.parametrize("uses", ["0", "-1", "1000001", "many"])
def test_a_code_for_an_odd_number_of_accounts_is_not_made(run, uses):
    assert run("invite", "--uses", uses)[0] == 2
    assert run("invites") == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--handle", "a.test", "--email", "a@b.c", "--password", "correct horse"),
        ("invite",),
    ],
)
def test_beside_a_pds_no_account_can_be_created(open_app, arguments):
    runner = open_app(ACCOUNTS="external").test_cli_runner()

    result = runner.invoke(args=["account", *arguments])

    line = "Error: AURORA_BLOBS_ACCOUNTS=external: the PDS keeps the accounts\n"
    assert (result.exit_code, result.output) == (1, line)


def test_what_accounts_hold_is_listed_with_the_quota_of_the_settings(open_app):
    app = open_app(QUOTA="1MB")
    alice, bob = (sign_up(app.test_client(), name) for name in ("alice.test", "bob.test"))
    alice.publish(jpeg("cat"))
    bob.blob(jpeg("dog"))

    done = app.test_cli_runner().invoke(args=["account", "usage"])

    cat, dog = (len(jpeg(name)) for name in ("cat", "dog"))
    assert done.output == (
        "did\thandle\tblobCount\tblobBytes\ttemporaryBytes\tquotaBytes\n"
        f"{ALICE}\talice.test\t1\t{cat}\t0\t1000000\n"
        f"{BOB}\tbob.test\t1\t{dog}\t{dog}\t1000000\n"
    )
