"""What all commands have in common: names in help texts, and keys of JSON."""

import json
import re

import click
import pytest
from support.accounts import BOB
from support.cids import cid_of
from support.media_samples import jpeg

from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.cli.commands import COMMANDS


def leaves(command):
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    return [leaf for part in inner for leaf in leaves(part)] or [command]


LEAVES = [leaf for command in COMMANDS for leaf in leaves(command)]
FOLDERS = [
    pytest.param(param, id=f"{leaf.name} {param.name}")
    for leaf in LEAVES
    for param in leaf.params
    if isinstance(param.type, click.Path)
]


@pytest.mark.parametrize("command", LEAVES, ids=lambda command: command.name)
def test_a_help_text_names_no_function_of_ours(command):
    text = command.get_help(click.Context(command))

    assert re.findall(r"\b_?PARSE_\w+|\b\w+_PARSER\b", text) == []


@pytest.mark.parametrize("command", LEAVES, ids=lambda command: command.name)
def test_a_help_text_names_no_page_that_a_package_does_not_bring(command):
    text = command.get_help(click.Context(command))

    assert set(re.findall(r"\S+\.md\b", text)) <= {"CHANGELOG.md"}


@pytest.mark.parametrize("taken", FOLDERS)
def test_an_empty_name_is_not_the_folder_where_one_stands(taken):
    with pytest.raises(click.BadParameter, match="empty"):
        taken.type.convert("", taken, None)


@pytest.mark.parametrize(
    "words", [("import", ""), ("give-back", "--to", ""), ("fsck", "--from", "")], ids=" ".join
)
def test_an_empty_origin_is_not_the_folder_where_one_stands(run, words):
    refused = run("blobs", *words)

    assert refused.exit_code != 0
    assert "empty name" in refused.output


def keys(value):
    """Every key in *value*, at any depth."""
    items = value.items() if isinstance(value, dict) else ()
    found = [name for name, _ in items]
    parts = [part for _, part in items] if items else value if isinstance(value, list) else ()
    return found + [name for part in parts for name in keys(part)]


@pytest.mark.parametrize(
    "words",
    [
        ("account", "list"),
        ("account", "usage"),
        ("account", "show", "alice.test"),
        ("account", "quota", "alice.test", "1GB"),
        ("account", "invites"),
        ("blobs", "list"),
        ("blobs", "stats"),
        ("takedown", "list"),
        ("audit", "list"),
        ("blobs", "gc"),
        ("blobs", "fsck"),
        ("blobs", "scrub"),
        ("backup", "make", "copy"),
    ],
    ids=" ".join,
)
def test_keys_of_json_are_in_camel_case(app, alice, services, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    alice.publish(jpeg("cat"))
    services.sign_ups.invite(uses=1)
    services.moderation.take_down(Subject(BOB, cid_of(b"a cat")), None)

    done = app.test_cli_runner().invoke(args=[*words, "--json"])

    found = [name for line in done.output.splitlines() for name in keys(json.loads(line))]
    assert found != []
    assert [name for name in found if not re.fullmatch("[a-z]+([A-Z][a-z]+)*", name)] == []
