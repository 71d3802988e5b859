"""Work in a few threads: in order, bounded, and ended by a failure."""

import threading
from itertools import count, islice

import pytest

from aurora_blobs.maintenance.parallel import in_order


def test_results_come_in_the_order_of_the_items():
    second_is_done = threading.Event()

    def work(number):
        if number == 0:
            assert second_is_done.wait(10)
        if number == 1:
            second_is_done.set()
        return number * number

    assert list(in_order(work, range(50), 2)) == [(number, number**2) for number in range(50)]


def test_few_items_are_taken_ahead_of_the_results():
    taken = count()

    first = next(in_order(lambda number: number, taken, 3))

    assert first == (0, 0)
    assert next(taken) <= 3 * 4 + 1


def test_a_failure_is_raised_when_it_is_due_and_what_has_not_begun_is_not_done():
    begun = []
    may_fail = threading.Event()

    def work(number):
        begun.append(number)
        if number == 1:
            assert may_fail.wait(10)
            raise OSError("the disk is gone")
        return number

    results = in_order(work, range(100), 1)
    assert next(results) == (0, 0)
    may_fail.set()

    with pytest.raises(OSError, match="the disk is gone"):
        list(results)
    assert len(begun) < 10


def test_whoever_takes_no_more_ends_the_threads():
    before = threading.active_count()
    results = in_order(lambda number: number, range(100), 4)
    list(islice(results, 3))

    results.close()

    assert threading.active_count() == before
