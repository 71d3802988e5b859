"""CHANGELOG.md keeps to its form: https://keepachangelog.com/en/1.1.0/"""

import re

from packaging.version import Version
from support.project import ROOT

import aurora_blobs

TEXT = (ROOT / "CHANGELOG.md").read_text()
RELEASE = r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d"
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_unreleased_changes_come_first_then_releases_with_their_date():
    first, *releases = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)

    assert first == "[Unreleased]"
    assert [line for line in releases if not re.fullmatch(RELEASE, line)] == []


def test_what_has_changed_since_a_release_has_a_higher_version_than_it():
    # Else `pip install --upgrade` leaves the release in place.
    _, unreleased, released = re.split(r"^## ", TEXT, flags=re.MULTILINE)[:3]
    entries = re.findall(r"^- ", unreleased, re.MULTILINE)
    release = Version(re.match(RELEASE, released)[1])

    assert (Version(aurora_blobs.__version__) > release) == (entries != [])


def test_changes_are_of_a_known_kind_and_in_order():
    for version in TEXT.split("\n## ")[1:]:
        kinds = re.findall(r"^### (.*)$", version, re.MULTILINE)

        assert kinds == [kind for kind in KINDS if kind in kinds]
