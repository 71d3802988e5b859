"""The collector takes what is over and nothing else."""

from itertools import zip_longest

import pytest
from support.accounts import ALICE, BOB
from support.backends import Interrupted
from support.depot import blob_of

from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.catalog import accounts, blobs, sessions, takedowns, tokens
from aurora_blobs.config import Config, ConfigError
from aurora_blobs.errors import BackendUnavailable, BlobNotFound
from aurora_blobs.maintenance.collect import Collector
from aurora_blobs.storage.disk import DiskBackend
from aurora_blobs.storage.pair import PairBackend

GRACE = 3600


def collector(depot, backend=None):
    return Collector(
        backend or depot.backend,
        depot.database,
        spool=depot.spool,
        grace_seconds=GRACE,
        clock=depot.clock,
    )


def collect(depot, **options):
    return list(collector(depot).run(**options))


def test_a_temporary_blob_goes_after_its_grace_and_not_before(depot):
    entry = depot.upload(b"one")

    depot.clock.advance(GRACE)
    assert collect(depot) == []
    assert depot.stored() == {entry.cid}

    depot.clock.advance(1)
    (collected,) = collect(depot)
    assert (collected.kind, collected.cid, collected.did, collected.size) == (
        "temporary",
        entry.cid,
        ALICE,
        3,
    )
    assert collected.since == entry.created_at
    assert depot.stored() == set()
    assert depot.rows()["blob"] == depot.rows()["blob_metadata"] == []
    assert depot.blobs.usage(ALICE).blob_bytes == 0


def test_a_public_blob_stays(depot):
    entry = depot.upload(b"one")
    depot.write("com.example.a", "1", {"picture": blob_of(entry)})
    depot.clock.advance(10 * GRACE)

    assert collect(depot) == []
    assert depot.read(entry) == b"one"


def test_what_uploads_left_in_either_store_goes_after_the_grace(depot, tmp_path):
    first, second = (Interrupted(tmp_path / name, durable=False) for name in ("first", "second"))
    pair = collector(depot, PairBackend(first, second))

    told = list(pair.run(dry_run=True))
    went = list(pair.run())

    assert [(found.kind, found.size) for found in told] == [("unfinished", 11)] * 2
    assert went == told
    assert list(pair.run()) == []
    assert first.asked == depot.clock() - GRACE * 1_000_000


def test_the_grace_begins_when_the_last_reference_goes(depot):
    entry = depot.upload(b"one")
    depot.write("com.example.a", "1", {"picture": blob_of(entry)})
    depot.write("com.example.a", "2", {"picture": blob_of(entry)})
    depot.clock.advance(2 * GRACE)
    depot.delete("com.example.a", "1")
    depot.clock.advance(2 * GRACE)
    depot.delete("com.example.a", "2")
    depot.clock.advance(GRACE)

    assert collect(depot) == []
    depot.clock.advance(1)
    assert [collected.cid for collected in collect(depot)] == [entry.cid]


def test_an_upload_again_restarts_the_grace(depot):
    depot.upload(b"one")
    depot.clock.advance(GRACE)
    depot.upload(b"one")
    depot.clock.advance(GRACE)

    assert collect(depot) == []


def test_bytes_stay_while_another_account_holds_them(depot):
    entry = depot.upload(b"one")
    depot.upload(b"one", did=BOB)
    depot.write("com.example.a", "1", {"picture": blob_of(entry)}, did=BOB)
    depot.clock.advance(GRACE + 1)

    assert [collected.did for collected in collect(depot)] == [ALICE]
    assert depot.stored() == {entry.cid}
    with pytest.raises(BlobNotFound):
        depot.blobs.describe(ALICE, entry.cid, viewer=ALICE)


def test_a_dry_run_tells_all_and_takes_nothing(depot):
    entry = depot.upload(b"one")
    depot.clock.advance(GRACE + 1)
    before = depot.rows()

    (told,) = collect(depot, dry_run=True)

    assert (told.cid, told.reason) == (entry.cid, "no record names it")
    assert depot.rows() == before
    assert depot.stored() == {entry.cid}
    assert collect(depot) == [told]


@pytest.mark.parametrize(
    "did", [ALICE, takedowns.EVERY_ACCOUNT], ids=["the account's", "everybody's"]
)
def test_bytes_under_takedown_are_kept_until_it_is_lifted(depot, did):
    entry = depot.upload(b"one")
    depot.take_down(entry.cid, did)
    depot.clock.advance(10 * GRACE)

    assert collect(depot) == []
    assert depot.stored() == {entry.cid}

    depot.lift(entry.cid, did)
    assert depot.blobs.describe(ALICE, entry.cid, viewer=ALICE) == entry
    assert [collected.cid for collected in collect(depot)] == [entry.cid]


