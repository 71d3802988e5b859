"""``aurora-blobs audit list``, and what commands leave there."""

import json
import os
import pwd
import re

import pytest
from support.accounts import ALICE, BOB, sign_up
from support.cids import cid_of
from support.media_samples import jpeg

from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.catalog.audit import MAX_REASON

CID = cid_of(b"a cat")
NO_LOG_IN = "4294967295"


@pytest.fixture
def listed(run):
    """``listed(…)``: what `audit list --json` shows, without the times."""

    def listed(*filters):
        done = run("audit", "list", "--json", *filters)
        assert done.exit_code == 0, done.output
        rows = [json.loads(line) for line in done.output.splitlines()]
        assert all(re.fullmatch(r"20..-..-..T..:..:..\+00:00", row.pop("actedAt")) for row in rows)
        return rows

    return listed


def who():
    """Who logged in on this machine, or else who runs the tests."""
    with open("/proc/self/loginuid") as file:
        uid = file.read()
    return "user:" + pwd.getpwuid(os.getuid() if uid == NO_LOG_IN else int(uid)).pw_name


@pytest.mark.parametrize(
    "words, action, did, cid, old, new",
    [
        (("account", "takedown", "alice.test", "--ref", "r"), "takedown", ALICE, None, None, "r"),
        (("account", "quota", "alice.test", "1GB"), "quota", ALICE, None, "default", "1000000000"),
        (
            ("account", "quota", ALICE, "--uploads-per-day", "5"),
            *("uploads per day", ALICE, None, "default", "5"),
        ),
        (
            ("account", "password", "alice.test", "--password", "battery staple"),
            *("password", ALICE, None, None, None),
        ),
        (("account", "invite", "--uses", "2"), "invite", None, None, None, "2 uses"),
        (
            ("account", "delete", "alice.test", "--yes"),
            *("delete", ALICE, None, "0 blobs, 0 bytes", None),
        ),
        (("blobs", "takedown", CID, "--ref", "r"), "takedown", None, CID, None, "r"),
        (
            ("blobs", "takedown", CID, "--did", ALICE, "--ref", "r"),
            *("takedown", ALICE, CID, None, "r"),
        ),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_a_command_that_acts_leaves_who_ran_it_and_why(
    run, listed, alice, words, action, did, cid, old, new
):
    done = run(*words, "--reason", "they asked for it")

    assert done.exit_code == 0, done.output
    assert listed() == [
        {
            "actor": who(),
            "via": " ".join(words[:2]),
            "action": action,
            "did": did,
            "cid": cid,
            "reason": "they asked for it",
            "oldValue": old,
            "newValue": new,
        }
    ]


@pytest.mark.parametrize(
    "words", [("account", "takedown", ALICE), ("blobs", "takedown", CID)], ids=" ".join
)
def test_a_takedown_that_is_lifted_stays_in_the_list(run, listed, alice, words):
    run(*words, "--ref", "case 7", "--reason", "spam")
    run(*words, "--lift", "--reason", "it was none")

    assert [(row["action"], row["reason"], row["oldValue"]) for row in listed()] == [
        ("lift", "it was none", "case 7"),
        ("takedown", "spam", None),
    ]
    assert run("takedown", "list").output == ""


def test_a_dry_run_leaves_nothing_and_an_import_its_place_and_takedowns(
    run, listed, alice, tmp_path
):
    folder = tmp_path / "blobs" / ALICE
    folder.mkdir(parents=True)
    (folder / cid_of(jpeg("cat"))).write_bytes(jpeg("cat"))

    run("blobs", "import", str(folder.parent), "--dry-run")
    assert listed() == []
    run("blobs", "import", str(folder.parent), "--reason", "moving in")
    run("blobs", "give-back", "--did", ALICE, "--to", str(tmp_path), "--dry-run")
    run("blobs", "give-back", "--did", ALICE, "--to", str(tmp_path))

    assert [(row["action"], row["did"], row["reason"], row["newValue"]) for row in listed()] == [
        ("give-back", ALICE, None, str(tmp_path)),
        ("import", None, "moving in", str(folder.parent)),
    ]


def test_the_takedowns_of_a_pds_that_moves_in_are_those_of_the_command(
    run, listed, alice, tmp_path
):
    folder = tmp_path / "blobs" / "quarantine" / ALICE
    folder.mkdir(parents=True)
    (folder / cid_of(jpeg("cat"))).write_bytes(jpeg("cat"))

    run("blobs", "import", str(tmp_path / "blobs"), "--layout", "pds")

    assert [(row["actor"], row["via"], row["action"], row["cid"]) for row in listed()] == [
        (who(), "blobs import", "takedown", cid_of(jpeg("cat"))),
        (who(), "blobs import", "import", None),
    ]


@pytest.mark.sqlite
def test_a_store_that_is_adopted_is_named(run, listed, services, alice):
    (services.config.data_folder.blobs / "aurora-store.json").write_text('{"store": "another"}')

    run("blobs", "fsck", "--adopt", "--reason", "a new disk")

    [row] = listed()
    assert (row["action"], row["reason"]) == ("adopt", "a new disk")
    assert str(services.config.data_folder.blobs) in row["newValue"]


def test_the_list_is_filtered_and_cut(run, listed, services, app, alice):
    sign_up(app.test_client(), "bob.test")
    services.moderation.take_down(Subject(ALICE, CID), "case 7")
    services.moderation.take_down(Subject(BOB, None), "case 8")
    services.moderation.lift(Subject(BOB, None))
    run("account", "quota", BOB, "1GB")

    def found(*filters):
        return [(row["action"], row["did"]) for row in listed(*filters)]

    assert found("--subject", ALICE) == found("--subject", CID) == [("takedown", ALICE)]
    assert found("--subject", BOB, "--action", "takedown") == [("takedown", BOB)]
    assert found("--actor", who()) == [("quota", BOB)]
    assert found("--limit", "2") == [("quota", BOB), ("lift", BOB)]
    assert len(found("--since", "1h")) == len(found("--since", "2020-01-01")) == 4
    assert found("--since", "2099-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    "words, line",
    [
        (("--subject", "alice.test"), "alice.test"),
        (("--since", "soon"), "a time like 2026-11-30T12:00:00Z, or a day"),
        (("--action", "nothing"), "'nothing' is not one of 'takedown'"),
        (("--limit", "0"), "0 is not in the range"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(run, alice, words, line):
    done = run("audit", "list", *words)

    assert done.exit_code > 0
    assert line in done.output


@pytest.mark.parametrize("reason", ["x" * (MAX_REASON + 1), "\udcff"], ids=["long", "not UTF-8"])
def test_a_reason_is_bounded_text(run, listed, alice, reason):
    done = run("account", "takedown", ALICE, "--reason", reason)

    assert (done.exit_code, listed()) == (2, [])
    assert f"accepted are up to {MAX_REASON} characters of UTF-8" in done.output
    assert run("account", "takedown", ALICE, "--reason", "é" * MAX_REASON).exit_code == 0


def test_a_reason_cannot_move_the_cursor_of_the_terminal(run, alice):
    run("account", "takedown", ALICE, "--reason", "a\tb\x1b[2J\n")

    assert "\ta\\tb\\u001b[2J\\n\t" in run("audit", "list").output
