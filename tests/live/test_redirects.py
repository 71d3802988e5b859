"""Redirects are followed to public addresses over https, on a network that has such an address."""

import json
import os
import subprocess
import sys

import pytest
from support.project import ROOT, TESTS

pytestmark = pytest.mark.live


def test_no_more_redirects_are_followed_than_may_be(tmp_path):
    command = ["unshare", "--map-root-user", "--net", sys.executable, "-m", "support.redirected"]
    done = subprocess.run(
        [*command, tmp_path],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{TESTS}"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        [200, "bytes", 1],
        [200, "bytes", 2],
        [200, "bytes", 4],
        [302, "", 4],
    ]
