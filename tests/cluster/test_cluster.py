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


@pytest.mark.parametrize("nodes", [2, 3])
def test_what_was_answered_holds_whatever_fails(nodes, tmp_path):
    command = [*ALONE, sys.executable, "-m", "support.cluster", tmp_path]
    done = subprocess.run(
        [*command, str(nodes), str(SECONDS // 2), SEED],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{TESTS}"},
        timeout=SECONDS + 300,
    )

    assert done.returncode == 0, f"CLUSTER_SEED={SEED}"
