"""Numbers that processes share: each adds to its own, and all see the sums."""

import subprocess
import sys

import pytest
from support.threads import in_threads

from aurora_blobs.server.shared_counts import SharedCounts

FORKED = """
import os
from aurora_blobs.server.shared_counts import SharedCounts
from aurora_blobs.server.shared_memory import join_all

counts = SharedCounts(size=3, parts=2)
counts.add(1, 100)

def child(part, then):
    pid = os.fork()
    if pid == 0:
        if part is not None:
            join_all(part)
        counts.add(1, 5)
        counts.add_each((2, 0.5), (1, 1))
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
        "[2.0, 12.0, 1.0]",  # two joined: the one that was killed, and this one
        "[3.0, 18.0, 1.5]",
        "[0.0, 6.0, 0.5]",  # joined none
        "[0.0, 6.0, 0.5]",  # there is no part for it
        "[0.0, 100.0, 0.0]",
    ]


def test_no_thread_s_amount_is_lost():
    counts = SharedCounts(size=2, parts=1)

    errors = in_threads(lambda: [counts.add_each((1, 2), (0, 1)) for _ in range(5000)], 8)

    assert errors == []
    assert counts.sums() == [40_000, 80_000]


@pytest.mark.parametrize("place", [3, 100])
def test_there_is_no_place_beyond_the_size(place):
    with pytest.raises(IndexError):
        SharedCounts(size=3, parts=1).add(place)
