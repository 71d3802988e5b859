"""``aurora-blobs blobs migrate``: copies every blob to the other store."""

import click
from flask.cli import with_appcontext

from aurora_blobs.blobs.store_marks import guard_stores
from aurora_blobs.blobs.verify import quarantine
from aurora_blobs.cli.findings import Findings
from aurora_blobs.cli.options import jobs_option, json_option
from aurora_blobs.cli.output import properties
from aurora_blobs.cli.progress import amount, meter
from aurora_blobs.config import STORES
from aurora_blobs.maintenance.migrate import Migration
from aurora_blobs.services import services
from aurora_blobs.storage import open_single
from aurora_blobs.storage.pair import PairBackend


@click.command("migrate")
@click.option("--to", "target", type=click.Choice(STORES), required=True, help="The store to fill.")
@jobs_option
@json_option
@with_appcontext
def migrate(target: str, jobs: int, as_json: bool) -> None:
    """Copy every blob to the other store, while the service runs; run it again to copy the rest.

    Status 1 if anything could not be copied. With AURORA_BLOBS_STORAGE_FALLBACK the service reads
    from both stores meanwhile, so that no request fails.
    """
    config = services().config
    source = "disk" if target == "s3" else "s3"
    if "s3" in (source, target) and config.s3_bucket is None:
        raise click.ClickException("AURORA_BLOBS_S3_BUCKET is unset: accepted is a bucket's name")
    database, backend, clock = services().database, services().blobs.backend, services().clock
    stores = PairBackend(open_single(config, source), open_single(config, target))
    guard_stores(database, stores, clock)
    job = Migration(
        database,
        stores.first,
        stores.second,
        config.data_folder.spool,
        clock,
        jobs=jobs,
        set_aside=lambda row: quarantine(database, backend, row, clock),
    )
    findings = Findings(as_json)
    with meter(f"{source} to {target}", job.progress.blobs, job.progress.bytes) as shown:
        findings.take(job.run(shown.add))
    findings.take(job.verify())
    progress = job.progress
    words = f"copied {progress.copied_blobs} blobs, {amount(progress.copied_bytes)}; "
    words += f"{target} has {progress.done_blobs} of {progress.blobs}"
    findings.finish(properties(progress), words)
