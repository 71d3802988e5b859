"""The collector removes what has expired, and nothing else."""

from itertools import zip_longest

import pytest
from support.accounts import ALICE, BOB
from support.backends import UnfinishedUploadBackend
from support.cids import cid_of
from support.service_core import blob_of

from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.catalog import accounts, blobs, invites, removals, sessions, takedowns, tokens
from aurora_blobs.catalog.invites import Invite
from aurora_blobs.clock import SKEW
from aurora_blobs.config import Config, ConfigError
from aurora_blobs.errors import BackendUnavailable, BlobNotFound
from aurora_blobs.storage.disk import DiskBackend
from aurora_blobs.storage.pair import PairBackend

GRACE = 3600


def collector(core, backend=None):
    return core.collector(GRACE, backend)


def collect(core, **options):
    return list(collector(core).run(**options))


def test_a_temporary_blob_goes_after_its_grace_and_not_before(core):
    entry = core.upload(b"one")

    core.clock.advance(GRACE)
    assert collect(core) == []
    assert core.stored() == {entry.cid}

    core.clock.advance(1)
    (collected,) = collect(core)
    assert (collected.kind, collected.cid, collected.did, collected.size) == (
        "temporary",
        entry.cid,
        ALICE,
        3,
    )
    assert collected.since == entry.created_at
    assert core.stored() == set()
    assert core.rows()["blob"] == core.rows()["blob_metadata"] == []
    assert core.blobs.usage(ALICE).blob_bytes == 0


def test_a_public_blob_stays(core):
    entry = core.upload(b"one")
    core.write("com.example.a", "1", {"picture": blob_of(entry)})
    core.clock.advance(10 * GRACE)

    assert collect(core) == []
    assert core.read(entry) == b"one"


def test_unfinished_uploads_in_either_store_are_removed_after_the_grace(core, tmp_path):
    first, second = (
        UnfinishedUploadBackend(tmp_path / name, durable=False) for name in ("first", "second")
    )
    pair = collector(core, PairBackend(first, second))

    told = list(pair.run(dry_run=True))
    went = list(pair.run())

    assert [(found.kind, found.size) for found in told] == [("unfinished", 11)] * 2
    assert went == told
    assert list(pair.run()) == []
    assert first.asked == core.clock() - GRACE * 1_000_000


def test_the_grace_begins_when_the_last_reference_goes(core):
    entry = core.upload(b"one")
    core.write("com.example.a", "1", {"picture": blob_of(entry)})
    core.write("com.example.a", "2", {"picture": blob_of(entry)})
    core.clock.advance(2 * GRACE)
    core.delete("com.example.a", "1")
    core.clock.advance(2 * GRACE)
    core.delete("com.example.a", "2")
    core.clock.advance(GRACE)

    assert collect(core) == []
    core.clock.advance(1)
    assert [collected.cid for collected in collect(core)] == [entry.cid]


def test_an_upload_again_restarts_the_grace(core):
    core.upload(b"one")
    core.clock.advance(GRACE)
    core.upload(b"one")
    core.clock.advance(GRACE)

    assert collect(core) == []


def test_bytes_stay_while_another_account_holds_them(core):
    entry = core.upload(b"one")
    core.upload(b"one", did=BOB)
    core.write("com.example.a", "1", {"picture": blob_of(entry)}, did=BOB)
    core.clock.advance(GRACE + 1)

    assert [collected.did for collected in collect(core)] == [ALICE]
    assert core.stored() == {entry.cid}
    with pytest.raises(BlobNotFound):
        core.blobs.describe(ALICE, entry.cid, viewer=ALICE)


def test_a_dry_run_reports_everything_and_removes_nothing(core):
    entry = core.upload(b"one")
    core.clock.advance(GRACE + 1)
    before = core.rows()

    (told,) = collect(core, dry_run=True)

    assert (told.cid, told.reason) == (entry.cid, "no record names it")
    assert core.rows() == before
    assert core.stored() == {entry.cid}
    assert collect(core) == [told]


@pytest.mark.parametrize(
    "did", [ALICE, takedowns.EVERY_ACCOUNT], ids=["the account's", "everybody's"]
)
def test_bytes_under_takedown_are_kept_until_it_is_lifted(core, did):
    entry = core.upload(b"one")
    core.take_down(entry.cid, did)
    core.clock.advance(10 * GRACE)

    assert collect(core) == []
    assert core.stored() == {entry.cid}

    core.lift(entry.cid, did)
    assert core.blobs.describe(ALICE, entry.cid, viewer=ALICE) == entry
    assert [collected.cid for collected in collect(core)] == [entry.cid]


def test_bytes_of_an_account_under_takedown_are_kept_until_it_is_lifted(core):
    entry = core.upload(b"one")
    core.take_down(None, ALICE)
    core.clock.advance(GRACE + 1)

    assert collect(core) == []
    core.lift(None, ALICE)
    assert [collected.cid for collected in collect(core)] == [entry.cid]


