"""``aurora-blobs blobs list``, ``show``, ``stats`` and ``takedown``."""

import json

import pytest
from support.accounts import sign_up
from support.car_files import CAR, IMPORT, car_of, reference
from support.cids import cid_in
from support.media_samples import jpeg

from aurora_blobs.accounts.moderation import Subject

CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


@pytest.fixture
def run(app):
    """``run("list", …)`` runs a blobs command; its exit code and output."""

    def run(*arguments):
        result = app.test_cli_runner().invoke(args=["blobs", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.output

    return run


def test_blobs_are_listed_one_a_line_with_their_state(run, app, alice):
    bob = sign_up(app.test_client(), "bobby.test")
    public, _ = alice.publish(jpeg("public"))
    temporary = bob.blob(jpeg("temporary"))

    code, output = run("list")
    header, *lines = [line.split("\t") for line in output.splitlines()]

    assert code == 0
    assert header[:5] == ["cid", "did", "mimeType", "size", "state"]
    assert [line[:5] for line in lines] == [
        [cid_in(public), alice.did, "image/jpeg", str(public["size"]), "public"],
        [cid_in(temporary), bob.did, "image/jpeg", str(temporary["size"]), "temporary"],
    ]
    assert [
        json.loads(line)["cid"]
        for line in run("list", "--json", "--did", "bobby.test")[1].splitlines()
    ] == [cid_in(temporary)]


def test_a_blob_is_shown_with_its_owners_and_records(run, app, alice):
    bob = sign_up(app.test_client(), "bobby.test")
    blob, rkey = alice.publish(jpeg("cat"))
    bob.blob(jpeg("cat"))
    run("takedown", cid_in(blob), "--did", "bobby.test", "--ref", "case 7")

    code, output = run("show", cid_in(blob))
    shown = json.loads(run("show", cid_in(blob), "--json")[1])

    uri = f"at://{alice.did}/com.example.file/{rkey}"
    assert code == 0
    assert f"named by {uri}\n" in output and "case 7" in output
    assert (shown["size"], shown["bytes"], shown["awaitedBy"]) == (blob["size"], "stored", [])
    assert [(holder["did"], holder["state"], holder["records"]) for holder in shown["holders"]] == [
        (alice.did, "public", [uri]),
        (bob.did, "takendown", []),
    ]
    assert [(down["takenDownFor"], down["ref"]) for down in shown["takedowns"]] == [
        (bob.did, "case 7")
    ]


def test_a_missing_blob_is_shown_with_its_records(run, alice):
    repository = car_of({"com.example.file/1": {"file": reference(jpeg("to come"))}}, alice.did)
    alice.client.post(
        IMPORT, data=repository.getvalue(), headers={**alice.headers, "Content-Type": CAR}
    )
    cid = alice.get("com.atproto.repo.listMissingBlobs").json["blobs"][0]["cid"]

    code, output = run("show", cid)
    shown = json.loads(run("show", cid, "--json")[1])

    uri = f"at://{alice.did}/com.example.file/1"
    assert code == 0
    assert "missing" in output and f"named by {uri}\n" in output
    assert (shown["size"], shown["bytes"], shown["holders"]) == (None, "not here", [])
    assert shown["awaitedBy"] == [{"did": alice.did, "state": "missing", "records": [uri]}]


def test_blobs_and_bytes_are_counted(run, alice):
    alice.publish(jpeg("public"))
    temporary = alice.blob(jpeg("temporary"))

    counted = json.loads(run("stats", "--json")[1])

    assert (counted["blobs"], counted["temporary"], counted["temporaryBytes"]) == (
        2,
        1,
        temporary["size"],
    )
    assert run("stats")[0] == 0


@pytest.fixture
def one_of_each_state(run, app, services, alice):
    """A blob in each state: the DID of its account and the blob, by state."""
    bob, carol = (sign_up(app.test_client(), f"{name}.test") for name in ("bobby", "carol"))
    held = {
        "public": (alice, alice.publish(jpeg("public"))[0]),
        "temporary": (alice, alice.blob(jpeg("temporary"))),
        "missing": (alice, alice.publish(jpeg("missing"))[0]),
        "takendown": (alice, alice.publish(jpeg("taken down"))[0]),
        "account takendown": (bob, bob.publish(jpeg("of bob"))[0]),
        "account deactivated": (carol, carol.publish(jpeg("of carol"))[0]),
    }
    services.blobs.backend.delete(cid_in(held["missing"][1]))
    services.blobs.mark_lost(cid_in(held["missing"][1]))
    run("takedown", cid_in(held["takendown"][1]))
    services.moderation.take_down(Subject(bob.did, None), "spam")
    carol.post("com.atproto.server.deactivateAccount")
    return {state: (member.did, blob) for state, (member, blob) in held.items()}


def test_a_blob_is_listed_and_shown_in_the_state_that_the_public_sees(run, one_of_each_state):
    rows = [json.loads(line) for line in run("list", "--json")[1].splitlines()]
    shown = {
        state: json.loads(run("show", cid_in(blob), "--json")[1])["holders"]
        for state, (_, blob) in one_of_each_state.items()
    }

    assert {row["state"]: (row["did"], row["cid"]) for row in rows} == {
        state: (did, cid_in(blob)) for state, (did, blob) in one_of_each_state.items()
    }
    assert {state: holder["state"] for state, (holder,) in shown.items()} == {
        state: state for state in one_of_each_state
    }


def test_what_is_held_is_counted_by_state(run, one_of_each_state):
    counted = json.loads(run("stats", "--json")[1])

    keys = {
        "public": "public",
        "temporary": "temporary",
        "missing": "missing",
        "takendown": "takendown",
        "account takendown": "accountTakendown",
        "account deactivated": "accountDeactivated",
    }
    for state, (_, blob) in one_of_each_state.items():
        assert (counted[keys[state]], counted[f"{keys[state]}Bytes"]) == (1, blob["size"])
    assert (counted["blobs"], counted["holdings"], counted["withoutBytes"]) == (6, 6, 1)
    sizes = [blob["size"] for _, blob in one_of_each_state.values()]
    assert counted["heldBytes"] == sum(sizes)
    assert counted["bytes"] == sum(sizes) - one_of_each_state["missing"][1]["size"]


def test_a_takedown_comes_before_all_else_that_hides_a_blob(run, services, alice):
    blob = alice.blob(jpeg("temporary"))
    run("takedown", cid_in(blob), "--did", alice.did)
    services.moderation.take_down(Subject(alice.did, None), "spam")
    down = json.loads(run("list", "--json")[1])

    run("takedown", cid_in(blob), "--did", alice.did, "--lift")
    lifted = json.loads(run("list", "--json")[1])

    assert (down["state"], lifted["state"]) == ("takendown", "account takendown")
    assert down["unreferencedSince"] is not None


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("list", "--did", "bob.test"), 1, "Error: Could not find repo: bob.test"),
        (
            ("show", CID),
            1,
            f"Error: no account holds {CID}, no record names it and nobody took it down",
        ),
        (("show", "cat.jpg"), 2, "Invalid value for 'CID'"),
        (("takedown", "cat.jpg"), 2, "Invalid value for 'CID'"),
        (("takedown", CID, "--did", "bob.test"), 1, "Error: Could not find repo: bob.test"),
    ],
)
def test_a_failed_command_prints_one_line_and_exits_with_a_status(run, arguments, code, line):
    got, output = run(*arguments)

    assert got == code
    assert line in output


def test_a_lift_reports_the_takedowns_that_remain(run, alice):
    run("takedown", CID)
    run("takedown", CID, "--did", "alice.test")

    lifted = run("takedown", CID, "--did", "alice.test", "--lift")
    again = run("takedown", CID, "--did", "alice.test", "--lift")

    still = f"{CID} is still taken down for every account\n"
    assert lifted == (0, f"{CID} is not taken down for alice.test any more\n{still}")
    assert again == (0, f"{CID} was not taken down for alice.test\n{still}")
    assert run("takedown", CID, "--lift") == (
        0,
        f"{CID} is not taken down for every account any more\n",
    )
