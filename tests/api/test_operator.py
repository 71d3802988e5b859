"""blue.aurora.admin: what the administrator lists over HTTP."""

import pytest
from support.accounts import ADMIN, ALICE, BOB, CAROL, sign_up
from support.cids import cid_of
from support.media_samples import jpeg

from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.catalog import accounts
from aurora_blobs.catalog.takedowns import EVERY_ACCOUNT

CID = cid_of(b"a cat")
WHEN = "2025-06-15T15:06:40+00:00"


def ask(client, method, **parameters):
    answer = client.get(f"/xrpc/blue.aurora.admin.{method}", query_string=parameters, auth=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json


def pages(client, method, key, **parameters):
    """Every row of *method*, one page after the other."""
    while True:
        page = ask(client, method, **parameters)
        yield from page[key]
        if "cursor" not in page:
            return
        parameters["cursor"] = page["cursor"]


@pytest.fixture
def acted(app, services, alice):
    sign_up(app.test_client(), "bob.test")
    services.moderation.take_down(Subject(ALICE, CID), "case 7")
    services.moderation.take_down(Subject(EVERY_ACCOUNT, CID), "case 8")
    services.moderation.take_down(Subject(BOB, None), "case 9")
    services.accounts.set_quota(BOB, 7)


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_what_each_account_holds_is_listed_with_the_quota_in_force(
    client, services, app, alice, limit
):
    bob = sign_up(app.test_client(), "bob.test")
    cat, dog = (len(jpeg(name)) for name in ("cat", "dog"))
    alice.publish(jpeg("cat"))
    bob.publish(jpeg("cat"))
    bob.blob(jpeg("dog"))
    services.accounts.set_quota(bob.did, 10**6)
    with services.database.write() as tx:
        accounts.make_external(tx, CAROL, 1)

    assert list(pages(client, "listUsage", "accounts", limit=limit)) == [
        {"did": CAROL, "blobCount": 0, "blobBytes": 0, "temporaryBytes": 0},
        {
            **{"did": ALICE, "handle": "alice.test", "blobCount": 1, "blobBytes": cat},
            "temporaryBytes": 0,
        },
        {
            **{"did": BOB, "handle": "bob.test", "blobCount": 2, "blobBytes": cat + dog},
            **{"temporaryBytes": dog, "quotaBytes": 10**6},
        },
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_takedowns_are_listed_as_by_the_command(client, acted, limit):
    assert list(pages(client, "listTakedowns", "takedowns", limit=limit)) == [
        {"kind": "account", "did": BOB, "ref": "case 9", "createdAt": WHEN},
        {"kind": "blob", "cid": CID, "ref": "case 8", "createdAt": WHEN},
        {"kind": "blob", "did": ALICE, "cid": CID, "ref": "case 7", "createdAt": WHEN},
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_acts_are_listed_the_newest_first(client, acted, limit):
    found = list(pages(client, "listAudit", "acts", limit=limit))

    assert [act.pop("actedAt") for act in found] == sorted(
        (act["actedAt"] for act in ask(client, "listAudit")["acts"]), reverse=True
    )
    takedown = {"actor": "program", "action": "takedown"}
    assert found == [
        {"actor": "program", "action": "quota", "did": BOB, "oldValue": "default", "newValue": "7"},
        {**takedown, "did": BOB, "newValue": "case 9"},
        {**takedown, "cid": CID, "newValue": "case 8"},
        {**takedown, "did": ALICE, "cid": CID, "newValue": "case 7"},
    ]


@pytest.mark.parametrize(
    "parameters, values",
    [
        ({"subject": CID}, ["case 8", "case 7"]),
        ({"subject": BOB}, ["7", "case 9"]),
        ({"subject": BOB, "action": "quota"}, ["7"]),
        ({"action": "takedown"}, ["case 9", "case 8", "case 7"]),
        ({"actor": "admin"}, []),
        ({"actor": "program", "limit": 1}, ["7"]),
        ({"since": "2020-01-01T00:00:00Z", "limit": 2}, ["7", "case 9"]),
        ({"since": "2099-01-01T00:00:00Z"}, []),
    ],
    ids=repr,
)
def test_acts_are_found_by_what_they_are(client, acted, parameters, values):
    found = ask(client, "listAudit", **parameters)["acts"]

    assert [act["newValue"] for act in found] == values


@pytest.mark.parametrize(
    "parameters",
    [
        {"subject": "alice.test"},
        {"subject": ""},
        {"action": "nothing"},
        {"since": "soon"},
        {"cursor": "1"},
        {"cursor": "1-9223372036854775808"},
        {"cursor": "٣-٣"},
        {"limit": 0},
        {"limit": 1001},
    ],
    ids=repr,
)
def test_what_makes_no_sense_is_refused(client, acted, parameters):
    answer = client.get("/xrpc/blue.aurora.admin.listAudit", query_string=parameters, auth=ADMIN)

    assert (answer.status_code, answer.json["error"]) == (400, "InvalidRequest")


@pytest.mark.parametrize("method", ["listUsage", "listTakedowns", "listAudit"])
def test_nobody_but_the_administrator_lists(client, acted, alice, method):
    assert alice.get(f"blue.aurora.admin.{method}").status_code == 401