def test_bytes_of_an_account_under_takedown_are_kept_until_it_is_lifted(depot):
    entry = depot.upload(b"one")
    depot.take_down(None, ALICE)
    depot.clock.advance(GRACE + 1)

    assert collect(depot) == []
    depot.lift(None, ALICE)
    assert [collected.cid for collected in collect(depot)] == [entry.cid]


def test_bytes_under_anothers_takedown_outlive_the_row_of_the_account(depot):
    entry = depot.upload(b"one")
    depot.take_down(entry.cid, BOB)
    depot.clock.advance(GRACE + 1)

    assert [collected.did for collected in collect(depot)] == [ALICE]
    assert depot.stored() == {entry.cid}

    depot.lift(entry.cid, BOB)
    assert [(collected.kind, collected.cid) for collected in collect(depot)] == [
        ("unheld", entry.cid)
    ]
    assert depot.stored() == set()


def test_bytes_that_no_account_holds_go(depot):
    entry = depot.upload(b"one")
    with depot.database.write() as tx:
        accounts.delete(tx, ALICE)

    assert collect(depot) == []
    depot.clock.advance(GRACE + 1)
    assert [(collected.kind, collected.cid) for collected in collect(depot)] == [
        ("unheld", entry.cid)
    ]
    assert depot.stored() == set()
    assert depot.rows()["blob"] == []


def test_thousands_go_in_one_run_oldest_first(depot):
    cids = []
    for number in range(1100):
        cids.append(depot.upload(number.to_bytes(2, "big"), did=(ALICE, BOB)[number % 2]).cid)
        depot.clock.advance(1)
    depot.clock.advance(GRACE)

    assert [collected.cid for collected in collect(depot)] == cids
    assert depot.stored() == set()


def test_a_dead_upload_in_the_spool_goes(depot):
    left = depot.spool / "upload.0123"
    left.write_bytes(b"half a pict")

    (collected,) = collect(depot)

    assert (collected.kind, collected.size) == ("spool", 11)
    assert not left.exists()


def test_a_live_upload_in_the_spool_stays(depot):
    class Slow:
        def __init__(self):
            self.parts = [bytes(200_000), bytes(200_000)]

        def read(self, size):
            if len(self.parts) == 0:
                assert collect(depot) == []
                return b""
            return self.parts.pop()

    entry = depot.blobs.upload(Incoming(stream=Slow(), did=ALICE))

    assert entry.size == 400_000


def test_sessions_tokens_and_counters_that_are_over_go(depot):
    now = depot.clock()
    with depot.database.write() as tx:
        for number in range(1234):
            sessions.add(tx, sessions.Session(f"s{number}", ALICE, "jti", now, now + number))
            tokens.use_token(tx, ALICE, f"j{number}", now + number, now)
            tx.run(
                "INSERT INTO usage_counter VALUES ('uploads', ?, ?, 1)", f"d{number}", now + number
            )
    depot.clock.now += 1_200

    told = [(collected.kind, collected.count) for collected in collect(depot)]

    assert told == [("session", 1200), ("token", 1200), ("counter", 1200)]
    with depot.database.read() as tx:
        assert tx.one("SELECT COUNT(*) FROM session") == (34,)
        assert tx.one("SELECT COUNT(*) FROM seen_token") == (34,)
        assert tx.one("SELECT COUNT(*) FROM usage_counter") == (34,)


class Away(DiskBackend):
    def delete_many(self, cids):
        raise BackendUnavailable("the store is away")


def test_a_store_that_is_away_ends_the_run_and_nothing_is_lost(depot):
    cids = {depot.upload(bytes([number])).cid for number in range(10)}
    depot.clock.advance(GRACE + 1)

    told = list(collector(depot, Away(depot.backend.root, durable=False)).run())

    assert [collected.failure for collected in told] == ["the store is away"] * 3
    assert depot.stored() == cids
    assert [collected.kind for collected in collect(depot)] == ["temporary"] * 7
    depot.clock.advance(GRACE + 1)
    assert [collected.kind for collected in collect(depot)] == ["unheld"] * 3
    assert depot.stored() == set()


def test_an_account_is_deleted_while_the_store_is_away_and_its_bytes_go_later(depot):
    cids = {depot.upload(bytes([number])).cid for number in range(3)}
    depot.blobs.backend = Away(depot.backend.root, durable=False)

    depot.blobs.delete_account(ALICE)

    assert depot.rows()["blob_metadata"] == []
    assert depot.stored() == cids
    depot.clock.advance(GRACE + 1)
    assert {collected.cid for collected in collect(depot)} == cids
    assert depot.stored() == set()


