"""The log of a process: its form, what breaks no line, what is left out, ids of requests."""

import json
import logging
import re
import subprocess
import sys

import pytest

from aurora_blobs import logs

HOSTILE = {
    "a new line": "a\n2026-01-01T00:00:00.000Z INFO aurora_blobs forged",
    "a carriage return": "a\rb",
    "an escape sequence": "\x1b[2J\x1b]0;title\x07",
    "C1": "\x85\x9b31m",
    "U+2028": "a\u2028b\u2029c",
    "right to left": "\u202egnp.exe",
    "half a pair": "\ud800",
    "NUL and DEL": "\0\x7f",
    "quotes": 'a "b" \\ c=d did=did:web:evil.test',
    "JSON": '"}\n{"level": "ERROR"}',
}
BEGIN = (
    "import logging, sys, threading, warnings\n"
    "from aurora_blobs import logs\n"
    "logs.configure(sys.argv[1], sys.argv[2])\n"
    "log = logging.getLogger('aurora_blobs.test')\n"
)
HEAD = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([A-Z]+) (\S+) (.*)")
FIELD = re.compile(r' (\w+)=("(?:[^"\\]|\\.)*"|[!#-<>-~]+)')


def said(program, form="text", level="info"):
    """The lines on the standard error of a process that runs *program* with `log`."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program, form, level],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == b""
    assert done.stderr.endswith(b"\n") or not done.stderr
    return done.stderr.decode().split("\n")[:-1]


def fields(line):
    """The fields at the end of a line of text, as they were."""
    return {
        name: json.loads(value) if value.startswith('"') else value
        for name, value in FIELD.findall(line)
    }


def test_a_line_of_text_has_its_time_level_logger_message_and_fields():
    (line,) = said("logs.event(log, 30, 'it happens', did='did:web:a.test', ms=7, cid=None)")

    moment, level, logger, rest = HEAD.fullmatch(line).groups()
    assert (level, logger) == ("WARNING", "aurora_blobs.test")
    assert rest == "it happens did=did:web:a.test ms=7"


def test_a_line_of_json_is_an_object_with_the_same():
    (line,) = said(
        "logs.event(log, 20, 'it happens', did='did:web:a.test', ms=7, cid=None)", "json"
    )

    shown = json.loads(line)
    assert HEAD.match(f"{shown.pop('time')} A b c")
    assert shown == {
        "level": "INFO",
        "logger": "aurora_blobs.test",
        "message": "it happens",
        "did": "did:web:a.test",
        "ms": 7,
    }


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_breaks_a_line_or_forges_a_field(text):
    (line,) = said(f"logs.event(log, 20, 'refused', call={text!r}, status=400)")
    (plain,) = said(f"log.info('%s', {text!r})")

    assert line.isprintable() and plain.isprintable()
    assert fields(line) == {"call": text, "status": "400"}
    assert HEAD.fullmatch(plain)[2] == "INFO"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_breaks_an_object(text):
    program = f"logs.event(log, 20, 'refused', call={text!r})\nlog.info('%s', {text!r})"

    first, second = said(program, "json")

    assert first.isprintable() and second.isprintable()
    assert (json.loads(first)["call"], json.loads(second)["message"]) == (text, text)


RAISING = """
try:
    raise ValueError('one\\n2026-01-01T00:00:00.000Z INFO aurora_blobs \\x1b[2J forged, hush')
except ValueError as error:
    logs.event(log, 40, 'failed', raised=error, hidden=['hush'])
"""


def test_each_line_of_a_traceback_begins_like_every_line():
    lines = said(RAISING)

    assert len(lines) > 3
    assert {HEAD.fullmatch(line)[2] for line in lines} == {"ERROR"}
    assert all(HEAD.fullmatch(line)[4].startswith("| ") for line in lines[1:])
    assert all(line.isprintable() for line in lines)
    assert "hush" not in "".join(lines)


def test_the_traceback_of_an_object_is_one_of_its_fields():
    (line,) = said(RAISING, "json")

    assert line.isprintable()
    assert json.loads(line)["traceback"].startswith("Traceback (most recent call last):\n")
    assert "hush" not in line


@pytest.mark.parametrize("form", logs.FORMATS)
@pytest.mark.parametrize("text", ["x" * 9000, "\x1b" * 9000], ids=["plain", "escaped"])
def test_a_line_stays_below_what_a_pipe_takes_at_once(form, text):
    program = f"text = {text!r}\nlogs.event(log, 20, text, call=text, did=text, reason=text)"

    (line,) = said(program, form)

    assert len(line.encode()) < 4096


@pytest.mark.parametrize("form", logs.FORMATS)
def test_what_python_says_itself_has_the_form(form):
    program = (
        "warnings.warn('old', DeprecationWarning)\n"
        "thread = threading.Thread(target=lambda: 1 / 0)\nthread.start()\nthread.join()\n"
    )

    lines = said("warnings.simplefilter('always')\n" + program, form)

    levels = {
        "text": lambda line: HEAD.fullmatch(line)[2],
        "json": lambda line: json.loads(line)["level"],
    }
    assert {levels[form](line) for line in lines} == {"WARNING", "ERROR"}


@pytest.mark.parametrize("level, count", [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_no_line_is_below_the_level(level, count):
    program = "for number in (10, 20, 30, 40): log.log(number, 'said')"

    assert len(said(program, level=level)) == count


def test_libraries_say_nothing_below_a_warning_which_may_hold_what_they_send():
    program = "for number in (10, 20, 30): logging.getLogger('botocore').log(number, 'said')"

    (line,) = said(program, level="debug")

    assert HEAD.fullmatch(line).groups()[1:] == ("WARNING", "botocore", "said")


def test_a_line_has_the_id_of_the_request_that_its_thread_answers():
    program = "logs.begin_request('one')\nlog.info('in')\nlogs.end_request()\nlog.info('out')\n"

    inside, outside = said(program)

    assert inside.endswith(" in request=one")
    assert outside.endswith(" out")


@pytest.mark.parametrize(
    "given, is_taken",
    [
        ("7f3a", True),
        ("A.b_c-1" * 9, True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        ("a b", False),
        ("a\nb", False),
        ("a\n", False),
        ("é", False),
        ('"', False),
        (None, False),
    ],
)
def test_an_id_is_short_and_plain_or_another_one_is_made(given, is_taken):
    made = logs.begin_request(given)
    logs.end_request()

    assert (made == given) == is_taken
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", made)


def test_ids_are_made_once_also_in_processes_that_are_forked():
    program = (
        "import os\n"
        "ids = [logs.begin_request() for _ in range(1000)]\n"
        "child = os.fork()\n"
        "more = [logs.begin_request() for _ in range(1000)] + (ids if child else [])\n"
        "os.write(2, ''.join(f'{one}\\n' for one in more).encode())\n"
        "child and os.waitpid(child, 0)\n"
    )

    ids = said(program)

    assert len(set(ids)) == len(ids) == 3000


def test_of_many_lines_so_many_are_let_through_and_the_next_says_how_many_were_not():
    now = [100.0]
    spared = logs.Sparing(3, seconds=lambda: now[0])

    first = [spared.left_out() for _ in range(10)]
    now[0] += 1
    second = [spared.left_out() for _ in range(2)]

    assert first == [0, 0, 0, *[None] * 7]
    assert second == [7, 0]


def test_a_process_that_configures_nothing_logs_as_python_does(caplog):
    logs.event(logging.getLogger("aurora_blobs"), logging.WARNING, "it happens", did="did:web:a")

    (record,) = caplog.records
    assert (record.message, record.fields) == ("it happens", {"did": "did:web:a"})
