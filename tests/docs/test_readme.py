"""README.md is short enough to be read, and works as the description of the package."""

from configparser import ConfigParser

from support.pages import links
from support.project import DOCS, README, ROOT


def test_the_readme_has_150_lines_at_most():
    assert len(README.read_text().splitlines()) <= 150


def test_the_readme_leads_to_every_page_for_a_task():
    pages = {f"docs/{page.name}" for page in DOCS.glob("*.md")} - {"docs/README.md"}

    assert pages - set(links(README)) == set()


def test_the_readme_is_the_description_of_the_package():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")

    assert setup["metadata"]["long_description"] == "file: README.md"
    assert setup["metadata"]["long_description_content_type"] == "text/markdown"
