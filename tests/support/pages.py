"""The project's Markdown pages as text: their code blocks, links, anchors and generated parts."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

from support.project import ROOT

PAGES = sorted(
    page for folder in (".", "docs", "bench", "examples") for page in (ROOT / folder).glob("*.md")
)
_FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    """*page* as the other pages write it: ``docs/s3.md``."""
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of *page* in *language*, in their order."""
    return [dedent(text) for _, tag, text in _FENCED.findall(page.read_text()) if tag == language]


def prose(page: Path) -> str:
    """*page* without its fenced blocks."""
    return _FENCED.sub("", page.read_text())


def written(page: Path) -> str:
    """*page* without its fenced blocks, its tables and its generated parts: what a person wrote."""
    text = re.sub(
        r"^<!-- (\w+): .*?^<!-- \1: end -->$", "", prose(page), flags=re.DOTALL | re.MULTILINE
    )
    return re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)


def links(page: Path) -> list[str]:
    """The targets of the links and pictures of *page*."""
    return _LINK.findall(re.sub(r"`[^`]*`", "", prose(page)))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of the headings of *page*."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def generated(page: Path, part: str) -> str:
    """What stands in *page* between the marks of *part*."""
    begin, end = _marks(part)
    return page.read_text().partition(begin)[2].partition(end)[0]


def write_generated(page: Path, part: str, text: str) -> None:
    """Put *text* between the marks of *part* in *page*."""
    begin, end = _marks(part)
    before, _, rest = page.read_text().partition(begin)
    page.write_text(f"{before}{begin}{text}{end}{rest.partition(end)[2]}")


def rows(text: str) -> Iterator[list[str]]:
    """The rows of the Markdown tables in *text*, heads included, a list of cells each."""
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|--"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def _marks(part: str) -> tuple[str, str]:
    return f"<!-- {part}: written by `make docs` -->\n", f"<!-- {part}: end -->\n"
