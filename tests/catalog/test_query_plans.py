"""The cost of a request does not grow with the tables: no statement scans one."""

import re
import sqlite3
from collections import defaultdict
from contextlib import closing

import pytest
from support.accounts import ADMIN, sign_up
from support.car_files import car_of
from support.media_samples import jpeg
from support.services import services_of
from support.statements import WHOLE, statements_of_catalog

from aurora_blobs.db.sqlite import add_functions
from aurora_blobs.maintenance.collect import Collector

pytestmark = pytest.mark.sqlite

WRITES = "com.atproto.repo.applyWrites"
COLLECTION = "com.example.file"


@pytest.fixture
def statements(services, monkeypatch):
    """Every statement that the application runs, with its values."""
    seen = []
    connect = sqlite3.connect

    def connect_traced(*given, **named):
        connection = connect(*given, **named)
        connection.set_trace_callback(seen.append)
        return connection

    services.database.close()  # so that its connections are opened again, with the trace
    monkeypatch.setattr(sqlite3, "connect", connect_traced)
    yield seen
    services.database.close()


def plan_of(connection, statement):
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]


def scans(app, statements):
    """The *statements* that scan a table, with their plans."""
    changing = [
        text for text in statements if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)", text)
    ]
    path = services_of(app).database.path
    with closing(sqlite3.connect(path)) as connection:
        add_functions(connection)
        plans = {re.sub(r"'[^']*'|\d+", "?", text): plan_of(connection, text) for text in changing}
    return {text: plan for text, plan in plans.items() if is_scan(plan)}


def is_scan(plan):
    own = {step.split()[1] for step in plan if re.match("CO-ROUTINE|MATERIALIZE", step)}
    scanned = {step.split()[1] for step in plan if re.match(r"SCAN (?!CONSTANT|\()", step)}
    return bool(scanned - own)


def test_the_check_finds_a_scan(app, services, statements):
    with services.database.read() as tx:
        tx.all("SELECT cid FROM blob WHERE size = 7")

    assert len(scans(app, statements)) == 1


@pytest.fixture
def plans(services):
    """Function and query plan of each statement in the catalog."""
    with closing(sqlite3.connect(services.database.path)) as connection:
        add_functions(connection)
        return [
            (
                name,
                [
                    row[3]
                    for row in connection.execute(
                        f"EXPLAIN QUERY PLAN {sql}", (None,) * sql.count("?")
                    )
                ],
            )
            for name, sql in statements_of_catalog()
        ]


def test_no_statement_reads_a_whole_table_but_those_that_have_to(plans):
    assert len(plans) > 90
    assert {name for name, plan in plans if is_scan(plan)} == WHOLE


@pytest.mark.parametrize(
    "name, bound",
    [
        ("records.newest_first", "did=? AND collection=? AND rkey<?"),
        ("records.oldest_first", "did=? AND collection=? AND rkey>?"),
        ("references.cids", "did=? AND cid>?"),
        ("references.named", "did=? AND cid>?"),
        ("references.record_uris", "did=? AND cid=?"),
        ("blobs.page", "(creator_did,cid)>(?,?)"),
        ("blobs.newest", "created_at<?"),
        ("accounts.page", "did>?"),
        ("blobs.usage_page", "did>?"),
        ("takedowns._of_blobs", "(cid,did)>(?,?)"),
        ("invites.page", "(created_at,code)>(?,?)"),
        ("audit._all", "acted_at>? AND (acted_at,number)<(?,?)"),
        ("audit._of_account", "did=? AND acted_at>? AND (acted_at,number)<(?,?)"),
        ("audit._of_blob", "cid=? AND acted_at>? AND (acted_at,number)<(?,?)"),
        ("audit._of_actor", "actor=? AND acted_at>? AND (acted_at,number)<(?,?)"),
        ("audit._of_action", "action=? AND acted_at>? AND (acted_at,number)<(?,?)"),
        (
            "audit._of_actor_and_action",
            "actor=? AND action=? AND acted_at>? AND (acted_at,number)<(?,?)",
        ),
        ("expiry.expired", "(unreferenced_since,creator_did,cid)>(?,?,?) AND unreferenced_since<?"),
    ],
)
def test_a_page_begins_where_the_last_one_ended(plans, name, bound):
    (plan,) = [plan for found, plan in plans if found == name]

    assert f"({bound})" in plan[0]


def test_a_page_of_accounts_that_are_taken_down_reads_no_others(plans):
    (plan,) = [plan for found, plan in plans if found == "takedowns._of_accounts"]

    assert "SEARCH account USING INDEX account_taken_down (did>?)" in plan
    assert [step for step in plan if "TEMP B-TREE" in step] == []


def test_a_page_of_entries_that_are_taken_down_reads_no_others(plans):
    (plan,) = [plan for found, plan in plans if found == "blobs.taken_down"]

    assert "SEARCH t USING COVERING INDEX sqlite_autoindex_takedown_1 (cid>?)" in plan
    assert "SEARCH o USING INDEX blob_metadata_by_cid (cid=?)" in plan


def test_the_records_of_those_who_hold_a_blob_are_found_without_a_look_at_others(plans):
    (plan,) = [plan for found, plan in plans if found == "references.of_holders"]

    assert "SEARCH m USING INDEX blob_metadata_by_cid (cid=?)" in plan
    assert "SEARCH r USING COVERING INDEX record_blob_by_cid (did=? AND cid=?)" in plan


@pytest.mark.parametrize("name", ["references.count", "accounts.counts"])
def test_what_records_name_is_counted_without_sorting_it(plans, name):
    (plan,) = [plan for found, plan in plans if found == name]

    assert [step for step in plan if "TEMP B-TREE" in step] == []


