"""Each act has its row in the audit trail, and each row its act."""

from contextlib import contextmanager

import pytest
from support.accounts import ADMIN, ALICE, BOB, sign_up
from support.cids import cid_of
from support.databases import database_url

from aurora_blobs.accounts.audit import AuditTrail
from aurora_blobs.accounts.moderation import Moderation, Subject
from aurora_blobs.accounts.queries import RepoQueries
from aurora_blobs.catalog import accounts, audit, takedowns
from aurora_blobs.catalog.audit import FIRST, MAX_REASON, PROGRAM, Author
from aurora_blobs.catalog.takedowns import EVERY_ACCOUNT
from aurora_blobs.clock import moment
from aurora_blobs.db import SCHEMA, open_database

CID = cid_of(b"a cat")
PASSWORD = "correct horse"
REPO = {"$type": "com.atproto.admin.defs#repoRef", "did": ALICE}
BLOB = {"$type": "com.atproto.admin.defs#repoBlobRef", "did": ALICE, "cid": CID}
UPDATE = "com.atproto.admin.updateSubjectStatus"


@pytest.fixture
def told(services):
    """``told()``: of each act what it was, on whom and what, and what was before and after."""

    def told():
        return [
            (act.action, act.did, act.cid, act.old_value, act.new_value)
            for act in reversed(list(services.audit.acts()))
        ]

    return told


@pytest.fixture
def authors(services):
    """``authors()``: who acted, and by which method."""
    return lambda: [(act.actor, act.via) for act in reversed(list(services.audit.acts()))]


def order(client, method, **given):
    answer = client.post(f"/xrpc/{method}", json=given, auth=ADMIN)
    assert answer.status_code == 200, answer.text


def test_takedowns_and_what_lifts_them_are_told_with_their_references(client, alice, told, authors):
    for subject in (BLOB, REPO):
        order(client, UPDATE, subject=subject, takedown={"applied": True, "ref": "case 7"})
        order(client, UPDATE, subject=subject, takedown={"applied": True, "ref": "case 8"})
        order(client, UPDATE, subject=subject, takedown={"applied": False})

    assert told() == [
        ("takedown", ALICE, CID, None, "case 7"),
        ("takedown", ALICE, CID, "case 7", "case 8"),
        ("lift", ALICE, CID, "case 8", None),
        ("takedown", ALICE, "", None, "case 7"),
        ("takedown", ALICE, "", "case 7", "case 8"),
        ("lift", ALICE, "", "case 8", None),
    ]
    assert authors() == [("admin", UPDATE)] * 6


def test_a_takedown_for_every_account_names_none(services, told):
    services.moderation.take_down(Subject(EVERY_ACCOUNT, CID), "case 7")

    assert told() == [("takedown", "", CID, None, "case 7")]


def test_a_takedown_that_outlived_its_account_is_lifted_with_its_reference(services, alice, told):
    services.moderation.take_down(Subject(ALICE, None), "spam")
    services.delete_account(ALICE)
    services.moderation.lift(Subject(ALICE, None))

    assert told()[-1] == ("lift", ALICE, "", "spam", None)


def test_an_administrator_deactivates_and_activates(client, services, alice, clock, told, authors):
    since = moment(clock())
    order(client, UPDATE, subject=REPO, deactivated={"applied": True})
    order(client, UPDATE, subject=REPO, deactivated={"applied": False})

    assert told() == [
        ("deactivate", ALICE, "", None, since),
        ("activate", ALICE, "", since, None),
    ]
    assert authors() == [("admin", UPDATE)] * 2


def test_an_owner_deactivates_activates_and_deletes(alice, client, clock, told, authors):
    cat = alice.publish(b"\xff\xd8\xff a cat").blob
    since = moment(clock())
    alice.post("com.atproto.server.deactivateAccount")
    alice.post("com.atproto.server.activateAccount")
    client.post(
        "/xrpc/com.atproto.server.deleteAccount",
        json={"did": ALICE, "password": PASSWORD, "token": ""},
    )

    assert told() == [
        ("deactivate", ALICE, "", None, since),
        ("activate", ALICE, "", since, None),
        ("delete", ALICE, "", f"1 blobs, {cat['size']} bytes", None),
    ]
    assert authors() == [
        (ALICE, f"com.atproto.server.{name}Account")
        for name in ("deactivate", "activate", "delete")
    ]


