"""Uploads, records, deletions and collectors in several processes at once."""

import os
import subprocess
import sys
import time

import pytest
from support.accounts import ALICE, BOB
from support.project import TESTS
from support.race_process import GRACE_SECONDS, open_core


@pytest.mark.parametrize("kind", ["local", "remote", "silent", "late local", "late remote"])
@pytest.mark.parametrize("seconds", [3, pytest.param(75, marks=pytest.mark.long)])
def test_no_referenced_blob_is_lost_and_nothing_is_left_over(tmp_path, seconds, kind):
    seed = os.environ.get("RACE_SEED", str(time.time_ns()))
    print(f"RACE_SEED={seed}")
    core = open_core(tmp_path, "local")
    core.add_account(ALICE)
    core.add_account(BOB)

    racers = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "support.race_process",
                tmp_path,
                name,
                seed,
                str(seconds),
                kind,
            ],
            cwd=TESTS,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    told = [racer.communicate(timeout=seconds + 60)[0] for racer in racers]
    print("".join(told))

    assert [racer.returncode for racer in racers] == [0, 0]
    time.sleep(2 * GRACE_SECONDS)
    list(core.collector(GRACE_SECONDS).run())
    assert core.stored() == set()
    assert (
        [path for path in core.backend.root.rglob("*") if path.is_file()]
        == list(core.spool.iterdir())
        == []
    )
    assert core.rows() == {"record": [], "record_blob": [], "blob": [], "blob_metadata": []}
    assert [core.blobs.usage(did).blob_bytes for did in (ALICE, BOB)] == [0, 0]
    core.database.close()