def test_bytes_under_anothers_takedown_outlive_the_row_of_the_account(core):
    entry = core.upload(b"one")
    core.take_down(entry.cid, BOB)
    core.clock.advance(GRACE + 1)

    assert [collected.did for collected in collect(core)] == [ALICE]
    assert core.stored() == {entry.cid}

    core.lift(entry.cid, BOB)
    assert [(collected.kind, collected.cid) for collected in collect(core)] == [
        ("unheld", entry.cid)
    ]
    assert core.stored() == set()


def test_unowned_bytes_are_removed(core):
    entry = core.upload(b"one")
    with core.database.write() as tx:
        accounts.delete(tx, ALICE)

    assert collect(core) == []
    core.clock.advance(GRACE + 1)
    assert [(collected.kind, collected.cid) for collected in collect(core)] == [
        ("unheld", entry.cid)
    ]
    assert core.stored() == set()
    assert core.rows()["blob"] == []


def test_thousands_are_removed_in_one_run_oldest_first(core):
    cids = []
    for number in range(1100):
        cids.append(core.upload(number.to_bytes(2, "big"), did=(ALICE, BOB)[number % 2]).cid)
        core.clock.advance(1)
    core.clock.advance(GRACE)

    assert [collected.cid for collected in collect(core)] == cids
    assert core.stored() == set()


def test_a_dead_upload_in_the_spool_goes(core):
    left = core.spool / "upload.0123"
    left.write_bytes(b"half a pict")

    (collected,) = collect(core)

    assert (collected.kind, collected.size) == ("spool", 11)
    assert not left.exists()


def test_a_live_upload_in_the_spool_stays(core):
    class Slow:
        def __init__(self):
            self.parts = [bytes(200_000), bytes(200_000)]

        def read(self, size):
            if len(self.parts) == 0:
                assert collect(core) == []
                return b""
            return self.parts.pop()

    entry = core.blobs.upload(Incoming(stream=Slow(), did=ALICE))

    assert entry.size == 400_000


def test_an_invite_code_goes_when_it_has_been_over_for_30_days(core):
    now, day = core.clock(), 86_400
    with core.database.write() as tx:
        for code, ends_at in (("used", None), ("lasting", None), ("expiring", now + 1)):
            invites.add(tx, Invite(code, None, 1, 1, now, ends_at))
        invites.use(tx, "used", now)
    core.clock.advance(30 * day)
    assert collect(core) == []
    core.clock.advance(1)

    told = [(collected.kind, collected.count) for collected in collect(core)]

    assert told == [("invite", 2)]
    with core.database.read() as tx:
        assert [invite.code for invite in invites.page(tx, (0, ""), 10)] == ["lasting"]


def test_expired_sessions_tokens_and_counters_are_removed(core):
    now = core.clock()
    with core.database.write() as tx:
        for number in range(1234):
            sessions.add(tx, sessions.Session(f"s{number}", ALICE, "jti", now, now + number))
            tokens.use_token(tx, ALICE, f"j{number}", now + number - SKEW, now)
            tx.run(
                "INSERT INTO usage_counter VALUES ('uploads', ?, ?, 1)", f"d{number}", now + number
            )
    core.clock.now += 1_200

    told = [(collected.kind, collected.count) for collected in collect(core)]

    assert told == [("session", 1200), ("token", 1200), ("counter", 1200)]
    with core.database.read() as tx:
        assert tx.one("SELECT COUNT(*) FROM session") == (34,)
        assert tx.one("SELECT COUNT(*) FROM seen_token") == (34,)
        assert tx.one("SELECT COUNT(*) FROM usage_counter") == (34,)


class Away(DiskBackend):
    def delete_many(self, cids):
        raise BackendUnavailable("the store is away")


def test_a_store_that_is_away_ends_the_run_and_nothing_is_lost(core):
    cids = {core.upload(bytes([number])).cid for number in range(10)}
    core.clock.advance(GRACE + 1)

    told = list(collector(core, Away(core.backend.root, durable=False)).run())

    assert [collected.failure for collected in told] == ["the store is away"] * 3
    assert core.stored() == cids
    assert [collected.kind for collected in collect(core)] == ["removal"] * 3 + ["temporary"] * 7
    assert core.stored() == set()
    assert collect(core) == []


def test_an_account_is_deleted_while_the_store_is_away_and_its_bytes_go_later(core):
    cids = {core.upload(bytes([number])).cid for number in range(3)}
    core.blobs.backend = Away(core.backend.root, durable=False)

    core.blobs.delete_account(ALICE)

    assert core.rows()["blob_metadata"] == []
    assert core.stored() == cids
    core.clock.advance(GRACE + 1)
    assert {collected.cid for collected in collect(core)} == cids
    assert core.stored() == set()


def test_bytes_whose_removal_was_not_answered_are_relied_on_by_no_upload(core):
    class Failing(DiskBackend):
        def delete_many(self, names):
            super().delete_many(names)
            return {names[-1]: BackendUnavailable("no answer came, though it is gone")}

    entry = core.upload(b"one")
    core.blobs.backend = Failing(core.backend.root, durable=False)

    core.blobs.delete_account(ALICE)

    assert core.rows()["blob"] == []
    again = core.upload(b"one", did=BOB)
    core.backend.delete(entry.name)  # it may come at any time
    assert core.read(again) == b"one"
    assert [found.kind for found in collect(core)] == ["removal"]
    assert core.upload(b"one", did=BOB).name == again.name != entry.name


