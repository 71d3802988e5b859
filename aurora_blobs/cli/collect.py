"""``aurora-blobs blobs gc``: runs the collector, once or every few minutes."""

import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext, suppress

import click
from flask.cli import with_appcontext

from aurora_blobs.catalog.jobs import MOST_FINDINGS, Counts, Found
from aurora_blobs.cli.options import json_option
from aurora_blobs.cli.output import show, show_all
from aurora_blobs.cli.progress import meter
from aurora_blobs.cli.signals import stop_on_signals
from aurora_blobs.clock import moment
from aurora_blobs.logs import printable
from aurora_blobs.maintenance.collect import Collected, Collector
from aurora_blobs.services import services

_PAUSE_SECONDS = 300  # between two rounds of --watch; the grace time is an hour or more


class _BrokenOff(ValueError):
    """A round does not come to its end."""


@click.command("gc")
@click.option(
    "--dry-run", is_flag=True, help="List what would go, why and since when; take nothing."
)
@click.option("--watch", is_flag=True, help="Again every 5 minutes, until SIGTERM or Ctrl-C.")
@json_option
@with_appcontext
def gc(dry_run: bool, watch: bool, as_json: bool) -> None:
    """Collect temporary blobs past the grace time, bytes that nobody holds, and small things that
    expired.

    What was derived of blobs that are gone or taken down goes with them.

    Safe while the service runs, and more than once at a time. Ends with status 1 where something
    could not be done.
    """
    if dry_run and watch:
        raise click.UsageError("--dry-run lists once: it does not go with --watch")
    collector = services().collector()
    stop = stop_on_signals() if watch else threading.Event()
    is_complete = _round(collector, dry_run, as_json, stop)
    while watch and not stop.wait(_PAUSE_SECONDS):
        is_complete = _round(collector, dry_run, as_json, stop)
    if not is_complete:
        sys.exit(1)


def _round(collector: Collector, dry_run: bool, as_json: bool, stop: threading.Event) -> bool:
    """Show one round while it runs; False if it did not do all that it should."""
    tally = {"blobs": 0, "bytes": 0, "failed": 0}
    found: list[Found] = []

    def counts() -> Counts:
        return Counts(tally["blobs"], tally["bytes"], tally["failed"], 0, tuple(found))

    steps = _counted(_until(stop, collector.run(dry_run=dry_run)), tally, found)
    with suppress(_BrokenOff), nullcontext() if dry_run else services().job_log.run("gc", counts):
        if dry_run or as_json or not sys.stdout.isatty():
            show_all((_row(step, as_json) for step in steps), as_json)
        else:
            with meter("collecting", *collector.estimate()) as shown:
                for step in steps:
                    shown.add(step.size)
        if collector.failure is not None:
            raise _BrokenOff(collector.failure)
    if as_json:
        show({"dryRun": dry_run, **tally}, as_json)
    else:
        click.echo(_sentence(dry_run, tally))
    if collector.failure is not None:
        click.echo(f"Error: {printable(collector.failure)}", err=True)
    return not tally["failed"] and collector.failure is None


def _until(stop: threading.Event, steps: Iterator[Collected]) -> Iterator[Collected]:
    for step in steps:
        yield step
        if stop.is_set():
            raise _BrokenOff("stopped by a signal")


def _counted(
    steps: Iterator[Collected], tally: dict[str, int], found: list[Found]
) -> Iterator[Collected]:
    for step in steps:
        if step.failure is not None:
            tally["failed"] += 1
            if len(found) < MOST_FINDINGS:
                found.append(Found(step.kind, step.cid or step.did or "", step.failure, False))
        elif step.is_blob:
            tally["blobs"] += 1
            tally["bytes"] += step.size
        yield step


def _row(step: Collected, as_json: bool) -> dict[str, object]:
    row = {
        "kind": step.kind,
        "cid": step.cid,
        "did": step.did,
        "bytes": step.size,
        "count": step.count,
        "since": moment(step.since),
        "reason": step.reason,
        "failure": step.failure,
    }
    return {name: value for name, value in row.items() if not as_json or value is not None}


def _sentence(dry_run: bool, tally: dict[str, int]) -> str:
    done = "would collect" if dry_run else "collected"
    failed = f", {tally['failed']} could not be done" if tally["failed"] else ""
    return f"{done} {tally['blobs']} blobs, {tally['bytes']} bytes{failed}"
