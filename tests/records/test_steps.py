"""No client chooses the length of a transaction, and none of its records get past a follower."""

import pytest
from support.accounts import ALICE
from support.car_files import car_of, reference
from support.commits import Commits
from support.service_core import ServiceCore, blob_of

from aurora_blobs.catalog import accounts, record_usage, references
from aurora_blobs.errors import BlobServiceError, InvalidRequest, QuotaExceeded
from aurora_blobs.protocol.car import Repository
from aurora_blobs.records.changes import RecordLimits
from aurora_blobs.records.index import Records, Write

MOST = 2500  # rows of one transaction: 1,000, and one record with all that it may name


@pytest.fixture
def commits():
    return Commits()


@pytest.fixture
def core(tmp_path, commits):
    core = ServiceCore(tmp_path / "core", before_commit=commits.hook)
    core.add_account(ALICE)
    commits.clear()
    yield core
    core.database.close()


def blobs(start, count):
    return [reference(f"{number}".encode(), "text/plain") for number in range(start, start + count)]


def full_records(start=0):
    """20 records that name 900 blobs each, 18,000 together."""
    return {
        f"com.example.a/{number:02}": {"files": blobs(start + number * 900, 900)}
        for number in range(20)
    }


def run(core, records):
    return core.importer.run(Repository(car_of(records)))


def counted(core):
    with core.database.read() as tx:
        return record_usage.find(tx, ALICE), record_usage.miscounts(tx)


def test_an_import_is_written_in_steps(core, commits):
    run(core, full_records())

    assert len(core.listed(ALICE, 20_000)) == 18_000
    assert max(commits.rows) < MOST
    assert sum(commits.rows) > 18_000


def test_an_import_replaces_what_was_there_in_steps(core, commits):
    run(core, full_records())
    commits.clear()

    run(core, full_records(start=50_000))

    assert len(core.listed(ALICE, 20_000)) == 18_000
    assert max(commits.rows) < MOST


def test_an_import_drops_what_is_gone_in_steps(core, commits):
    run(core, full_records())
    commits.clear()

    run(core, {})

    assert core.listed(ALICE) == []
    assert max(commits.rows) < MOST
    assert counted(core) == (0, [])


def test_many_small_records_are_written_and_dropped_in_steps(core, commits):
    run(core, {f"com.example.a/{number:05}": {} for number in range(3000)})
    run(core, {f"com.example.b/{number:05}": {} for number in range(3000)})

    assert len(core.keys(ALICE)) == 3000
    assert max(commits.rows) < MOST


def test_large_records_are_dropped_few_at_a_time(core, commits):
    run(core, {f"com.example.a/{number:02}": {"text": "x" * 900_000} for number in range(20)})
    commits.clear()

    run(core, {})

    dropping = [rows for rows in commits.rows if rows > 2]
    assert len(dropping) >= 4


def test_an_account_is_deleted_in_steps(core, commits):
    run(core, full_records())
    run(core, full_records() | {f"com.example.b/{number:05}": {} for number in range(3000)})
    for number in range(250):
        core.upload(f"{number}".encode(), "text/plain")
    commits.clear()

    core.blobs.delete_account(ALICE)

    assert core.rows() == {"record": [], "record_blob": [], "blob": [], "blob_metadata": []}
    assert sum(commits.rows) > 21_000
    assert max(commits.rows) < MOST


def test_large_records_of_a_deleted_account_go_few_at_a_time(core, commits):
    run(core, {f"com.example.a/{number:02}": {"text": "x" * 900_000} for number in range(20)})
    commits.clear()

    core.blobs.delete_account(ALICE)

    assert core.keys(ALICE) == []
    assert max(commits.rows) < 10


def test_a_follower_misses_nothing_of_an_import(tmp_path):
    """After each commit it reads the revision, then lists what is newer than the last one read."""
    seen, last = set(), [""]

    def follow():
        with core.database.read() as tx:
            rev = accounts.find(tx, ALICE).rev
            seen.update(references.cids(tx, ALICE, "", last[0], 10_000))
        last[0] = rev or ""

    commits = Commits()
    core = ServiceCore(tmp_path / "core", before_commit=commits.hook)
    core.add_account(ALICE)
    commits.after = follow
    named = {f"com.example.a/{number:04}": {"files": blobs(number, 1)} for number in range(1000)}

    run(core, named)

    assert set(core.listed(ALICE)) - seen == set()
    core.database.close()


