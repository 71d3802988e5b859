"""CHANGELOG.md keeps to its form: https://keepachangelog.com/en/1.1.0/"""

import re

from support.project import ROOT

import aurora_blobs

TEXT = (ROOT / "CHANGELOG.md").read_text()
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_unreleased_changes_come_first_then_this_version():
    first, second, *_ = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)

    assert first == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(aurora_blobs.__version__)}\] - \d{{4}}-\d\d-\d\d", second)


def test_changes_are_of_a_known_kind_and_in_order():
    for version in TEXT.split("\n## ")[1:]:
        kinds = re.findall(r"^### (.*)$", version, re.MULTILINE)

        assert kinds == [kind for kind in KINDS if kind in kinds]