def test_what_a_store_fails_to_delete_with_an_account_is_a_new_row_so_that_no_upload_takes_it_for_here(
    depot,
):
    class Failing(DiskBackend):
        def delete_many(self, cids):
            super().delete_many(cids)
            return {cids[-1]: BackendUnavailable("no answer came, though it is gone")}

    last = sorted(depot.upload(bytes([number])).cid for number in range(3))[-1]
    ((pinned,),) = [row[2:3] for row in depot.rows()["blob"] if row[0] == last]
    depot.blobs.backend = Failing(depot.backend.root, durable=False)
    depot.clock.advance(1)

    depot.blobs.delete_account(ALICE)

    ((cid, _, created_at, stored_at, _),) = depot.rows()["blob"]
    assert (cid, stored_at) == (last, None)
    assert created_at > pinned


def test_an_account_is_deleted_in_steps_that_hold_nobody_up(depot):
    class Counting(DiskBackend):
        def delete_many(self, cids):
            steps.append(len(cids))
            return super().delete_many(cids)

    steps = []
    for number in range(250):
        depot.upload(number.to_bytes(2, "big"))
    shared = depot.upload(b"shared")
    depot.upload(b"shared", did=BOB)
    depot.blobs.backend = Counting(depot.backend.root, durable=True)

    gone = depot.blobs.delete_account(ALICE)

    assert (len(gone), sum(steps), len(steps)) == (250, 250, 3)
    assert depot.stored() == {shared.cid}
    assert [row[0] for row in depot.rows()["blob"]] == [shared.cid]


def test_a_blob_that_is_referenced_while_the_collector_comes_to_it_stays(depot):
    entries = [depot.upload(bytes([number])) for number in range(3)]
    depot.clock.advance(GRACE + 1)

    run = collector(depot).run()
    assert next(run).cid == min(entries, key=lambda entry: entry.cid).cid
    second, third = sorted(entries, key=lambda entry: entry.cid)[1:]
    depot.write("com.example.a", "1", {"picture": blob_of(second)})

    assert [collected.cid for collected in run] == [third.cid]
    assert depot.read(second)


def test_a_blob_that_is_uploaded_again_while_the_collector_comes_to_it_stays(depot):
    contents = {depot.upload(bytes([number])).cid: bytes([number]) for number in range(2)}
    depot.clock.advance(GRACE + 1)

    run = collector(depot).run()
    first = next(run).cid
    (second,) = set(contents) - {first}
    depot.upload(contents[second])

    assert list(run) == []
    assert depot.stored() == {second}


def test_a_blob_that_a_record_names_stays_whatever_its_row_says(depot):
    entry = depot.upload(b"one")
    depot.write("com.example.a", "1", {"picture": blob_of(entry)})
    with depot.database.write() as tx:
        tx.run("UPDATE blob_metadata SET unreferenced_since = ?", depot.clock())
    depot.clock.advance(GRACE + 1)

    assert collect(depot) == []
    assert depot.stored() == {entry.cid}


def test_bytes_that_come_again_while_the_collector_comes_to_them_stay(depot):
    for number in range(2):
        depot.upload(bytes([number]))
    with depot.database.write() as tx:
        accounts.delete(tx, ALICE)
    depot.clock.advance(GRACE + 1)

    run = collector(depot).run()
    first = next(run).cid
    (second,) = depot.stored() - {first}
    with (
        depot.database.write() as tx
    ):  # another collector took it, and an upload to a store on a network began
        blobs.forget(tx, second)
        blobs.pin(tx, second, 1, depot.clock())

    assert list(run) == []
    assert depot.stored() == {second}


def test_two_collectors_at_once_share_the_work(depot):
    entries = [depot.upload(bytes([number])) for number in range(20)]
    depot.clock.advance(GRACE + 1)
    one, other = collector(depot).run(), collector(depot).run()

    pairs = list(zip_longest(one, other))

    told = [collected for pair in pairs for collected in pair if collected is not None]
    assert sorted(collected.cid for collected in told) == sorted(entry.cid for entry in entries)
    assert depot.stored() == set()


def test_the_grace_of_the_service_is_never_under_an_hour():
    with pytest.raises(ConfigError, match="at least 1h"):
        Config.from_environ({"AURORA_BLOBS_UNREFERENCED_GRACE": "59m"})
    assert Config.from_environ({"AURORA_BLOBS_UNREFERENCED_GRACE": "1h"}).unreferenced_grace == 3600
