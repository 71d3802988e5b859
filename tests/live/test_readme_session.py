"""The sessions that README.md and `make demo` show, on a running server."""

import subprocess

import pytest
from support.service import ROOT, Service
from test_readme import blocks

pytestmark = pytest.mark.live


def test_the_curl_session_runs_as_printed(tmp_path):
    service = Service(tmp_path).start()
    session = next(block for block in blocks("sh") if "uploadBlob" in block)
    here = session.replace("127.0.0.1:2583", f"127.0.0.1:{service.port}").replace(
        "/tmp/", f"{tmp_path}/"
    )

    try:
        done = subprocess.run(
            ["bash", "-euc", here], cwd=ROOT, capture_output=True, text=True, check=False
        )
    finally:
        service.stop()

    assert done.stderr == ""
    assert done.stdout.endswith("identical\n")
    [answer] = blocks("json")
    assert answer.replace(" ", "").strip() in done.stdout.replace(" ", "")


def test_the_demo_ends_well():
    done = subprocess.run(["make", "demo"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "\nidentical\n" in done.stdout
    assert "BlobNotFound" in done.stdout