def test_the_administrator_sets_a_password_invites_and_deletes(client, alice, told, authors):
    order(client, "com.atproto.admin.updateAccountPassword", did=ALICE, password="battery staple")
    order(client, "com.atproto.server.createInviteCode", useCount=3, forAccount=BOB)
    order(client, "com.atproto.server.createInviteCode", useCount=1)
    order(client, "com.atproto.admin.deleteAccount", did=ALICE)

    assert told() == [
        ("password", ALICE, "", None, None),
        ("invite", BOB, "", None, "3 uses"),
        ("invite", "", "", None, "1 uses"),
        ("delete", ALICE, "", "0 blobs, 0 bytes", None),
    ]
    assert [name for name, _ in authors()] == ["admin"] * 4


def test_a_password_is_told_once_however_many_sessions_end(services, alice, told):
    for _ in range(3):
        services.accounts.open_session(services.accounts.require(ALICE))

    services.accounts.set_password(ALICE, "battery staple")

    assert told() == [("password", ALICE, "", None, None)]


def test_nothing_is_told_of_secrets(client, services, alice):
    order(client, "com.atproto.admin.updateAccountPassword", did=ALICE, password="battery staple")
    code = services.sign_ups.invite(uses=1)

    shown = repr(list(services.audit.acts()))

    assert "battery" not in shown
    assert code not in shown


def test_limits_are_told_with_those_of_before(services, alice, told):
    services.accounts.set_quota(ALICE, 1000)
    services.accounts.set_quota(ALICE, None)
    services.accounts.set_uploads_per_day(ALICE, 0)

    assert told() == [
        ("quota", ALICE, "", "default", "1000"),
        ("quota", ALICE, "", "1000", "default"),
        ("uploads per day", ALICE, "", "default", "0"),
    ]


def test_what_changes_nothing_is_no_act(client, services, alice, told):
    services.moderation.take_down(Subject(ALICE, CID), "case 7")
    before = told()

    services.moderation.take_down(Subject(ALICE, CID), "case 7")
    services.moderation.lift(Subject(BOB, CID))
    services.moderation.lift(Subject(BOB, None))
    services.accounts.set_quota(ALICE, None)
    services.accounts.set_quota(BOB, 7)
    services.accounts.activate(ALICE)
    services.delete_account(BOB)
    answer = client.post(
        f"/xrpc/{UPDATE}",
        json={"subject": {**REPO, "did": BOB}, "takedown": {"applied": True}},
        auth=ADMIN,
    )

    assert answer.status_code == 400
    assert told() == before


def test_a_takedown_of_an_account_that_is_ordered_again_changes_nothing(
    services, alice, clock, told
):
    since = clock()
    for _ in range(2):
        services.moderation.take_down(Subject(ALICE, None), "case 7")
        clock.advance(1)

    assert told() == [("takedown", ALICE, "", None, "case 7")]
    assert [down.created_at for down in services.moderation.takedowns()] == [since]


def test_what_an_account_does_to_itself_keeps_a_hundred_rows_and_those_of_others(database):
    with database.write() as tx:
        accounts.make_external(tx, ALICE, 1)
        accounts.make_external(tx, BOB, 1)
        accounts.set_quota(tx, ALICE, 7, Author("admin"))
        accounts.set_deactivated(tx, BOB, 1, Author(BOB))
        for number in range(300):
            accounts.set_deactivated(tx, ALICE, number, Author(ALICE))

    found = list(AuditTrail(database).acts(subject=ALICE))

    assert [act.new_value for act in found[:100]] == [
        moment(number) for number in range(299, 199, -1)
    ]
    assert [act.action for act in found[100:]] == ["quota"]
    assert len(list(AuditTrail(database).acts(subject=BOB))) == 1


