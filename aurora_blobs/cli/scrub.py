"""``aurora-blobs blobs scrub``: reads and hashes every blob."""

import click
from flask.cli import with_appcontext

from aurora_blobs.cli.findings import (
    Findings,
    lose_many_option,
    may_lose_many,
    share,
    share_in_words,
)
from aurora_blobs.cli.options import json_option
from aurora_blobs.cli.progress import amount, meter
from aurora_blobs.config_values import parse_size
from aurora_blobs.maintenance.scrub import Scrub
from aurora_blobs.services import services


@click.command("scrub")
@click.option(
    "--dry-run", is_flag=True, help="Only report: leave wrong bytes in place, and served."
)
@click.option("--repair", is_flag=True, help="Does nothing: repairing is what it does.")
@lose_many_option
@click.option(
    "--bytes-per-second",
    type=parse_size,
    default="0",
    metavar="SIZE",
    help="Read no faster, like 50MB; 0: at will.",
)
@json_option
@with_appcontext
def scrub(
    dry_run: bool, repair: bool, lose_many: bool, bytes_per_second: int, as_json: bool
) -> None:
    """Read and hash every blob; goes on where the last run broke off. Status 1 if anything is
    wrong.

    Wrong bytes are set aside. Their blobs count as missing then, and an upload heals them.
    """
    if dry_run and repair:
        raise click.UsageError("--repair does not go with --dry-run")
    job = Scrub(
        services().database,
        services().blobs.backend,
        services().clock,
        dry_run=dry_run,
        bytes_per_second=bytes_per_second,
        may_lose_many=may_lose_many(lose_many, as_json),
        leases=services().leases,
    )
    if job.begins_after and not as_json:
        click.echo(f"goes on after {job.begins_after}")
    findings = Findings(as_json)
    with (
        meter("scrub", job.blobs, job.bytes) as shown,
        services().job_log.run(
            "scrub", lambda: findings.counts(shown.done_blobs, shown.done_bytes)
        ),
    ):
        findings.take(job.run(shown.add))
    findings.note_refusal(job.is_refused)
    summary: dict[str, object] = {
        "blobs": shown.done_blobs,
        "bytes": shown.done_bytes,
        **share(job.shared),
    }
    words = f"read {shown.done_blobs} blobs, {amount(shown.done_bytes)}"
    findings.finish(summary, words + share_in_words(job.shared))
