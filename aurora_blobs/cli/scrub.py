"""``flask --app wsgi blobs scrub``: reads and hashes every blob."""

import click
from flask.cli import with_appcontext

from aurora_blobs.cli.findings import Findings
from aurora_blobs.cli.options import json_option
from aurora_blobs.cli.progress import amount, meter
from aurora_blobs.config_values import parse_size
from aurora_blobs.maintenance.scrub import Scrub
from aurora_blobs.services import services


@click.command("scrub")
@click.option(
    "--repair", is_flag=True, help="Set wrong bytes aside; their blobs count as missing then."
)
@click.option(
    "--bytes-per-second",
    type=parse_size,
    default="0",
    metavar="SIZE",
    help="Read no faster, like 50MB; 0: at will.",
)
@json_option
@with_appcontext
def scrub(repair: bool, bytes_per_second: int, as_json: bool) -> None:
    """Read and hash every blob; goes on where the last run broke off. Status 1 if anything is
    wrong."""
    job = Scrub(
        services().database,
        services().blobs.backend,
        services().clock,
        repair=repair,
        bytes_per_second=bytes_per_second,
    )
    if job.begins_after and not as_json:
        click.echo(f"goes on after {job.begins_after}")
    findings = Findings(as_json)
    with meter("scrub", job.blobs, job.bytes) as shown:
        findings.take(job.run(shown.add))
    summary: dict[str, object] = {"blobs": job.blobs, "bytes": job.bytes}
    findings.finish(summary, f"read {job.blobs} blobs, {amount(job.bytes)}")
