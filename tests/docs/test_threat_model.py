"""docs/threat-model.md names tests; they are there."""

import re

from support.project import DOCS, TESTS


def test_each_test_that_the_threat_model_names_exists():
    text = (DOCS / "threat-model.md").read_text().partition("\n| who ")[2]
    written = {
        (str(path.relative_to(TESTS).with_name(path.stem.removeprefix("test_"))), name)
        for path in TESTS.rglob("test_*.py")
        for name in re.findall(r"^def test_(\w+)\(", path.read_text(), re.MULTILINE)
    }
    named, file = set(), ""
    for stem, name in re.findall(r"`(?:([a-z_/]+)::|…)([a-z_]+)`", text):
        file = stem or file  # "…" is the file that was named last
        named.add((file, name))
    files = set(re.findall(r"`((?:[a-z]+/)?test_[a-z_]+\.py)`", text))

    assert len(named) > 20
    assert named - written == set()
    assert [file for file in files if not (TESTS / file).exists()] == []
