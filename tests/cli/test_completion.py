"""What a shell is told when somebody presses Tab."""

import os
import subprocess
import sys

import pytest
from support.project import DEPLOY


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("files ", {"CHANGELOG.md", *(path.name for path in DEPLOY.iterdir())}),
        ("files ng", {path.name for path in DEPLOY.glob("ng*")}),
        ("files none-s", set()),
        ("blobs migrate --to ", {"disk", "s3"}),
    ],
    ids=["all files", "some files", "no file", "stores"],
)
def test_names_are_completed(tmp_path, typed, offered):
    environment = {
        "_AURORA_BLOBS_COMPLETE": "bash_complete",
        "COMP_WORDS": f"aurora-blobs {typed}",
        "COMP_CWORD": str(len(f"aurora-blobs {typed}x".split()) - 1),
    }

    done = subprocess.run(
        [sys.executable, "-m", "aurora_blobs"],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert {line.partition(",")[2] for line in done.stdout.split()} == offered
