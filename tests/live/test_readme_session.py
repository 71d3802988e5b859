"""The sessions in README.md and of `make demo`, on a running server."""

import subprocess

import pytest
from support.live_service import Service
from support.pages import blocks
from support.project import README, ROOT

pytestmark = pytest.mark.live


def test_the_curl_session_runs_as_printed(tmp_path):
    with Service(tmp_path) as service:
        [session] = blocks(README, "sh")
        here = session.replace("127.0.0.1:2583", f"127.0.0.1:{service.port}").replace(
            "/tmp/", f"{tmp_path}/"
        )
        done = subprocess.run(
            ["bash", "-euc", here], cwd=ROOT, capture_output=True, text=True, check=False
        )

    assert done.stderr == ""
    assert done.stdout.endswith("identical\n")
    [answer] = blocks(README, "json")
    assert answer.replace(" ", "").strip() in done.stdout.replace(" ", "")


def test_the_demo_ends_well():
    done = subprocess.run(["make", "demo"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "\nidentical\n" in done.stdout
    assert "BlobNotFound" in done.stdout
