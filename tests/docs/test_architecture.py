"""docs/architecture.md draws the tree that there is."""

import re

from support.pages import blocks, rows
from support.project import DOCS, PACKAGE, ROOT
from test_import_rules import FLASK_BEGINS, ROWS

PAGE = DOCS / "architecture.md"
TREE = PAGE.read_text().partition("## The tree\n")[2].partition("\n## ")[0]


def test_every_folder_and_module_of_the_package_is_in_the_tree():
    named = {name for row in rows(TREE) for name in re.findall(r"`([^`]+)`", row[0])}
    entries = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in PACKAGE.iterdir()
        if path.name not in ("__init__.py", "__pycache__", "py.typed")
    }

    assert named - {"aurora_blobs/"} == entries


def test_the_rows_of_imports_are_those_that_hold():
    [listed] = blocks(PAGE, "text")

    assert listed.splitlines() == ROWS
    assert f"Flask begins at `{ROWS[FLASK_BEGINS]}`" in PAGE.read_text()


def test_the_files_that_the_page_names_exist():
    named = re.findall(
        r"`([a-z_]+/[\w/.-]*\w\.py|(?:tests|bench|deploy)/[\w/.-]*)`", PAGE.read_text()
    )

    assert len(named) > 5
    assert [name for name in named if not exists(name)] == []


def exists(name):
    """Whether *name* is a file or folder of the project, or of the package."""
    return (ROOT / name).exists() or (PACKAGE / name).exists()
