"""What one process at a time does, over all nodes."""

import pytest
from support.clock import Clock

from aurora_blobs.catalog import jobs
from aurora_blobs.catalog import leases as rows
from aurora_blobs.errors import LeaseLost
from aurora_blobs.leases import Leases


class Nodes:
    """Two nodes on one database. `holder` makes a holder on one of them."""

    def __init__(self, database):
        self.database = database
        self.clock = Clock()

    def holder(self, node):
        return Leases(self.database, node, timer=self.seconds).holder("job")

    def seconds(self):
        return self.clock.now / 1_000_000

    def let_all_expire(self):
        with self.database.write() as tx:
            tx.run("UPDATE lease SET expires_at = ?", tx.now() - 1)

    def held(self):
        with self.database.read() as tx:
            return [lease.name for lease in rows.held(tx, "job")]


@pytest.fixture
def nodes(database):
    return Nodes(database)


@pytest.fixture
def take(database):
    def take(holder, name="part"):
        with database.write(keys=holder.keys) as tx:
            return holder.take(tx, name)

    return take


def test_one_of_two_nodes_has_a_lease(nodes, take):
    one, two = nodes.holder("one"), nodes.holder("two")

    assert [take(one), take(two)] == [True, False]
    assert [take(one, "other"), take(two, "other")] == [True, False]


def test_a_lease_that_is_given_back_can_be_had_at_once(nodes, take):
    one, two = nodes.holder("one"), nodes.holder("two")

    with one.having("part") as is_had, two.having("part") as is_had_too:
        assert (is_had, is_had_too) == (True, False)

    assert take(two)


def test_what_a_dead_node_had_can_be_had_when_it_is_over(nodes, take):
    assert take(nodes.holder("dead"))

    nodes.let_all_expire()

    assert nodes.held() == []
    assert take(nodes.holder("two"))


def test_a_lease_that_is_renewed_is_kept(nodes, take):
    one, two = nodes.holder("one"), nodes.holder("two")
    take(one)
    nodes.let_all_expire()

    nodes.clock.advance(rows.SECONDS)
    one.keep()

    assert not take(two)


def test_a_lease_is_not_written_each_time_it_is_kept(nodes, database, take):
    one = nodes.holder("one")
    take(one)
    nodes.let_all_expire()

    one.keep()

    assert nodes.held() == []


def test_who_was_paused_notices_that_another_has_the_lease(nodes, database, take):
    paused, other = nodes.holder("one"), nodes.holder("two")
    take(paused)
    nodes.let_all_expire()
    take(other)

    with pytest.raises(LeaseLost), database.write() as tx:
        paused.require(tx)
    nodes.clock.advance(rows.SECONDS)
    with pytest.raises(LeaseLost):
        paused.keep()
    paused.give_back()

    assert nodes.held() == ["job/part"]
    with database.write() as tx:
        other.require(tx)


def test_who_has_lost_a_lease_changes_nothing_in_the_database_that_is_for_its_holder(
    nodes, database, take
):
    paused, other = nodes.holder("one"), nodes.holder("two")
    guarded = paused.guarded("part")
    take(paused)
    with guarded.write() as tx:
        jobs.save_position(tx, "gc", "one", 0)
    nodes.let_all_expire()
    take(other)

    with pytest.raises(LeaseLost), guarded.write() as tx:
        jobs.save_position(tx, "gc", "two", 0)
    with pytest.raises(LeaseLost), guarded.alone() as tx:
        jobs.save_position(tx, "gc", "two", 0)
    paused.give_back()
    with pytest.raises(LeaseLost):
        guarded.in_steps(lambda tx: jobs.save_position(tx, "gc", "two", 0))

    with guarded.read() as tx:
        assert jobs.find_position(tx, "gc") == "one"
    with other.guarded("part").write() as tx:
        jobs.save_position(tx, "gc", "three", 0)


def test_a_lease_of_a_clock_that_was_ahead_is_over(nodes, database, take):
    take(nodes.holder("one"))
    with database.write() as tx:
        tx.run("UPDATE lease SET expires_at = ?", tx.now() + 600_000_000)

    assert nodes.held() == []
    assert take(nodes.holder("two"))


def test_a_machine_that_has_the_database_to_itself_has_everything_and_no_lease(database, take):
    one, two = Leases(database).holder("job"), Leases(database).holder("job")

    assert [take(one), take(two)] == [True, True]
    with database.write() as tx:
        one.require(tx)
        assert tx.one("SELECT COUNT(*) FROM lease") == (0,)


def test_leases_that_are_over_are_forgotten_a_few_at_a_time(nodes, database, take):
    holder = nodes.holder("one")
    for number in range(3):
        take(holder, f"part{number}")
    nodes.let_all_expire()
    take(holder, "living")

    with database.write() as tx:
        assert (rows.count_over(tx), rows.forget_over(tx, 2), rows.forget_over(tx, 2)) == (3, 2, 1)

    assert nodes.held() == ["job/living"]


def test_the_database_s_clock_goes_on_within_a_transaction(database):
    with database.write() as tx:
        first, second = tx.now(), tx.now()
        while second == first:
            second = tx.now()

    assert first < second < database.one_shot().now()