def filled(core, count):
    return [blob_of(core.upload(f"{number}".encode(), "text/plain")) for number in range(count)]


def index_of(core, **limits):
    return Records(core.database, core.backend, core.clock, RecordLimits(**limits))


def put(rkey, value):
    return Write("put", "com.example.a", rkey, {"$type": "com.example.a", **value})


def refusal(kind, call, *arguments):
    with pytest.raises(BlobServiceError) as caught:
        call(*arguments)
    assert type(caught.value) is kind
    return caught.value.message


def test_a_record_names_as_many_blobs_as_may_be_and_no_more(core):
    found = filled(core, 6)
    records = index_of(core, max_references=5)

    records.apply(ALICE, [put("1", {"files": found[:5]})])

    assert (
        refusal(InvalidRequest, records.apply, ALICE, [put("2", {"files": found})])
        == "a record names 6 blobs, at most 5 are accepted"
    )
    assert core.keys(ALICE) == [("com.example.a", "1")]


def test_writes_that_drop_too_much_in_one_call_are_refused_and_change_nothing(core):
    run(core, {f"com.example.a/{number}": {"files": blobs(0, 100)} for number in range(9)})
    before = core.rows()
    records = index_of(core, max_references=100)
    deletes = [Write("delete", "com.example.a", f"{number}") for number in range(9)]

    message = refusal(InvalidRequest, records.apply, ALICE, deletes)

    assert message.startswith("These writes change more than 600 records and references to blobs")
    assert core.rows() == before
    records.apply(ALICE, deletes[:5])
    assert len(core.keys(ALICE)) == 4


def test_writes_that_drop_too_many_bytes_in_one_call_are_refused(core):
    run(core, {f"com.example.a/{number:02}": {"text": "x" * 900_000} for number in range(12)})
    deletes = [Write("delete", "com.example.a", f"{number:02}") for number in range(12)]

    message = refusal(InvalidRequest, core.records.apply, ALICE, deletes)

    assert message.startswith("These writes change more than 8388608 bytes of records")
    assert len(core.keys(ALICE)) == 12
    core.records.apply(ALICE, deletes[:9])


def test_a_record_from_before_the_limit_can_be_dropped(core):
    run(core, {"com.example.a/1": {"files": blobs(0, 900)}})

    index_of(core, max_references=1).apply(ALICE, [Write("delete", "com.example.a", "1")])

    assert core.keys(ALICE) == []


def test_records_over_the_quota_are_refused_and_fewer_bytes_are_always_accepted(core):
    records = index_of(core, quota_bytes=10_000)
    records.apply(ALICE, [put("1", {"text": "x" * 9000})])

    message = refusal(QuotaExceeded, records.apply, ALICE, [put("2", {"text": "x" * 2000})])

    assert message == (
        "the records of the account would have 11148 bytes, at most 10000 are accepted"
    )
    over = index_of(core, quota_bytes=1000)
    over.apply(ALICE, [put("1", {"text": "x" * 8000})])
    over.apply(ALICE, [Write("delete", "com.example.a", "1")])
    assert counted(core) == (0, [])


def test_bytes_are_counted_and_not_characters(core):
    records = index_of(core, quota_bytes=10_000)

    refusal(QuotaExceeded, records.apply, ALICE, [put("1", {"text": "😀" * 2500})])
    records.apply(ALICE, [put("1", {"text": "😀" * 2400})])

    assert counted(core)[1] == []


def test_every_way_to_change_records_counts_their_bytes(core):
    found = filled(core, 3)
    sizes = [counted(core)]
    for change in (
        lambda: core.write("com.example.a", "1", {"files": found}),
        lambda: core.write("com.example.a", "1", {"files": found[:1], "text": "é"}),
        lambda: core.write("com.example.a", "1", {"files": found[:1], "text": "é"}),
        lambda: core.replace("com.example.a", "1", "2", {"files": found}),
        lambda: run(core, {"com.example.a/3": {"files": blobs(0, 2) * 2}}),
        lambda: run(core, {"com.example.a/3": {}, "com.example.b/3": {"text": "日本"}}),
        lambda: core.delete("com.example.b", "3"),
        lambda: core.delete("com.example.b", "3"),
    ):
        change()
        sizes.append(counted(core))

    assert [wrong for _, wrong in sizes] == [[]] * 9
    assert [size > 0 for size, _ in sizes] == [False] + [True] * 8
