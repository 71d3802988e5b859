"""The life of blobs in a real bucket: collection, account deletion, races."""

import random
import time

import pytest
from support.accounts import ALICE, BOB
from support.race_process import GRACE_SECONDS, Racer, race
from support.service_core import blob_of, incoming, interrupted

from aurora_blobs.clock import system_clock
from aurora_blobs.errors import BackendUnavailable, ServiceBusy

pytestmark = pytest.mark.live


@pytest.fixture
def bucket(open_core, open_s3):
    return open_core(backend=open_s3())


def collect(core):
    core.clock.advance(3601)
    return [found.cid for found in core.collector().run()]


def test_temporary_blobs_leave_the_bucket_after_the_grace(bucket):
    gone, kept = bucket.upload(b"gone"), bucket.upload(bytes(300_000))
    bucket.write("com.example.a", "1", {"file": blob_of(kept)})

    assert collect(bucket) == [gone.cid]
    assert bucket.stored() == {kept.cid}
    assert bucket.backend.size(gone.name) is None


def test_an_account_leaves_nothing_in_the_bucket_but_what_others_hold(bucket):
    entries = [bucket.upload(bytes([number])) for number in range(20)]
    shared = bucket.upload(bytes([7]), did=BOB)
    bucket.backend.quarantine(entries[0].name)

    bucket.blobs.delete_account(ALICE)

    left = bucket.backend.key(shared.name)
    own = left.partition("/")[0]  # other tests use the same bucket
    assert [listed.key for listed in bucket.backend.bucket.objects(f"{own}/")] == [left]


def test_a_collected_blob_comes_back_with_an_upload(bucket):
    entry = bucket.upload(b"again")
    collect(bucket)

    again = bucket.upload(b"again")

    assert (again.cid, again.name != entry.name) == (entry.cid, True)
    assert bucket.read(again) == b"again"


def test_no_referenced_blob_is_lost_in_a_race_for_the_bucket(open_core, open_s3):
    core = open_core(backend=open_s3(), clock=system_clock, grace_seconds=GRACE_SECONDS)
    seed = time.time_ns()
    print(f"{seed=}")
    racers = [Racer(core, f"racer{number}", f"{seed}{number}") for number in range(3)]

    print(race(core, racers, seconds=5), [racer.tally for racer in racers])

    assert [racer.broken for racer in racers] == [[], [], []]
    time.sleep(2 * GRACE_SECONDS)
    list(core.collector(GRACE_SECONDS).run())
    assert core.stored() == set()
    assert core.rows()["blob"] == []


def test_a_bucket_that_is_away_keeps_what_it_has(open_s3, bucket, link):
    entry = bucket.upload(b"kept")
    bucket.clock.advance(3601)
    link.close()
    away = open_s3(f"http://127.0.0.1:{link.port}")

    found = list(bucket.collector(backend=away).run())

    assert [(step.kind, bool(step.failure)) for step in found] == [
        ("temporary", True),
        ("unfinished", True),
    ]
    assert bucket.read(entry) == b"kept"


@pytest.mark.parametrize("sizes", [{}, {"max_put": 100_000}], ids=["whole", "in parts"])
def test_no_acknowledged_blob_is_lost_however_the_link_fails(open_core, open_s3, link, sizes):
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    core = open_core(backend=open_s3(link.url, **sizes))
    acknowledged, refusals = {}, set()

    for _ in range(100):
        link.heal()
        kind = dice.choice(["reset", "reset-after", "500", "503", "damage-up"])
        link.inject(kind, times=dice.choice([1, 2, 3, None]))
        data = dice.randbytes(dice.randrange(1, 400_000))
        try:
            acknowledged[core.upload(data, "*/*")] = data
        except BackendUnavailable:
            refusals.add(BackendUnavailable)
        except ServiceBusy:
            refusals.add(ServiceBusy)
    link.heal()

    assert refusals == {BackendUnavailable, ServiceBusy}
    assert {entry: core.read(entry) for entry in acknowledged} == acknowledged
    usage = core.blobs.usage(ALICE)
    assert (usage.blob_count, usage.blob_bytes) == (
        len(acknowledged),
        sum(map(len, acknowledged.values())),
    )


@pytest.mark.parametrize(
    "removal",
    [collect, lambda core: core.blobs.delete_account(ALICE)],
    ids=["collector", "account"],
)
def test_an_upload_sends_again_what_the_bucket_removed_without_an_answer(
    open_core, open_s3, link, removal
):
    core = open_core(backend=open_s3(link.url))
    core.upload(b"one")
    core.upload(b"two")

    def meanwhile():
        core.clock.advance(1)
        link.inject("reset-after", method="DELETE")
        link.inject("reset-after", method="POST")
        removal(core)
        link.heal()

    with interrupted(core, [meanwhile]) as blobs:
        again = blobs.upload(incoming(b"one", did=BOB))

    assert core.read(again) == b"one"
