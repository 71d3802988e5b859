"""Nodes share the jobs over the whole store."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, zip_longest

import pytest
from support.accounts import ALICE
from support.cids import cid_of
from support.clock import Clock

from aurora_blobs.errors import LeaseLost
from aurora_blobs.leases import Leases
from aurora_blobs.maintenance.backfill import backfill
from aurora_blobs.maintenance.collect import Collector
from aurora_blobs.maintenance.fsck import Fsck
from aurora_blobs.maintenance.scrub import Scrub
from aurora_blobs.maintenance.shards import SHARDS, SharedPass
from aurora_blobs.storage.disk import DiskBackend

ALL = range(SHARDS)
BLOBS = [b"%d" % number for number in range(40)]


def in_turns(*runs):
    """What each of *runs* gives, one of each in turn."""
    return [item for item in chain(*zip_longest(*runs)) if item is not None]


def numbers(shards):
    return sorted(number for shard in shards for number in shard.numbers)


class Nodes:
    """Nodes on one database. Their timer, and that of all leases, goes on by `pause`."""

    def __init__(self, core):
        self.core = core
        self.timer = Clock()

    def leases(self, node):
        return Leases(self.core.database, node, timer=lambda: self.timer.now / 1_000_000)

    def job(self, node, name="job", **options):
        return SharedPass(self.core.database, name, self.leases(node), **options)

    def pause(self):
        """Let so much time pass that each lease is over, and each holder renews."""
        self.timer.advance(60)
        with self.core.database.write() as tx:
            tx.run("UPDATE lease SET expires_at = ?", tx.now() - 1)

    def save(self, job, shard, position):
        with self.core.database.write() as tx:
            job.save(tx, shard, position, self.core.clock())

    def rows(self):
        with self.core.database.read() as tx:
            [(count,)] = tx.all("SELECT COUNT(*) FROM job")
            [(held,)] = tx.all("SELECT COUNT(*) FROM lease")
        return count, held


@pytest.fixture
def nodes(core):
    return Nodes(core)


@pytest.fixture
def stored(core):
    """40 blobs, which are temporary; by CID."""
    return sorted((core.upload(data) for data in BLOBS), key=lambda entry: entry.cid)


def test_nodes_do_each_shard_once(nodes):
    one, two = nodes.job("one"), nodes.job("two")

    done = in_turns(one.shards(), two.shards())

    assert numbers(done) == list(ALL)
    assert one.taken + two.taken == SHARDS
    assert min(one.taken, two.taken) > SHARDS / 4
    assert nodes.rows() == (0, 0)


def test_a_node_alone_does_everything_in_the_order_of_cids(nodes):
    one = nodes.job("one")

    done = list(one.shards())

    assert numbers(done) == list(ALL)
    assert [shard.low for shard in done] == sorted(shard.low for shard in done)
    assert all(cid_of(data)[:9] in {shard.low for shard in done} for data in BLOBS)
    assert one.taken == SHARDS


def test_a_machine_that_has_the_database_to_itself_has_one_shard(core, nodes):
    alone = SharedPass(core.database, "job", None)

    [everything] = alone.shards()

    assert (everything.numbers, everything.low, everything.high) == (ALL, "", "~")
    assert nodes.rows() == (0, 0)


def test_a_pass_that_was_stopped_leaves_the_rest_to_others_at_once(nodes):
    stopped = nodes.job("one").shards()
    first = next(stopped)
    stopped.close()

    assert numbers(nodes.job("two", resumes=True).shards()) == list(ALL)
    assert first.numbers in [shard.numbers for shard in nodes.job("two").shards()]


def test_what_a_dead_node_left_is_resumed_where_it_was(nodes):
    dead = nodes.job("dead", resumes=True)
    shards = dead.shards()
    done, left = next(shards), next(shards)
    nodes.save(dead, left, f"{left.low}q")
    others = list(nodes.job("two", resumes=True).shards())

    nodes.pause()
    resumed = list(nodes.job("two", resumes=True).shards())

    assert left.name not in [shard.name for shard in others]
    assert [(shard.name, shard.after) for shard in resumed][0] == (left.name, f"{left.low}q")
    assert numbers([done, *others, *resumed]) == list(ALL)


def test_a_pass_that_does_not_resume_begins_anew_when_nobody_works_on_the_last_one(nodes):
    shards = nodes.job("dead").shards()
    next(shards)
    next(shards)

    nodes.pause()

    assert numbers(nodes.job("two").shards()) == list(ALL)


def test_what_else_belongs_to_a_job_keeps_no_node_from_a_new_pass(nodes):
    rest = nodes.job("one").once("rest", [1, 2])
    next(rest)

    assert list(nodes.job("two").once("rest", [1, 2])) == []
    assert numbers(nodes.job("two").shards()) == list(ALL)
    assert list(rest) == [2]


def test_a_node_that_was_paused_leaves_what_another_has_taken_over(nodes):
    paused = nodes.job("paused", resumes=True)
    shards = paused.shards()
    shard = next(shards)
    nodes.pause()
    other = nodes.job("other", resumes=True)
    others = other.shards()
    taken = next(others)

    with pytest.raises(LeaseLost):
        nodes.save(paused, shard, f"{shard.low}q")
    with pytest.raises(LeaseLost):
        paused.keep()
    rest = in_turns(shards, others)

    assert taken.name == shard.name
    assert numbers([taken, *rest]) == list(ALL)
    assert paused.taken + other.taken == SHARDS
    assert nodes.rows() == (0, 0)


def test_a_node_that_was_paused_has_no_part_in_a_pass_that_began_since(nodes):
    shards = nodes.job("paused").shards()
    shard = next(shards)
    nodes.pause()
    others = nodes.job("other").shards()
    first = next(others)

    rest = in_turns(shards, others)

    assert shard.name == first.name
    assert numbers([first, *rest]) == list(ALL)


class MeetingPlace(DiskBackend):
    """Lets each of two threads go on when both have come to their first shard."""

    def __init__(self, folder):
        super().__init__(folder, durable=False)
        self.barrier = threading.Barrier(2, timeout=30)
        self.local = threading.local()

    def meet(self):
        if not hasattr(self.local, "has_met"):
            self.local.has_met = True
            self.barrier.wait()

    def scan(self, *arguments):
        self.meet()
        yield from super().scan(*arguments)

    def open(self, *arguments):
        self.meet()
        return super().open(*arguments)


def at_once(*runs):
    """What each of *runs* gives, in a thread of its own."""
    with ThreadPoolExecutor(len(runs)) as threads:
        return [item for found in threads.map(list, runs) for item in found]


@pytest.fixture
def meeting(open_core, tmp_path):
    """Nodes that meet in their stores; 40 blobs, by CID, of which the first is lost."""
    core = open_core(backend=MeetingPlace(tmp_path / "blobs"))
    nodes = Nodes(core)
    nodes.stored = sorted((core.upload(data) for data in BLOBS), key=lambda entry: entry.cid)
    core.backend.delete(nodes.stored[-1].cid)
    return nodes


def test_nodes_read_each_blob_once(meeting):
    core = meeting.core
    read = []
    jobs = [
        Scrub(
            core.database,
            core.backend,
            core.clock,
            dry_run=False,
            bytes_per_second=0,
            leases=meeting.leases(node),
        )
        for node in ("one", "two")
    ]

    findings = at_once(*(job.run(read.append) for job in jobs))

    lost = meeting.stored[-1].cid
    assert [(finding.kind, finding.subject) for finding in findings] == [("lost", lost)]
    assert sorted(read) == sorted(len(data) for data in BLOBS)
    assert sum(job.shared.taken for job in jobs) == SHARDS
    with core.database.read() as tx:
        assert tx.one("SELECT COUNT(*) FROM blob WHERE verified_at IS NOT NULL") == (39,)


def test_nodes_find_each_fault_of_the_store_once(meeting):
    core = meeting.core
    (core.backend.root / "zz").mkdir()
    (core.backend.root / "zz" / "foreign").touch()
    (core.backend.root / "00first").touch()
    with core.database.write() as tx:
        tx.run("UPDATE account SET blob_count = 7 WHERE did = ?", ALICE)
    checks = [
        Fsck(
            core.database,
            core.backend,
            core.spool,
            core.clock,
            repair=True,
            leases=meeting.leases(node),
        )
        for node in ("one", "two")
    ]

    findings = at_once(*(check.run() for check in checks))

    assert sorted((finding.kind, finding.subject) for finding in findings) == [
        ("foreign", "00first"),
        ("foreign", "zz/foreign"),
        ("lost", meeting.stored[-1].cid),
        ("miscount", ALICE),
    ]
    assert sum(check.seen for check in checks) == 39
    assert sum(check.shared.taken for check in checks) == SHARDS


def test_nodes_collect_each_blob_once(core, nodes, stored):
    core.clock.advance(7200)

    def collect(node):
        return Collector(
            core.backend,
            core.database,
            spool=core.spool,
            grace_seconds=3600,
            clock=core.clock,
            leases=nodes.leases(node),
        ).run()

    collected = in_turns(collect("one"), collect("two"))

    assert sorted(found.cid for found in collected) == [entry.cid for entry in stored]
    assert core.stored() == set()
    assert nodes.rows() == (0, 0)


def test_what_would_be_collected_is_listed_whole_while_another_node_collects(core, nodes, stored):
    core.clock.advance(7200)
    collector = Collector(
        core.backend,
        core.database,
        spool=core.spool,
        grace_seconds=3600,
        clock=core.clock,
        leases=nodes.leases("two"),
    )
    working = nodes.job("one", "gc").shards()
    next(working)

    assert len(list(collector.run(dry_run=True))) == len(BLOBS)


def test_nodes_probe_each_blob_once(core, nodes, stored):
    with core.database.write() as tx:
        tx.run("UPDATE blob_metadata SET probed_at = NULL")

    def fill(node):
        return backfill(core.backend, core.database, core.clock, nodes.leases(node))

    filled = in_turns(fill("one"), fill("two"))

    assert sorted(entry.cid for entry in filled) == [entry.cid for entry in stored]
