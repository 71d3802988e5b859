"""``aurora-blobs takedown list``."""

import json

import pytest
from support.accounts import BOB, sign_up
from support.cids import cid_in, cid_of
from support.media_samples import jpeg

from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.catalog import accounts, takedowns
from aurora_blobs.catalog.takedowns import EVERY_ACCOUNT

WHEN = "2025-06-15T15:06:40+00:00"


@pytest.fixture
def run(app):
    """``run()`` lists what is taken down; the output."""

    def run(*arguments):
        result = app.test_cli_runner().invoke(args=["takedown", "list", *arguments])
        assert result.exit_code == 0
        return result.output

    return run


def rows(run):
    return [json.loads(line) for line in run("--json").splitlines()]


def subjects(run):
    return [(row["did"], row["cid"]) for row in rows(run)]


def test_nothing_is_listed_where_nothing_is_taken_down(run, alice):
    alice.publish(jpeg("cat"))

    assert run() == run("--json") == ""


def test_accounts_and_blobs_are_listed_with_their_references(run, services, alice):
    cid = cid_in(alice.publish(jpeg("cat"))[0])
    moderation = services.moderation
    moderation.take_down(Subject(alice.did, cid), "case 7")
    moderation.take_down(Subject(EVERY_ACCOUNT, cid), "case 8")
    moderation.take_down(Subject(alice.did, None), "spam")

    assert run() == (
        "kind\tdid\tcid\tref\tcreatedAt\n"
        f"account\t{alice.did}\t\tspam\t{WHEN}\n"
        f"blob\tevery account\t{cid}\tcase 8\t{WHEN}\n"
        f"blob\t{alice.did}\t{cid}\tcase 7\t{WHEN}\n"
    )
    assert rows(run) == [
        {"kind": "account", "did": alice.did, "cid": None, "ref": "spam", "createdAt": WHEN},
        {"kind": "blob", "did": None, "cid": cid, "ref": "case 8", "createdAt": WHEN},
        {"kind": "blob", "did": alice.did, "cid": cid, "ref": "case 7", "createdAt": WHEN},
    ]


def test_what_is_lifted_is_listed_no_more(run, services, alice):
    cid = cid_of(b"a cat")
    for subject in (Subject(alice.did, cid), Subject(alice.did, None)):
        services.moderation.take_down(subject, None)

    services.moderation.lift(Subject(alice.did, cid))
    assert subjects(run) == [(alice.did, None)]
    services.moderation.lift(Subject(alice.did, None))
    assert subjects(run) == []


def test_an_account_is_listed_once_whether_it_is_deleted_and_comes_again(run, app, services):
    bob = sign_up(app.test_client(), "bob.test")
    services.moderation.take_down(Subject(bob.did, None), "spam")

    services.delete_account(bob.did)
    deleted = subjects(run)
    with services.database.write() as tx:
        accounts.make_external(tx, bob.did, services.clock())

    assert deleted == subjects(run) == [(BOB, None)]


@pytest.mark.parametrize("number", [499, 500, 501, 1000])
def test_each_takedown_is_listed_once_across_the_pages(run, services, number):
    with services.database.write() as tx:
        for count in range(number):
            did = f"did:plc:{count:04}"
            accounts.make_external(tx, did, 1)
            accounts.take_down(tx, did, 1, "spam")
            takedowns.apply(tx, cid_of(b"%d" % count), did, "case", 1)

    found = subjects(run)

    dids = [f"did:plc:{count:04}" for count in range(number)]
    assert found[:number] == [(did, None) for did in dids]
    assert sorted(found[number:]) == sorted(
        (did, cid_of(b"%d" % count)) for count, did in enumerate(dids)
    )


def test_a_reference_cannot_move_the_cursor_of_the_terminal(run, services):
    services.moderation.take_down(Subject(EVERY_ACCOUNT, cid_of(b"a cat")), "a\tb\x1b[2J\n")

    assert "\ta\\tb\\u001b[2J\\n\t" in run()
