"""CONTRIBUTING.md names what there is: fixtures, checks of callers, make targets."""

import re

from support.project import PACKAGE, ROOT, TESTS

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
RECIPES = PAGE.partition("## How to\n")[2].partition("\n## ")[0]


def recipe(name):
    """What the page says of *name*, up to the next recipe."""
    return RECIPES.partition(f"- **{name}**")[2].partition("\n- **")[0]


def functions(path):
    return set(re.findall(r"^def (\w+)\(", path.read_text(), re.MULTILINE))


def test_the_fixtures_that_it_names_exist():
    named = recipe("A test").partition(" are in `tests/conftest.py`")[0]
    fixtures = set(re.findall(r"`(\w+)`", named))

    assert {"clock", "core", "alice"} <= fixtures
    assert fixtures - functions(TESTS / "conftest.py") == set()
    assert "sign_up" in functions(TESTS / "support" / "accounts.py")


def test_it_names_each_way_to_ask_who_is_calling():
    asked = set(re.findall(r"`(\w+_\w+)`", recipe("A method")))

    callers = functions(PACKAGE / "api" / "callers.py")
    assert asked == {name for name in callers if name.startswith(("require_", "optional_"))}


def test_the_targets_of_make_that_it_names_exist():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"make ([a-z0-9-]+)", PAGE))

    assert len(named) > 5
    assert named - targets == set()
