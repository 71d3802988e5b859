"""Blobs come and go on a real bucket: collected by the grace time, deleted with their account, raced for."""

import threading
import time
from collections import Counter

import pytest
from depot import ALICE, BOB, Depot, blob_of
from racer import GRACE_SECONDS, Racer, collector_of

from aurora_blobs.maintenance.collect import Collector

pytestmark = pytest.mark.live


@pytest.fixture
def bucket(open_s3, tmp_path):
    depot = Depot(tmp_path, backend=open_s3())
    depot.add_account(ALICE)
    depot.add_account(BOB)
    yield depot
    depot.database.close()


def collect(depot):
    depot.clock.pass_seconds(3601)
    collector = Collector(depot.backend, depot.database, spool=depot.spool, grace_seconds=3600, clock=depot.clock)
    return [found.cid for found in collector.run()]


def test_what_the_grace_time_has_passed_leaves_the_bucket(bucket):
    gone, kept = bucket.upload(b"gone"), bucket.upload(bytes(300_000))
    bucket.write("com.example.a", "1", {"file": blob_of(kept)})

    assert collect(bucket) == [gone.cid]
    assert bucket.stored() == {kept.cid}
    assert bucket.backend.size(gone.cid) is None


def test_an_account_leaves_nothing_in_the_bucket_but_what_others_hold(bucket):
    for number in range(20):
        bucket.upload(bytes([number]))
    shared = bucket.upload(bytes([7]), did=BOB)

    bucket.blobs.delete_account(ALICE)

    assert bucket.stored() == {shared.cid}


def test_a_collected_blob_comes_back_with_an_upload(bucket):
    entry = bucket.upload(b"again")
    collect(bucket)

    assert bucket.upload(b"again").cid == entry.cid
    assert bucket.read(entry) == b"again"


def test_no_referenced_blob_is_lost_in_a_race_for_the_bucket(open_s3, tmp_path):
    depot = Depot(tmp_path, clock=lambda: time.time_ns() // 1000, backend=open_s3(), grace_seconds=GRACE_SECONDS)
    depot.add_account(ALICE)
    depot.add_account(BOB)
    seed = time.time_ns()
    print(f"{seed=}")
    racers = [Racer(depot, f"racer{number}", f"{seed}{number}") for number in range(3)]
    until = time.monotonic() + 8
    collected = Counter()

    def collect():
        while time.monotonic() < until:
            collected.update(found.kind for found in collector_of(depot).run())

    threads = [threading.Thread(target=racer.run, args=(until,)) for racer in racers]
    threads.append(threading.Thread(target=collect))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for racer in racers:
        racer.finish()
    print(collected, [racer.tally for racer in racers])

    assert [racer.broken for racer in racers] == [[], [], []]
    time.sleep(2 * GRACE_SECONDS)
    list(collector_of(depot).run())
    assert depot.stored() == set()
    assert depot.rows()["blob"] == []
    depot.database.close()


def test_a_bucket_that_is_away_keeps_what_it_has(open_s3, bucket, link):
    entry = bucket.upload(b"kept")
    bucket.clock.pass_seconds(3601)
    link.close()
    away = open_s3(f"http://127.0.0.1:{link.port}")
    collector = Collector(away, bucket.database, spool=bucket.spool, grace_seconds=3600, clock=bucket.clock)

    (found,) = collector.run()

    assert found.failure
    assert bucket.read(entry) == b"kept"
