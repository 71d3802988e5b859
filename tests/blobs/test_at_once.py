"""What two processes do at the same moment, in rounds: no limit is passed, nothing is lost."""

import contextlib

import pytest
from support.accounts import ALICE, BOB
from support.race_process import Remote
from support.service_core import ServiceCore, blob_of
from support.threads import in_threads

from aurora_blobs.catalog import accounts, derivatives
from aurora_blobs.errors import BlobNotFound, QuotaExceeded, RateLimitExceeded, ServiceBusy

ROUNDS = 15
AT_ONCE = 4


@pytest.fixture
def nodes(tmp_path):
    """Cores with the same database, spool and store, as processes of one service have them."""
    backends = [Remote(tmp_path / "blobs", durable=False) for _ in range(AT_ONCE)]
    nodes = [ServiceCore(tmp_path, backend=backend) for backend in backends]
    for did in (ALICE, BOB):
        nodes[0].add_account(did)
    yield nodes
    for node in nodes:
        node.database.close()


def at_once(nodes, act, *given):
    """``act(node, number, *given)`` on each of *nodes* at the same moment; the errors."""
    numbered = iter(list(enumerate(nodes)))

    def run():
        number, node = next(numbered)
        act(node, number, *given)

    return in_threads(run, len(nodes))


def upload(node, number, round):
    node.upload(b"%d-%07d" % (number, round))


def upload_the_same(node, number, round):
    node.upload(b"%d" % round, did=(ALICE, BOB)[number % 2])


def write(node, number, round):
    node.write("com.example.a", f"{round}-{number}", {"a": 1})


def test_no_account_is_over_its_quota_by_one(nodes):
    for round in range(ROUNDS):
        with nodes[0].database.write() as tx:
            accounts.set_quota(tx, ALICE, 10)

        errors = at_once(nodes, upload, round)

        assert [type(error) for error in errors] == [QuotaExceeded] * (AT_ONCE - 1)
        assert nodes[0].blobs.usage(ALICE).blob_count == 1
        nodes[0].blobs.delete_account(ALICE)
        nodes[0].add_account(ALICE)


def test_no_account_is_over_its_limit_by_one(nodes):
    nodes[0].limit_uploads(ALICE, 1)
    for round in range(ROUNDS):
        errors = at_once(nodes, upload, round)

        assert [type(error) for error in errors] == [RateLimitExceeded] * (AT_ONCE - 1)
        for node in nodes:
            node.clock.advance(86_400)


def test_the_same_blob_at_once_is_one_entry_of_each_account_and_stored_once(nodes):
    for round in range(ROUNDS):
        assert at_once(nodes, upload_the_same, round) == []

    usage = [nodes[0].blobs.usage(did) for did in (ALICE, BOB)]
    assert [used.blob_count for used in usage] == [ROUNDS] * 2
    assert [used.blob_bytes for used in usage] == [sum(len(str(n)) for n in range(ROUNDS))] * 2
    assert len(nodes[0].stored()) == ROUNDS


def test_no_revision_is_given_twice(nodes):
    for round in range(ROUNDS):
        assert at_once(nodes, write, round) == []

    with nodes[0].database.read() as tx:
        revs = tx.all("SELECT rev FROM record")
        newest = accounts.find(tx, ALICE).rev
    assert len(revs) == len(set(revs)) == ROUNDS * AT_ONCE
    assert max(revs) == (newest,)


def test_an_upload_and_a_collection_at_once_leave_a_whole_blob_or_none(nodes):
    """The row that an upload pins may go before it is looked at again."""

    def collect_or_upload(node, number):
        if number % 2:
            list(node.collector(grace_seconds=0).run())
        else:
            with contextlib.suppress(ServiceBusy):
                node.upload(b"the same each time")

    for _ in range(ROUNDS * 2):
        for node in nodes:
            node.clock.advance(1)
        assert at_once(nodes, collect_or_upload) == []
        with nodes[0].database.read() as tx:
            rows = {cid for (cid,) in tx.all("SELECT cid FROM blob WHERE stored_at IS NOT NULL")}
        assert rows <= nodes[0].stored()


def test_a_record_and_a_collection_at_once_leave_both_or_neither(nodes):
    def collect_or_publish(node, number, blob):
        if number:
            list(node.collector(grace_seconds=0).run())
        else:
            with contextlib.suppress(BlobNotFound):
                node.write("com.example.a", "1", {"file": blob})

    for round in range(ROUNDS):
        entry = nodes[0].upload(b"%d" % round)
        for node in nodes:
            node.clock.advance(1)
        assert at_once(nodes, collect_or_publish, blob_of(entry)) == []
        has_record = nodes[0].keys(ALICE) != []
        has_entry = nodes[0].entry(ALICE, entry.cid) is not None
        assert has_record == has_entry
        nodes[0].delete("com.example.a", "1")


def test_the_bytes_of_all_thumbnails_are_their_sum(nodes):
    def put_and_delete(node, number):
        for size in range(1, 6):
            name = f"{(number + size) % 3}"
            with node.database.write() as tx:
                derivatives.put(tx, name, "bafkrei", size, None, size)
            with node.database.write() as tx:
                derivatives.delete(tx, derivatives.least_used(tx, 1))

    for _ in range(ROUNDS):
        assert at_once(nodes, put_and_delete) == []

    with nodes[0].database.read() as tx:
        kept = derivatives.least_used(tx, 100)
        assert derivatives.total_bytes(tx) == sum(use.size for use in kept)
