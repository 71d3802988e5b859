"""The plans of PostgreSQL for tables that are large: no statement but a few reads a whole one.

The server makes a plan for the values at hand, or for any values where that costs no more.
"""

import json
import re
from itertools import count

import pytest
from support.databases import database_url, execute
from support.statements import WHOLE, statements_of_catalog

from aurora_blobs.db import open_database

pytestmark = pytest.mark.postgresql

ROWS = 20_000
# With a row for each thing that is under way.
PARTIAL = {"blob_not_stored", "account_taken_down"}
SMALL = {
    "schema_version",
    "store",
    "total",
    "job",
    "job_run",
    "lease",
    "hiding",
    "account_deletion",
    "upstream_host",
    "upstream_round",
}
# Of commands, lists of operators and what is done every 10 minutes: SQLite finds the records of a
# blob by each account in turn, joins page by page, and counts by an index.
SLOW_HERE = {
    *(
        "references.of_blob",
        "inventory.stored_totals",
        "blobs.page",
        "blobs.newest",
        "blobs.lost",
        "blobs.taken_down",
        "accounts.page",
        "objects.page_of_staged",
        "objects.page_of_taken_down",
        "upstream.nth_unlisted",
    ),
}
EXPECTED = (
    WHOLE - {"schema.version", "stores.marked", "jobs.forget_unended", "jobs.runs"}
) | SLOW_HERE

FILLED = """
SET session_replication_role = replica;
INSERT INTO account (did, handle, email, created_at)
SELECT 'did:' || n, 'h' || n, 'e' || n, n FROM generate_series(1, {rows}) AS n;
INSERT INTO deleted_account SELECT 'did:' || n, n, n FROM generate_series(1, {rows}) AS n;
INSERT INTO account_deletion SELECT 'did:' || n, n FROM generate_series(1, 20) AS n;
INSERT INTO migration SELECT 'did:' || n, n, 0, 1 FROM generate_series(1, {rows}) AS n;
INSERT INTO blob (cid, size, created_at, stored_at)
SELECT 'c' || n, n, n, CASE WHEN n % 100 > 0 THEN n END FROM generate_series(1, {rows}) AS n;
INSERT INTO removal
SELECT n, 'c' || n, n, n, CASE WHEN n % 100 > 0 THEN n END FROM generate_series(1, {rows}) AS n;
INSERT INTO blob_start SELECT 'c' || n, n FROM generate_series(1, {rows}) AS n;
INSERT INTO blob_metadata (creator_did, cid, mime_type, size, created_at, unreferenced_since)
SELECT 'did:' || n % 500 + 1, 'c' || n, 'a/b', n, n, CASE WHEN n % 10 = 0 THEN n END
  FROM generate_series(1, {rows}) AS n;
INSERT INTO staged_object SELECT creator_did, 'o' || cid, cid, size FROM blob_metadata;
INSERT INTO blob_charset SELECT creator_did, cid, 'x' FROM blob_metadata;
INSERT INTO record
SELECT 'did:' || n % 500 + 1, 'a.b.' || n % 3, 'r' || n, 'c', '{{}}', 'v' || n
  FROM generate_series(1, {rows}) AS n;
INSERT INTO record_blob
SELECT 'did:' || n % 500 + 1, 'r' || n, 'c' || n, 'v' || n, 'a/b', n
  FROM generate_series(1, {rows}) AS n;
INSERT INTO record_usage SELECT 'did:' || n, n FROM generate_series(1, {rows}) AS n;
INSERT INTO takedown SELECT 'c' || n, '', '', n FROM generate_series(1, {rows}) AS n;
INSERT INTO hiding SELECT 'c' || n, '' FROM generate_series(1, 20) AS n;
INSERT INTO taken_down_account SELECT 'did:' || n, '', n FROM generate_series(1, {rows}) AS n;
INSERT INTO session
SELECT 's' || n, 'did:' || n % 500 + 1, 'j', n, n FROM generate_series(1, {rows}) AS n;
INSERT INTO invite_code SELECT 'i' || n, NULL, 1, 1, n, n FROM generate_series(1, {rows}) AS n;
INSERT INTO seen_token SELECT 'i' || n, 'j', n FROM generate_series(1, {rows}) AS n;
INSERT INTO identity SELECT 'did:' || n, '', n FROM generate_series(1, {rows}) AS n;
INSERT INTO usage_counter SELECT 'uploads', 's' || n, n, 1 FROM generate_series(1, {rows}) AS n;
INSERT INTO upstream_host (host) SELECT 'h' || n FROM generate_series(1, 20) AS n;
INSERT INTO upstream_account (did, host, status, status_at, listed_at, due_at, tries)
SELECT 'did:' || n, 'h' || n % 20 + 1, CASE WHEN n % 100 = 0 THEN 'deleted' END, n, n,
       CASE WHEN n % 100 = 0 THEN n END, 0
  FROM generate_series(1, {rows}) AS n;
INSERT INTO upstream_read SELECT creator_did, cid, size FROM blob_metadata;
INSERT INTO upstream_blob
SELECT 'did:' || n % 500 + 1, 'c' || n, n, 0 FROM generate_series(1, {rows}) AS n;
INSERT INTO upstream_round (host, began_at, asked, did, cid, accepted_at)
SELECT 'h' || n, 0, 0, '', '', 0 FROM generate_series(1, 20) AS n;
INSERT INTO upstream_refusal (did, cid, refused_at, due_at, tries)
SELECT creator_did, cid, size, size, 1 FROM blob_metadata;
INSERT INTO daily_total SELECT n, n, n, n FROM generate_series(1, {rows}) AS n;
INSERT INTO audit (acted_at, number, actor, via, action, did, cid)
SELECT n, n, 'a' || n % 50, 'v', 'c' || n % 10, 'did:' || n, 'c' || n
  FROM generate_series(1, {rows}) AS n;
INSERT INTO purge SELECT n, 'did:' || n, 'c' || n, n, 0 FROM generate_series(1, {rows}) AS n;
INSERT INTO derivative
SELECT 'd' || n, 'c' || n, n, CASE WHEN n % 10 = 0 THEN 'f' END, n
  FROM generate_series(1, {rows}) AS n;
ANALYZE;
"""


