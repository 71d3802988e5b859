"""``flask --app wsgi blobs fsck``, ``scrub`` and ``migrate``: is every byte still there, and moved elsewhere."""

from dataclasses import asdict

import click
from flask.cli import with_appcontext

from aurora_blobs.cli.findings import Findings, unrestricted
from aurora_blobs.cli.output import json_option
from aurora_blobs.cli.progress import amount, meter
from aurora_blobs.config_values import parse_size
from aurora_blobs.maintenance.fsck import Fsck, delete_strays, exposed
from aurora_blobs.maintenance.heal import Heal
from aurora_blobs.maintenance.migrate import Migration
from aurora_blobs.maintenance.scrub import Scrub
from aurora_blobs.services import services
from aurora_blobs.storage import open_store


@click.command("fsck")
@click.option("--repair", is_flag=True, help="Mend what can be mended without losing anything.")
@click.option(
    "--from", "origin", metavar="URL", help="Fetch missing blobs from this server's getBlob."
)
@click.option(
    "--delete-strays", "delete", is_flag=True, help="Remove blobs in the store that no row knows."
)
@click.option("--dry-run", is_flag=True, help="With --delete-strays: only say what would go.")
@json_option
@with_appcontext
def fsck(repair: bool, origin: str | None, delete: bool, dry_run: bool, as_json: bool) -> None:
    """Compare the rows with the store, both ways, without reading bytes. Status 1 if anything is wrong."""
    database, backend, clock = services().database, services().blobs.backend, services().clock
    findings = Findings(as_json)
    check = Fsck(database, backend, services().config.data_folder.spool, clock, repair=repair)
    findings.take(check.run())
    findings.take(
        exposed(database, services().public_links, services().blobs.describe, repair=repair)
    )
    summary: dict[str, object] = {"blobs": check.seen, "bytes": check.seen_bytes}
    if delete:
        strays = [finding.subject for finding in findings.all if finding.kind == "stray"]
        gone = strays if dry_run else delete_strays(database, backend, strays)
        summary["deleted"] = gone
        if not as_json:
            click.echo(
                f"{'would delete' if dry_run else 'deleted'} {len(gone)} of {len(strays)} strays"
            )
    if origin is not None:
        heal = Heal(database, unrestricted(), origin)
        findings.take(heal.run())
        summary["healed"] = heal.healed
        if not as_json:
            click.echo(f"fetched {heal.healed} missing blobs from {origin}")
    findings.finish(summary, f"{check.seen} blobs, {amount(check.seen_bytes)}")


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
    """Read and hash every blob; goes on where the last run broke off. Status 1 if anything is wrong."""
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


@click.command("migrate")
@click.option(
    "--to", "target", type=click.Choice(["disk", "s3"]), required=True, help="The store to fill."
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Blobs copied at a time.",
)
@json_option
@with_appcontext
def migrate(target: str, jobs: int, as_json: bool) -> None:
    """Copy every blob to the other store, while the service runs; run it again to copy the rest.

    Status 1 if anything could not be copied. docs/s3.md tells how to move without a failed request.
    """
    config = services().config
    source = "disk" if target == "s3" else "s3"
    if "s3" in (source, target) and config.s3_bucket is None:
        raise click.ClickException("AURORA_BLOBS_S3_BUCKET is unset: accepted is a bucket's name")
    job = Migration(
        services().database,
        open_store(config, source),
        open_store(config, target),
        config.data_folder.spool,
        jobs=jobs,
    )
    findings = Findings(as_json)
    with meter(f"{source} to {target}", job.progress.blobs, job.progress.bytes) as shown:
        findings.take(job.run(shown.add))
    findings.take(job.verify())
    progress = job.progress
    words = f"copied {progress.copied_blobs} blobs, {amount(progress.copied_bytes)}; "
    words += f"{target} has {progress.done_blobs} of {progress.blobs}"
    findings.finish(asdict(progress), words)