@pytest.mark.parametrize("number, kept", [(7, 0), (0, 1)], ids=["a number", "the CID alone"])
def test_a_removal_that_broke_off_is_ended_once_and_keeps_a_name_that_could_come_again(
    core, store, number, kept
):
    name = store(core.backend, b"one", number)
    with core.database.write() as tx:
        removals.begin(tx, [name], core.clock())

    told = [(found.kind, found.cid, found.failure) for found in collect(core)]

    assert told == [("removal", name.partition(".")[0], None)]
    assert core.stored() == set()
    assert collect(core) == []
    with core.database.read() as tx:
        assert tx.one("SELECT COUNT(*) FROM removal") == (kept,)


def test_a_collector_that_comes_late_to_a_removal_takes_nothing_that_came_since(core):
    """Whoever began the removal has ended it, and the content was uploaded again."""

    class Late(DiskBackend):
        def delete(self, name):
            with core.database.write() as tx:
                removals.end(tx, begun)
            uploaded.append(core.upload(b"one"))
            super().delete(name)

    uploaded = []
    with core.database.write() as tx:
        begun = removals.begin(tx, [cid_of(b"one")], core.clock())

    list(core.collector(backend=Late(core.backend.root, durable=False)).run())

    assert core.read(uploaded[0]) == b"one"
    assert collect(core) == []


def test_an_account_is_deleted_in_steps_that_block_no_one(core):
    class Counting(DiskBackend):
        def delete_many(self, cids):
            steps.append(len(cids))
            return super().delete_many(cids)

    steps = []
    for number in range(250):
        core.upload(number.to_bytes(2, "big"))
    shared = core.upload(b"shared")
    core.upload(b"shared", did=BOB)
    core.blobs.backend = Counting(core.backend.root, durable=True)

    gone = []
    core.blobs.delete_account(ALICE, gone.extend)

    assert (len(gone), sum(steps), len(steps)) == (250, 250, 3)
    assert core.stored() == {shared.cid}
    assert [row[0] for row in core.rows()["blob"]] == [shared.cid]


def test_a_blob_that_is_referenced_while_the_collector_comes_to_it_stays(core):
    entries = [core.upload(bytes([number])) for number in range(3)]
    core.clock.advance(GRACE + 1)

    run = collector(core).run()
    assert next(run).cid == min(entries, key=lambda entry: entry.cid).cid
    second, third = sorted(entries, key=lambda entry: entry.cid)[1:]
    core.write("com.example.a", "1", {"picture": blob_of(second)})

    assert [collected.cid for collected in run] == [third.cid]
    assert core.read(second)


def test_a_blob_that_is_uploaded_again_while_the_collector_comes_to_it_stays(core):
    contents = {core.upload(bytes([number])).cid: bytes([number]) for number in range(2)}
    core.clock.advance(GRACE + 1)

    run = collector(core).run()
    first = next(run).cid
    (second,) = set(contents) - {first}
    core.upload(contents[second])

    assert list(run) == []
    assert core.stored() == {second}


def test_a_blob_that_a_record_names_stays_whatever_its_row_says(core):
    entry = core.upload(b"one")
    core.write("com.example.a", "1", {"picture": blob_of(entry)})
    with core.database.write() as tx:
        tx.run("UPDATE blob_metadata SET unreferenced_since = ?", core.clock())
    core.clock.advance(GRACE + 1)

    assert collect(core) == []
    assert core.stored() == {entry.cid}


def test_bytes_that_come_again_while_the_collector_comes_to_them_stay(core):
    for number in range(2):
        core.upload(bytes([number]))
    with core.database.write() as tx:
        accounts.delete(tx, ALICE)
    core.clock.advance(GRACE + 1)

    run = collector(core).run()
    first = next(run).cid
    (second,) = core.stored() - {first}
    with (
        core.database.write() as tx
    ):  # another collector removed it, and an upload to a network store began
        blobs.forget(tx, second)
        blobs.pin(tx, second, 1, 1, core.clock())

    assert list(run) == []
    assert core.stored() == {second}


def test_two_concurrent_collectors_share_the_work(core):
    entries = [core.upload(bytes([number])) for number in range(20)]
    core.clock.advance(GRACE + 1)
    one, other = collector(core).run(), collector(core).run()

    pairs = list(zip_longest(one, other))

    told = [collected for pair in pairs for collected in pair if collected is not None]
    assert sorted(collected.cid for collected in told) == sorted(entry.cid for entry in entries)
    assert core.stored() == set()


def test_the_grace_of_the_service_is_never_under_an_hour():
    with pytest.raises(ConfigError, match="at least 1h"):
        Config.from_environ({"AURORA_BLOBS_UNREFERENCED_GRACE": "59m"})
    assert Config.from_environ({"AURORA_BLOBS_UNREFERENCED_GRACE": "1h"}).unreferenced_grace == 3600
