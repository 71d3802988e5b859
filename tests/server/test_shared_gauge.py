"""Numbers that processes share: each sets its own, and all see the least of the others'."""

import subprocess
import sys

from aurora_blobs.server.shared_gauge import SharedGauge

FORKED = """
import os
from aurora_blobs.server.shared_gauge import SharedGauge
from aurora_blobs.server.shared_memory import join_all

gauge = SharedGauge(parts=3)

def child(part, then):
    pid = os.fork()
    if pid == 0:
        join_all(part)
        then()
        os._exit(0)
    os.waitpid(pid, 0)

def show():
    print(gauge.least_other(), flush=True)

child(0, show)
child(1, lambda: (show(), gauge.set(7)))
child(2, lambda: (show(), gauge.set(5)))
child(0, lambda: (show(), gauge.set(None)))
child(1, lambda: (show(), gauge.set(None)))
child(2, show)
child(3, show)
show()
"""


def test_a_process_sees_the_least_of_the_others_that_are_there():
    done = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.splitlines() == [
        "None",
        "(0, 0)",
        "(0, 0)",  # it is killed, and was at 0
        "(5, 2)",
        "(5, 2)",
        "None",
        "None",  # there is no part for it
        "None",
    ]


def test_a_process_alone_sees_none():
    gauge = SharedGauge(parts=1)

    gauge.set(3)

    assert gauge.least_other() is None
