"""Numbers that processes share: each adds to its own, and all see the sums."""

import subprocess
import sys

import pytest
from support.threads import in_threads

from aurora_blobs.server.shared_counts import MOST_NOTED, SharedCounts

FORKED = """
import os
from aurora_blobs.server.shared_counts import SharedCounts
from aurora_blobs.server.shared_memory import join_all

counts = SharedCounts(size=3, parts=2)
counts.add(1, 100)
counts.noted.append((1, (9.0,), 9))

def child(part, then):
    pid = os.fork()
    if pid == 0:
        if part is not None:
            join_all(part)
        counts.add(1, 5)
        counts.noted.append((1, (9.0,), 0.5))
        counts.settle(1, 0.5)
        then()
        os._exit(0)
    os.waitpid(pid, 0)

child(0, lambda: os.kill(os.getpid(), 9))
child(1, lambda: print(counts.sums(), flush=True))
child(0, lambda: print(counts.sums(), flush=True))
child(None, lambda: print(counts.sums(), flush=True))
child(7, lambda: print(counts.sums(), flush=True))
print(counts.sums())
"""


def test_what_a_process_has_counted_outlives_it_and_the_next_one_goes_on():
    done = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.splitlines() == [
        "[2.0, 12.0, 2.0]",  # two joined: the one that was killed, and this one
        "[3.0, 18.0, 3.0]",
        "[0.0, 6.0, 1.0]",  # joined none
        "[0.0, 6.0, 1.0]",  # there is no part for it
        "[0.0, 109.0, 1.0]",
    ]


def test_no_thread_s_amount_is_lost():
    counts = SharedCounts(size=2, parts=1)

    errors = in_threads(lambda: [counts.settle(0, 1, 2) for _ in range(5000)], 8)

    assert errors == []
    assert counts.sums() == [40_000, 80_000]


def test_what_is_noted_counts_with_the_next_amounts():
    counts = SharedCounts(size=6, parts=1)

    for value in (0.5, 1, 2, 4, 16):
        counts.noted.append((2, (1.0, 4.0), value))
    counts.settle(0, 10, 20)

    # The sum, then how many were up to 1, up to 4, and above that.
    assert counts.sums() == [10, 20, 23.5, 2, 2, 1]
    assert not counts.noted


def test_what_nobody_settles_takes_no_more_memory_for_it():
    counts = SharedCounts(size=3, parts=1)

    for _ in range(10 * MOST_NOTED):
        counts.note(0, (1.0,), 0.5)

    assert len(counts.noted) <= MOST_NOTED
    assert counts.sums() == [5 * MOST_NOTED, 10 * MOST_NOTED, 0]


def test_nothing_noted_is_lost_or_counted_twice_by_threads():
    counts = SharedCounts(size=3, parts=1)

    def work():
        for number in range(5000):
            counts.noted.append((0, (1.0,), number % 2 + 1))
            counts.settle()

    assert in_threads(work, 8) == []
    assert counts.sums() == [60_000, 20_000, 20_000]


@pytest.mark.parametrize("place", [3, 100])
def test_there_is_no_place_beyond_the_size(place):
    with pytest.raises(IndexError):
        SharedCounts(size=3, parts=1).add(place)
