"""What gunicorn.conf.py does before there is a server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import ROOT


def check_config(
    tmp_path: Path, *arguments: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "gunicorn",
            "-c",
            str(ROOT / "gunicorn.conf.py"),
            *arguments,
            "none:app",
        ],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "AURORA_BLOBS_DATA_DIR": str(tmp_path / "data"),
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    "variable, value",
    [
        ("AURORA_BLOBS_BIND", "nowhere"),
        ("AURORA_BLOBS_THREADS", "many"),
        ("AURORA_BLOBS_NO_SUCH", "1"),
    ],
)
def test_a_bad_setting_ends_the_start_with_one_line(tmp_path, variable, value):
    done = check_config(tmp_path, **{variable: value})

    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.startswith(f"aurora_blobs: {variable}='{value}': ")
    assert done.stderr.count("\n") == 1


def test_the_settings_reach_gunicorn_and_its_own_arguments_win(tmp_path):
    done = check_config(
        tmp_path,
        "--threads=7",
        "--print-config",
        AURORA_BLOBS_BIND="unix:here.sock",
        AURORA_BLOBS_WORKERS="3",
        AURORA_BLOBS_THREADS="5",
    )

    settings = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    settings = {name.strip(): value.strip() for name, value in settings.items()}
    assert settings["bind"] == "['unix:here.sock']"
    assert settings["workers"] == "3"
    assert settings["threads"] == "7"
    assert not (tmp_path / "data").exists()