def test_a_row_has_a_bounded_length(database):
    with database.write() as tx:
        takedowns.apply(tx, CID, ALICE, "é" * 100_000, 1, Author("admin", "", "r" * MAX_REASON))
        takedowns.lift(tx, CID, ALICE)
        audit.add(tx, PROGRAM, "import", new="/a/path/\udcff")

    path, lifted, applied = AuditTrail(database).acts()

    assert path.new_value == "/a/path/\\udcff"
    assert applied.new_value == lifted.old_value == "é" * 499 + "…"


class Refused(Exception):
    pass


@pytest.fixture
def refusing(tmp_path):
    """A database, and a list: while there is something in it, no commit succeeds."""
    refuses = []

    @contextmanager
    def before_commit(tx):
        if refuses:
            raise Refused
        yield

    database = open_database(
        database_url(tmp_path / "refusing"), durable=False, before_commit=before_commit
    )
    database.upgrade(SCHEMA.read_text())
    yield database, refuses
    database.close()


def test_an_act_whose_commit_fails_has_no_row(refusing, clock):
    database, refuses = refusing
    moderation = Moderation(database, RepoQueries(database, clock, open_to_reports=True), clock)
    moderation.take_down(Subject(ALICE, CID), "case 7")
    refuses.append(True)

    for change in (
        lambda: moderation.take_down(Subject(BOB, CID), "case 8"),
        lambda: moderation.lift(Subject(ALICE, CID)),
    ):
        with pytest.raises(Refused):
            change()

    assert [(act.action, act.did) for act in AuditTrail(database).acts()] == [("takedown", ALICE)]
    assert [found.did for found in moderation.takedowns()] == [ALICE]


@pytest.fixture
def filled(database):
    """250 acts of `act`, numbered."""
    with database.write() as tx:
        for number in range(250):
            actor, action, did, cid = act(number)
            audit.add(tx, Author(actor), action, did=did, cid=cid, new=str(number))
    return AuditTrail(database)


def act(number):
    """Actor, action, DID and CID of an act of `filled`."""
    actors, actions = ("admin", ALICE, "user:root"), ("takedown", "lift")
    cid = cid_of(b"%d" % (number % 5))
    return actors[number % 3], actions[number % 2], f"did:plc:{number % 7}", cid


FILTERS = [
    {},
    {"subject": "did:plc:3"},
    {"subject": cid_of(b"3")},
    {"actor": "admin"},
    {"action": "lift"},
    {"actor": "admin", "action": "lift"},
    {"subject": "did:plc:3", "actor": "admin"},
    {"subject": cid_of(b"3"), "action": "lift"},
    {"subject": "did:plc:3", "actor": "admin", "action": "lift"},
    {"actor": "nobody"},
]


def numbers_of(filters):
    """The acts of `filled` that *filters* name, the newest first."""
    wanted = set(filters.values())
    return [str(number) for number in reversed(range(250)) if wanted <= set(act(number))]


@pytest.mark.parametrize("filters", FILTERS, ids=repr)
@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_pages_have_each_act_that_was_asked_for_once_the_newest_first(filled, filters, limit):
    found, after = [], FIRST
    while some := filled.page(after, limit, **filters):
        found += some
        after = (some[-1].acted_at, some[-1].number)

    assert [act.new_value for act in found] == numbers_of(filters)


@pytest.mark.parametrize("filters", FILTERS, ids=repr)
def test_acts_before_a_time_are_left_out(filled, filters):
    middle = list(filled.acts())[100].acted_at

    found = list(filled.acts(since=middle, **filters))

    assert [act.new_value for act in found] == [
        act.new_value for act in filled.acts(**filters) if act.acted_at >= middle
    ]


def test_an_account_that_comes_again_keeps_its_history(client, services, alice, told):
    services.delete_account(ALICE)
    sign_up(client)

    assert told() == [("delete", ALICE, "", "0 blobs, 0 bytes", None)]
