"""``aurora-blobs database copy``."""

import time
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path

import click

from aurora_blobs.cli.findings import Findings
from aurora_blobs.cli.options import json_option
from aurora_blobs.cli.output import Group, properties
from aurora_blobs.cli.progress import row_meter
from aurora_blobs.cli.signals import stop_on_signals
from aurora_blobs.config import is_postgresql, masked
from aurora_blobs.db import copying, open_database
from aurora_blobs.maintenance.walk import Finding
from aurora_blobs.services import NoDatabase

_MOST_UNFIT = 100  # rows that are named


def _url(text: str) -> str:
    """The URL *text* of a database, ``sqlite:PATH`` with the whole path, or ``postgresql://…``."""
    if is_postgresql(text):
        return text
    kind, _, path = text.partition(":")
    if kind != "sqlite" or path in ("", ":memory:"):
        raise click.BadParameter(
            f"{masked(text)!r}: accepted is sqlite:PATH, or postgresql://HOST/NAME"
        )
    return f"sqlite:{Path(path).resolve()}"


@click.group(cls=Group)
def database() -> None:
    """Move the database between SQLite and PostgreSQL."""


@database.command("copy")
@click.argument("source", metavar="FROM", type=_url)
@click.argument("target", metavar="TO", type=_url)
@click.option("--hold", is_flag=True, help="Keep FROM read-only until this command is stopped.")
@json_option
def copy(source: str, target: str, hold: bool, as_json: bool) -> None:
    """Copy all rows of the database FROM into TO, and compare them.

    A service that uses FROM goes on, and only reads meanwhile. TO is empty, or the same copy that
    was begun before.
    """
    findings = Findings(as_json)
    began = time.monotonic()
    with ExitStack() as stack:
        origin = stack.enter_context(closing(open_database(source, durable=True)))
        if origin.version() is None:
            raise NoDatabase(f"no database at {masked(source).removeprefix('sqlite:')}")
        origin.check_version()
        goal = stack.enter_context(closing(open_database(target, durable=True)))
        is_new = not copying.is_begun(goal, masked(source))
        rows = stack.enter_context(origin.alone())
        job = copying.Copy(rows)
        count = job.rows()
        job.progress = stack.enter_context(row_meter("copy", count, passes=3)).add
        findings.take(
            Finding("unfit", unfit.subject, unfit.reason)
            for unfit in islice(job.look(), _MOST_UNFIT)
        )
        if not findings.all:
            copying.begin(goal, masked(source), is_new=is_new)
            # No commit but the last one is waited for: it comes after the others on the disk.
            with closing(open_database(target, durable=False)) as bulk:
                job.bring(bulk, is_new=is_new)
            with goal.alone() as tx:
                findings.take(map(_different, job.differences(tx)))
                if not findings.all:
                    copying.complete(tx)
        if hold and not findings.all:
            _hold(job)
        seconds = time.monotonic() - began
        summary = {
            "rows": count,
            "seconds": round(seconds, 1),
            "tables": {name: properties(content) for name, content in job.contents.items()},
        }
        findings.finish(summary, f"{count} rows in {seconds:.0f} s")


def _different(table: str) -> Finding:
    return Finding("different", table, "TO has other rows than FROM: the same command again")


def _hold(job: copying.Copy) -> None:
    stop = stop_on_signals()
    click.echo("all is copied; FROM is read-only until this command ends", err=True)
    while not stop.wait(1):
        job.keep_alive()
