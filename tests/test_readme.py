"""README.md keeps its word."""

import os
import re
import subprocess
import sys
from pathlib import Path

from support import settings_table

ROOT = Path(__file__).parent.parent


def blocks(language):
    return re.findall(
        rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )


def test_the_settings_table_is_that_of_the_settings():
    assert settings_table.shown() == settings_table.table()


def test_the_python_example_runs_as_printed(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    [example] = blocks("python")

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout.split()[1:] == [
        "image/jpeg",
        str(os.stat(ROOT / "examples/rocket.jpg").st_size),
    ]