@pytest.mark.parametrize("name", ["expiry.expired", "expiry.total_expired"])
def test_what_the_collector_may_take_is_read_in_the_index_alone(plans, name):
    (plan,) = [plan for found, plan in plans if found == name]

    assert "USING COVERING INDEX blob_metadata_temporary (" in plan[0]


def test_no_request_reads_a_whole_table(app, services, statements):
    alice = sign_up(app.test_client(), "alice.test")
    admin = app.test_client()
    blob, _ = alice.publish(jpeg("cat"))
    other = alice.blob(jpeg("dog"))
    cid = blob["ref"]["$link"]
    admin_post = {"auth": ADMIN, "path": "/xrpc/com.atproto.admin.updateSubjectStatus"}
    subject = {"$type": "com.atproto.admin.defs#repoBlobRef", "did": alice.did, "cid": cid}
    rev = services.repos.find(alice.did).rev

    answers = [
        alice.upload(jpeg("cat")),
        alice.record({"file": other}, rkey="2"),
        alice.post(
            "com.atproto.repo.putRecord",
            repo=alice.did,
            collection=COLLECTION,
            rkey="2",
            record={"a": 1},
        ),
        alice.post(
            "com.atproto.repo.deleteRecord", repo=alice.did, collection=COLLECTION, rkey="2"
        ),
        alice.post(
            WRITES,
            repo="alice.test",
            writes=[
                {"$type": f"{WRITES}#create", "collection": COLLECTION, "value": {"file": blob}}
            ],
        ),
        alice.client.post(
            "/xrpc/com.atproto.repo.importRepo",
            data=car_of(
                {f"{COLLECTION}/1": {"file": 1}, f"{COLLECTION}/2": {"file": 2}}, alice.did
            ).getvalue(),
            headers={**alice.headers, "Content-Type": "application/vnd.ipld.car"},
        ),
        alice.record({"file": blob}, rkey="3"),
        alice.fetch(cid),
        alice.get("com.atproto.sync.getBlob", did=alice.did, cid=cid),
        alice.get("com.atproto.sync.listBlobs", did=alice.did),
        alice.get("com.atproto.sync.listBlobs", did=alice.did, cursor="b", since=rev, limit=10),
        alice.get("com.atproto.repo.listMissingBlobs", cursor="b"),
        alice.get("com.atproto.repo.getRecord", repo="alice.test", collection=COLLECTION, rkey="3"),
        alice.get("com.atproto.repo.listRecords", repo=alice.did, collection=COLLECTION),
        alice.get(
            "com.atproto.repo.listRecords",
            repo=alice.did,
            collection=COLLECTION,
            cursor="1",
            reverse="true",
        ),
        alice.get("com.atproto.repo.describeRepo", repo=alice.did),
        alice.get("com.atproto.server.checkAccountStatus"),
        alice.get("com.atproto.server.getSession"),
        alice.get("blue.aurora.blob.listRecords", cid=cid),
        alice.get("blue.aurora.blob.listRecords", cid=cid, cursor="at://"),
        alice.get("blue.aurora.blob.getUsage"),
        alice.post("com.atproto.server.deactivateAccount"),
        alice.post("com.atproto.server.activateAccount"),
        alice.client.post(
            "/xrpc/com.atproto.server.createSession",
            json={"identifier": "alice.test", "password": "correct horse"},
        ),
        alice.client.post(
            "/xrpc/com.atproto.server.createSession",
            json={"identifier": "alice.test@example.com", "password": "correct horse"},
        ),
        admin.post(**admin_post, json={"subject": subject, "takedown": {"applied": True}}),
        admin.get(
            f"/xrpc/com.atproto.admin.getSubjectStatus?did={alice.did}&blob={cid}", auth=ADMIN
        ),
        admin.post(**admin_post, json={"subject": subject, "takedown": {"applied": False}}),
    ]
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    deleted = admin.post(
        "/xrpc/com.atproto.admin.deleteAccount", json={"did": alice.did}, auth=ADMIN
    )
    assert deleted.status_code == 200

    assert len(statements) > 100
    assert scans(app, statements) == {}


def test_a_step_of_the_collector_reads_no_whole_table(app, services, statements, clock):
    alice = sign_up(app.test_client(), "alice.test")
    alice.blob(jpeg("cat"))
    clock.advance(86_401)
    statements.clear()

    found = list(
        Collector(
            services.blobs.backend,
            services.database,
            spool=services.config.data_folder.spool,
            grace_seconds=86_400,
            clock=clock,
        ).run()
    )

    assert [step.kind for step in found] == ["temporary"]
    assert scans(app, statements) == {}


def test_a_row_that_goes_with_its_account_is_found_by_an_index(services, statements):
    """SQLite looks for rows that reference a deleted one; without an index it scans for each."""
    with closing(sqlite3.connect(services.database.path)) as connection:
        add_functions(connection)
        tables = [
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        keys = defaultdict(list)
        for table in tables:
            for number, _, _, column, *_ in connection.execute(f"PRAGMA foreign_key_list({table})"):
                keys[table, number].append(f"{column} = 'x'")
        plans = {
            (table, *columns): plan_of(
                connection, f"SELECT 1 FROM {table} WHERE {' AND '.join(columns)}"
            )
            for (table, _), columns in keys.items()
        }

    assert len(plans) >= 5
    assert [
        key for key, plan in plans.items() if any(step.startswith("SCAN") for step in plan)
    ] == []
