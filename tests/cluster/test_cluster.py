"""Several nodes on one PostgreSQL and one S3 store keep their promises, whatever of it fails.

`make test-cluster` prints figures of each trouble. CLUSTER_SECONDS says how long it takes, and
CLUSTER_SEED has the same troubles and requests again.
"""

import os
import random
import subprocess
import sys

import pytest
from support.cluster.network import ALONE
from support.project import ROOT, TESTS

pytestmark = pytest.mark.long

SECONDS = int(os.environ.get("CLUSTER_SECONDS", "180"))
SEED = os.environ.get("CLUSTER_SEED") or str(random.randrange(10**6))


ENVIRON = {**os.environ, "PYTHONPATH": f"{ROOT}:{TESTS}"}


def run(folder, nodes, seconds, *scene):
    """The status of a run, which has printed its figures."""
    command = [*ALONE, sys.executable, "-m", "support.cluster", folder]
    return subprocess.run(
        [*command, str(nodes), str(seconds), SEED, *scene], env=ENVIRON, timeout=seconds + 300
    ).returncode


@pytest.mark.parametrize("nodes", [2, 3])
def test_what_was_answered_holds_whatever_fails(nodes, tmp_path):
    assert run(tmp_path, nodes, SECONDS // 2) == 0, f"CLUSTER_SEED={SEED}"


def test_a_synchronous_standby_takes_over_without_a_loss_or_a_restart(tmp_path):
    assert run(tmp_path, 2, 20, "synchronous") == 0, f"CLUSTER_SEED={SEED}"


def test_what_was_answered_holds_whatever_the_clocks_of_two_nodes_say(tmp_path):
    assert run(tmp_path, 2, SECONDS // 2, "clocks") == 0, f"CLUSTER_SEED={SEED}"


@pytest.mark.parametrize("trouble", ["cut", "deafen"])
def test_others_have_the_locks_of_a_node_that_lost_its_database(trouble, tmp_path):
    command = [*ALONE, sys.executable, "-m", "support.cluster.lost_holder", tmp_path, trouble]

    found = subprocess.run(command, env=ENVIRON, stdout=subprocess.PIPE, timeout=120, check=True)

    assert 1 < float(found.stdout) < 9  # who waits is refused after ten


def test_nodes_of_this_version_and_the_next_serve_side_by_side(tmp_path):
    assert run(tmp_path, 2, 20, "upgrade") == 0, f"CLUSTER_SEED={SEED}"
