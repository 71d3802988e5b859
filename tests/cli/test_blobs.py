"""``aurora-blobs blobs list``, ``show``, ``stats`` and ``takedown``."""

import json

import pytest
from support.accounts import sign_up
from support.car_files import CAR, IMPORT, car_of, reference
from support.cids import cid_in
from support.media_samples import jpeg

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
        (bob.did, "temporary", []),
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