@pytest.fixture
def plans(tmp_path):
    """Function and query plan of each statement in the catalog, for pages of 100 rows."""
    url = database_url(tmp_path / "large")
    execute(url, FILLED.format(rows=ROWS))
    database = open_database(url, durable=False)
    with database.read() as tx:
        tx.run("SET LOCAL plan_cache_mode = force_custom_plan")
        plans = [
            (name, plan_of(tx, f"s{number}", sql))
            for number, (name, sql) in enumerate(statements_of_catalog())
        ]
    yield plans
    database.close()


def plan_of(tx, name, sql):
    number = count(1)
    tx.run(f"PREPARE {name} AS {re.sub('[?]', lambda _: f'${next(number)}', sql)}")
    types = tx.one(
        "SELECT array_to_string(parameter_types, ',') FROM pg_prepared_statements WHERE name = ?",
        name,
    )[0]
    values = ", ".join(SAMPLES[type] for type in types.split(",") if type)
    [(plan,)] = tx.all(f"EXPLAIN (FORMAT JSON) EXECUTE {name} {f'({values})' if values else ''}")
    return json.loads(plan)[0]["Plan"]


SAMPLES = {"bigint": "100", "integer": "100", "text": "'a'"}


def steps(plan):
    """*plan* and all steps that it is made of."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from steps(part)


def tables_read(plan):
    """The large tables that are read as a whole, row by row or in the order of an index."""
    return {
        step["Relation Name"]
        for step in steps(plan)
        if (
            step["Node Type"] == "Seq Scan"
            or (step["Node Type"].startswith("Index") and "Index Cond" not in step)
        )
        and step["Relation Name"] not in SMALL
        and step.get("Index Name") not in PARTIAL
    }


def test_no_statement_reads_a_whole_table_but_those_that_have_to(plans):
    read = {name: tables_read(plan) for name, plan in plans}

    assert len(plans) > 90
    assert {name for name in read if read[name]} == EXPECTED, read


def test_an_entry_that_is_taken_down_is_looked_up_once(plans):
    """By its CID alone each of the owners is, for each of them."""
    [plan] = [plan for name, plan in plans if name == "blobs.taken_down"]

    assert [step.get("Relation Name") for step in steps(plan)].count("blob_metadata") == 1
