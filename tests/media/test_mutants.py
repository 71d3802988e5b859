import random
import subprocess
import sys

import pytest
from support.project import TESTS


@pytest.mark.parametrize(
    "count", [60, pytest.param(2000, marks=pytest.mark.long)], ids=["some", "2,000 of each"]
)
def test_no_mutant_of_a_container_makes_a_parser_raise_or_take_much_memory(count):
    seed = random.randrange(2**32)
    print("seed", seed)

    run = subprocess.run(
        [sys.executable, "-m", "support.mutants", str(seed), str(count)],
        cwd=TESTS,
        env={"PYTHONPATH": f"{TESTS.parent}"},
        capture_output=True,
        text=True,
        timeout=600,
    )

    print(run.stdout)
    assert (run.returncode, run.stderr) == (0, "")
