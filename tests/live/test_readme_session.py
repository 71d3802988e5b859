"""The sessions in README.md and of `make demo`, on a running server."""

import os
import shutil
import subprocess

import pytest
from support.live_service import Service
from support.pages import blocks
from support.ports import free_port
from support.project import README, ROOT

import aurora_blobs

pytestmark = pytest.mark.live


def test_the_curl_session_runs_as_printed(tmp_path):
    with Service(tmp_path) as service:
        _, session = blocks(README, "sh")
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


def test_the_wheel_is_installed_and_serves_as_printed(tmp_path, wheel):
    shutil.copy(wheel, tmp_path)
    port = free_port()
    printed, _ = blocks(README, "sh")
    here = printed.replace("127.0.0.1:2583", f"127.0.0.1:{port}")

    done = subprocess.run(
        ["bash", "-euc", f"{here}\nkill -TERM $!; wait $!"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "AURORA_BLOBS_BIND": f"127.0.0.1:{port}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert f'{{"version":"{aurora_blobs.__version__}"}}' in done.stdout
    assert (tmp_path / "data" / "aurora.sqlite3").exists()


def test_the_demo_ends_well():
    done = subprocess.run(["make", "demo"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "\nidentical\n" in done.stdout
    assert "BlobNotFound" in done.stdout
