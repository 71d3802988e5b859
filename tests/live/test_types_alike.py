"""Media types beside those of the reference PDS's own sniffer: where they differ, and why."""

import re
import subprocess
from fnmatch import fnmatch

import pytest
from support.corpus import CORPUS, NAMES
from support.media_samples import NOT_SHOWN, SHOWN
from support.media_variants import variants
from support.project import CACHE, DOCS, TESTS
from support.reference_pds import PDS, node

from aurora_blobs.intake.spool import HEAD, MAX_HEAD
from aurora_blobs.media.signatures import detect, wanted_bytes

pytestmark = pytest.mark.live

NOTHING = "nothing"
SAMPLES = {name: data for name, (data, _) in SHOWN.items()} | NOT_SHOWN

# Rows of docs/api.md: what is said of the bytes, the reference's names, ours.
_ROW = re.compile(r"\| (.+) \| (.+) \| (.+) \| .+ \|")


def explained():
    """What the page gives a reason for: whether of text alone, their name and ours, as patterns."""
    page = (DOCS / "api.md").read_text()
    table = page[page.index("## Media types") : page.index("## Records")]
    return {
        (said.startswith("text "), their.strip("` "), our.strip("` ").replace("the claim", NOTHING))
        for said, theirs, ours in _ROW.findall(table)
        for their in theirs.split(",")
        for our in ours.split(",")
    }


def theirs(paths):
    lines = "".join(f"{path}\n" for path in paths)
    script = TESTS / "live" / "file_types.mjs"
    done = subprocess.run(
        [node(), script, PDS], input=lines, capture_output=True, text=True, timeout=300, check=True
    )
    return done.stdout.splitlines()


def ours(path):
    with path.open("rb") as file:
        head = file.read(HEAD)
        wanted = min(wanted_bytes(head), MAX_HEAD)
        return detect(head + file.read(max(0, wanted - HEAD))) or NOTHING


def unexplained(paths):
    """Their name and ours of each file where they differ without a reason."""
    reasons = explained()
    return {
        path.name: (their, ours(path))
        for path, their in zip(paths, theirs(paths), strict=True)
        if their != ours(path)
        and not any(
            fnmatch(their, their_name)
            and fnmatch(ours(path), our_name)
            and not (of_text and b"\0" in path.read_bytes())
            for of_text, their_name, our_name in reasons
        )
    }


def test_each_difference_over_the_corpus_is_explained():
    assert unexplained([CORPUS / name for name in NAMES]) == {}


def test_each_difference_over_files_of_packages_is_explained():
    paths = sorted(path for path in (CACHE / "media").rglob("*") if path.is_file())

    assert len(paths) > 100
    assert unexplained(paths) == {}


@pytest.mark.parametrize("files", [SAMPLES, dict(variants())], ids=["samples", "variants"])
def test_each_difference_over_files_that_are_made_is_explained(tmp_path, files):
    paths = []
    for number, (name, data) in enumerate(files.items()):
        paths.append(tmp_path / f"{number} {name.replace('/', '_')}")
        paths[-1].write_bytes(data)

    assert unexplained(paths) == {}
