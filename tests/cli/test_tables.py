"""Lists as people see them, on a real terminal."""

import os
import pty
import re
import subprocess
import sys
from itertools import pairwise

import pytest
from support.accounts import BOB
from support.cids import cid_of
from support.media_samples import jpeg
from support.project import ROOT

from aurora_blobs.accounts.moderation import Subject

pytestmark = pytest.mark.sqlite


@pytest.fixture
def command(services):
    """``command("blobs", …)`` is how a process runs a command on the data of `services`."""

    def command(*words):
        environment = {"AURORA_BLOBS_DATA_DIR": str(services.config.data_dir)}
        return {
            "args": [sys.executable, "-m", "flask", "--app", "wsgi", *words],
            "cwd": ROOT,
            "env": {"PATH": os.environ["PATH"], **environment},
        }

    return command


def in_pipe(command):
    return subprocess.run(**command, capture_output=True, text=True, timeout=120).stdout


def on_terminal(command):
    ours, theirs = pty.openpty()
    with subprocess.Popen(**command, stdout=theirs) as process:
        os.close(theirs)
        read = b""
        try:
            while part := os.read(ours, 65536):
                read += part
        except OSError:  # whoever had the terminal has closed it
            os.close(ours)
    assert process.returncode == 0
    return read.decode().replace("\r\n", "\n")


def table(output):
    """The lines of the table at the end of *output*."""
    return output.rpartition("\n\n")[2].splitlines()


def in_columns(lines):
    """The cells of *lines*, by where the names in the first one begin."""
    starts = [name.start() for name in re.finditer(r"\S+", lines[0])]
    return [[line[start:end].strip() for start, end in pairwise([*starts, None])] for line in lines]


@pytest.mark.parametrize(
    "words",
    [
        ("blobs", "list"),
        ("blobs", "stats"),
        ("account", "list"),
        ("takedown", "list"),
        ("audit", "list"),
        ("blobs", "import", "COPY", "--dry-run"),
    ],
    ids=" ".join,
)
def test_a_terminal_shows_in_columns_what_a_pipe_gets_with_tabs(
    services, alice, command, tmp_path, words
):
    for name in ("a cat", "another cat"):
        alice.publish(jpeg(name))
    services.moderation.take_down(Subject(BOB, cid_of(b"a cat")), "a case")
    services.moderation.take_down(Subject(alice.did, None), None)
    copy = tmp_path / "copy" / "an account with a long name"
    copy.mkdir(parents=True)
    (copy / cid_of(b"a note")).write_bytes(b"a note")
    words = [word.replace("COPY", str(copy.parent)) for word in words]

    piped, shown = table(in_pipe(command(*words))), table(on_terminal(command(*words)))

    assert len(piped) > 1
    assert in_columns(shown) == [line.split("\t") for line in piped]


def test_a_long_list_keeps_its_columns(services, command):
    codes = {services.sign_ups.invite(uses=uses) for uses in range(1, 250)}

    lines = table(on_terminal(command("account", "invites")))

    assert {row[0] for row in in_columns(lines)[1:]} == codes
    assert {line.index("2025-") for line in lines[1:]} == {lines[0].index("createdAt")}
