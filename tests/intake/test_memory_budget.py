"""A budget lends at most its total, and gets everything back."""

import pytest
from support.threads import in_threads

from aurora_blobs.intake.memory_budget import MemoryBudget


def test_bytes_are_lent_while_they_are_free():
    budget = MemoryBudget(10)

    with budget.lend(6) as first, budget.lend(5) as refused, budget.lend(4) as last:
        assert (first, refused, last) == (6, 0, 4)
    with budget.lend(10) as all_of_it:
        assert all_of_it == 10


def test_bytes_come_back_from_a_block_that_fails():
    budget = MemoryBudget(10)

    with pytest.raises(ZeroDivisionError), budget.lend(10):
        raise ZeroDivisionError

    with budget.lend(10) as lent:
        assert lent == 10


def test_threads_together_are_lent_no_more_than_the_total():
    budget, held = MemoryBudget(10), []

    def borrow():
        for _ in range(1000):
            with budget.lend(3) as lent:
                held.append(lent)
                assert sum(held) <= 10
                held.remove(lent)

    assert in_threads(borrow, 4) == []
    with budget.lend(10) as lent:
        assert lent == 10
