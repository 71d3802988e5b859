"""docs/threat-model.md names tests; they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_each_test_that_the_threat_model_names_exists():
    text = (ROOT / "docs" / "threat-model.md").read_text().partition("\n| who ")[2]
    named = set(re.findall(r"`(?:[a-z_]+::|…)([a-z_]+)`", text))
    files = set(re.findall(r"`((?:live/)?test_[a-z_]+\.py)`", text))
    written = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        written |= set(re.findall(r"^def test_([a-z_]+)\(", path.read_text(), re.MULTILINE))

    assert len(named) > 20
    assert named - written == set()
    assert [file for file in files if not (ROOT / "tests" / file).exists()] == []
