"""docs/embedding.md: the example is one that runs, and the calls are those there are."""

import re
import subprocess
import sys

from support.pages import blocks
from support.project import DOCS, PHOTO, ROOT

from aurora_blobs.embedding import BlobStore

PAGE = DOCS / "embedding.md"
EXAMPLE = ROOT / "examples" / "embedding.py"


def test_the_page_shows_the_example():
    assert blocks(PAGE, "python") == [EXAMPLE.read_text()]


def test_the_example_runs_as_printed(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE], cwd=tmp_path, capture_output=True, text=True
    )

    size = PHOTO.stat().st_size
    assert done.stderr == ""
    assert done.stdout.split()[1:] == ["image/jpeg", str(size)]


def test_the_page_names_every_call():
    listed = set(re.findall(r"^\| `(\w+)\(", PAGE.read_text(), re.MULTILINE))

    calls = {name for name in vars(BlobStore) if not name.startswith("_")}
    assert listed == calls | {"open_store"}
