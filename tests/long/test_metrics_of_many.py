"""A scrape of a million blobs takes no longer than one of none, and asks seldom."""

import sqlite3
import time

import pytest
from support.live_service import Service, becomes
from support.metrics import TOKEN, Scrape
from support.process_watch import cpu_seconds

pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.sqlite]

BLOBS, ACCOUNTS = 1_000_000, 10_000
FILL = f"""
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {ACCOUNTS - 1})
    INSERT INTO account (did, created_at) SELECT printf('did:plc:%024d', i), 1 FROM n;
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {BLOBS - 1})
    INSERT INTO blob (cid, size, created_at, stored_at)
    SELECT printf('bafkrei%052d', i), 1000, 1, 1 FROM n;
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {BLOBS - 1})
    INSERT INTO blob_metadata (creator_did, cid, mime_type, size, created_at)
    SELECT printf('did:plc:%024d', i % {ACCOUNTS}), printf('bafkrei%052d', i), 'image/jpeg', 1000, 1
      FROM n;
"""


def milliseconds(service):
    began = time.monotonic()
    Scrape(service)
    return 1000 * (time.monotonic() - began)


def test_a_million_blobs_are_counted_beside_the_scrapes(tmp_path):
    settings = {"AURORA_BLOBS_METRICS_TOKEN": TOKEN, "AURORA_BLOBS_WORKERS": "2"}
    with Service(tmp_path, **settings) as service:
        service.stop()
        database = sqlite3.connect(tmp_path / "data" / "aurora.sqlite3")
        database.executescript(FILL)
        database.close()
        service.start()

        took = [milliseconds(service) for _ in range(30)]
        assert becomes(lambda: Scrape(service).value("entries", state="public") == BLOBS, 120)
        spent = sum(map(cpu_seconds, service.workers()))
        took += [milliseconds(service) for _ in range(30)]

        print(f"a scrape took {sorted(took)[30]:.0f} ms, the longest {max(took):.0f} ms")
        assert sorted(took)[30] < 100
        assert sum(map(cpu_seconds, service.workers())) - spent < 30 * 0.1
        assert Scrape(service).value("entry_bytes", state="public") == 1000 * BLOBS
