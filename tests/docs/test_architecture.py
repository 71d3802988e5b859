"""docs/architecture.md draws the tree that there is."""

import re

import pytest
from support.pages import blocks, rows
from support.project import DOCS, PACKAGE, ROOT
from test_import_rules import FLASK_BEGINS, ROWS

PAGE = DOCS / "architecture.md"
LOCKS = PAGE.read_text().partition("## Locks\n")[2].partition("\n## ")[0]
TREE = PAGE.read_text().partition("## The tree\n")[2].partition("\n## ")[0]


def test_every_folder_and_module_of_the_package_is_in_the_tree():
    named = {name for row in rows(TREE) for name in re.findall(r"`([^`]+)`", row[0])}
    entries = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in PACKAGE.iterdir()
        if path.name not in ("__init__.py", "__pycache__", "py.typed", "deploy", "CHANGELOG.md")
    }

    assert named - {"aurora_blobs/"} == entries


def test_the_rows_of_imports_are_those_that_hold():
    [listed] = blocks(PAGE, "text")

    assert listed.splitlines() == ROWS
    assert f"Flask begins at `{ROWS[FLASK_BEGINS]}`" in PAGE.read_text()


@pytest.mark.parametrize("page", [PAGE, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_the_files_that_a_page_names_exist(page):
    named = re.findall(
        r"`([a-z_]+/[\w/.-]*\w\.py|(?:tests|bench|deploy)/[\w/.-]*)`", page.read_text()
    )

    assert len(named) > 5
    assert [name for name in named if not exists(name)] == []


def test_every_module_that_makes_a_lock_is_named_with_the_order_of_locks():
    makers = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"\b(\w*Lock|\w*Semaphore|Condition|flock|locked_file)\(", path.read_text())
    }

    assert len(makers) > 10
    assert makers - set(re.findall(r"`([\w/]+\.py)`", LOCKS)) == set()


def exists(name):
    """Whether *name* is a file or folder of the project, or of the package."""
    return (ROOT / name).exists() or (PACKAGE / name).exists()
