"""Blobs come and go on a real bucket: collected by the grace time, deleted with their account, raced for."""

import random
import time

import pytest
from support.accounts import ALICE, BOB
from support.depot import Depot, blob_of, incoming, interrupted
from support.race_process import GRACE_SECONDS, Racer, collector_of, now, race

from aurora_blobs.errors import BackendUnavailable, ServiceBusy
from aurora_blobs.maintenance.collect import Collector

pytestmark = pytest.mark.live


@pytest.fixture
def open_depot(tmp_path):
    """Opens a depot with two accounts, its bytes in a *backend*."""
    opened = []

    def open_depot(backend, **options):
        opened.append(Depot(tmp_path, backend=backend, **options))
        opened[-1].add_account(ALICE)
        opened[-1].add_account(BOB)
        return opened[-1]

    yield open_depot
    for depot in opened:
        depot.database.close()


@pytest.fixture
def bucket(open_depot, open_s3):
    return open_depot(open_s3())


def collect(depot):
    depot.clock.advance(3601)
    collector = Collector(
        depot.backend, depot.database, spool=depot.spool, grace_seconds=3600, clock=depot.clock
    )
    return [found.cid for found in collector.run()]


def test_what_the_grace_time_has_passed_leaves_the_bucket(bucket):
    gone, kept = bucket.upload(b"gone"), bucket.upload(bytes(300_000))
    bucket.write("com.example.a", "1", {"file": blob_of(kept)})

    assert collect(bucket) == [gone.cid]
    assert bucket.stored() == {kept.cid}
    assert bucket.backend.size(gone.cid) is None


def test_an_account_leaves_nothing_in_the_bucket_but_what_others_hold(bucket):
    entries = [bucket.upload(bytes([number])) for number in range(20)]
    shared = bucket.upload(bytes([7]), did=BOB)
    bucket.backend.quarantine(entries[0].cid)

    bucket.blobs.delete_account(ALICE)

    left = bucket.backend.key(shared.cid)
    own = left.partition("/")[0]  # other tests have theirs in the same bucket
    assert [listed.key for listed in bucket.backend.bucket.objects(f"{own}/")] == [left]


def test_a_collected_blob_comes_back_with_an_upload(bucket):
    entry = bucket.upload(b"again")
    collect(bucket)

    assert bucket.upload(b"again").cid == entry.cid
    assert bucket.read(entry) == b"again"


def test_no_referenced_blob_is_lost_in_a_race_for_the_bucket(open_depot, open_s3):
    depot = open_depot(open_s3(), clock=now, grace_seconds=GRACE_SECONDS)
    seed = time.time_ns()
    print(f"{seed=}")
    racers = [Racer(depot, f"racer{number}", f"{seed}{number}") for number in range(3)]

    print(race(depot, racers, seconds=5), [racer.tally for racer in racers])

    assert [racer.broken for racer in racers] == [[], [], []]
    time.sleep(2 * GRACE_SECONDS)
    list(collector_of(depot).run())
    assert depot.stored() == set()
    assert depot.rows()["blob"] == []


def test_a_bucket_that_is_away_keeps_what_it_has(open_s3, bucket, link):
    entry = bucket.upload(b"kept")
    bucket.clock.advance(3601)
    link.close()
    away = open_s3(f"http://127.0.0.1:{link.port}")
    collector = Collector(
        away, bucket.database, spool=bucket.spool, grace_seconds=3600, clock=bucket.clock
    )

    found = list(collector.run())

    assert [(step.kind, bool(step.failure)) for step in found] == [
        ("temporary", True),
        ("unfinished", True),
    ]
    assert bucket.read(entry) == b"kept"


@pytest.mark.parametrize("sizes", [{}, {"max_put": 100_000}], ids=["whole", "in parts"])
def test_no_acknowledged_blob_is_lost_however_the_link_fails(open_depot, open_s3, link, sizes):
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    depot = open_depot(open_s3(link.url, **sizes))
    acknowledged, refusals = {}, set()

    for _ in range(100):
        link.heal()
        kind = dice.choice(["reset", "reset-after", "500", "503", "damage-up"])
        link.inject(kind, times=dice.choice([1, 2, 3, None]))
        data = dice.randbytes(dice.randrange(1, 400_000))
        try:
            acknowledged[depot.upload(data, "*/*")] = data
        except (BackendUnavailable, ServiceBusy) as refusal:
            refusals.add(type(refusal))
    link.heal()

    assert refusals == {BackendUnavailable, ServiceBusy}
    assert {entry: depot.read(entry) for entry in acknowledged} == acknowledged
    usage = depot.blobs.usage(ALICE)
    assert (usage.blob_count, usage.blob_bytes) == (
        len(acknowledged),
        sum(map(len, acknowledged.values())),
    )


@pytest.mark.parametrize(
    "removal",
    [collect, lambda depot: depot.blobs.delete_account(ALICE)],
    ids=["collector", "account"],
)
def test_an_upload_sends_again_what_the_bucket_removed_without_an_answer(
    open_depot, open_s3, link, removal
):
    depot = open_depot(open_s3(link.url))
    depot.upload(b"one")
    depot.upload(b"two")

    def meanwhile():
        depot.clock.advance(1)
        link.inject("reset-after", method="DELETE")
        link.inject("reset-after", method="POST")
        removal(depot)
        link.heal()

    with interrupted(depot, [meanwhile]) as blobs:
        again = blobs.upload(incoming(b"one", did=BOB))

    assert depot.read(again) == b"one"
