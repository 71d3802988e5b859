"""What a page says and where it leads: links, commands, blocks, and the width of lines."""

import re

import click
import pytest
from support.pages import PAGES, anchors, blocks, links, name_of, rows, written
from support.project import DOCS, ROOT

from aurora_blobs.cli.commands import COMMANDS
from aurora_blobs.cli.run import run

# Run by the tests as printed, typed by a person (with a prompt), or something else.
LANGUAGES = {"sh", "console", "python", "json", "nginx", "ini", "text", "yaml"}


def leaves(command, name):
    """The commands below *command*, which is called *name*, by their full names."""
    inner = command.commands.items() if isinstance(command, click.Group) else ()
    found = [leaf for part, one in inner for leaf in leaves(one, f"{name} {part}")]
    return found or [name]


LEAVES = {leaf for command in (run, *COMMANDS) for leaf in leaves(command, command.name)}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_inside_the_project_lead_somewhere(page):
    lost = []
    for target in [link for link in links(page) if not re.match(r"https?://", link)]:
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        leads = file.is_relative_to(ROOT) and file.exists()
        lost += [] if leads and (not anchor or anchor in anchors(file)) else [target]

    assert lost == []


def test_the_index_leads_to_every_page():
    pages = {page.name for page in DOCS.glob("*.md")} - {"README.md"}

    assert pages - set(links(DOCS / "README.md")) == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_block_says_what_it_is(page):
    fences = re.findall(r"^ *```(.*)$", page.read_text(), re.MULTILINE)
    languages = fences[::2]

    assert set(fences[1::2]) <= {""}
    assert set(languages) <= LANGUAGES


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_that_are_not_run_have_a_prompt(page):
    typed = blocks(page, "console")
    run = blocks(page, "sh")

    assert [text for text in typed if not text.startswith(("$ ", "# "))] == []
    assert [text for text in run if text.startswith("$ ")] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_operators_commands_exist(page):
    text = page.read_text()
    named = set(
        re.findall(r"(?<![\w-])((?:blobs|account|backup) [a-z][a-z-]+)(?=[ `\n])", code_of(text))
    )

    assert named - LEAVES == set()


def code_of(text):
    """The code in *text*, inline and in blocks of commands."""
    inline = re.findall(r"`([^`\n]+)`", text)
    commands = re.findall(r"aurora-blobs (.*)", text)
    return "\n".join([*inline, *commands]) + "\n"


def test_the_table_of_commands_has_them_all():
    text = (DOCS / "operate.md").read_text().partition("| command |")[2].partition("\n\n")[0]
    listed = {name for row in rows(text) for name in re.findall(r"`([^`]+)`", row[0])}

    assert listed == LEAVES


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_lines_that_are_no_table_have_120_columns_at_most(page):
    assert [line for line in written(page).splitlines() if len(line) > 120] == []
