"""``aurora-blobs blobs import``: takes over the blobs of a reference PDS."""

from collections.abc import Iterator
from pathlib import Path

import click
from flask import current_app
from flask.cli import with_appcontext

from aurora_blobs.cli.findings import Findings
from aurora_blobs.cli.options import FOLDER, json_option
from aurora_blobs.cli.output import show_all
from aurora_blobs.cli.progress import meter
from aurora_blobs.maintenance.blob_import import BlobImporter, Found, in_bucket, in_folder
from aurora_blobs.protocol.syntax import parse_did
from aurora_blobs.services import current_config, open_services, services
from aurora_blobs.storage import open_bucket


@click.command("import")
@click.argument("origin", metavar="PATH")
@click.option(
    "--did",
    type=parse_did,
    metavar="DID",
    help="Whose blobs they are, where the folder's name does not tell.",
)
@click.option(
    "--db",
    "databases",
    type=FOLDER,
    help="The reference PDS's folder of accounts (…/store.sqlite).",
)
@click.option("--dry-run", is_flag=True, help="Only list what would be imported.")
@json_option
@with_appcontext
def import_blobs(
    origin: str, did: str | None, databases: Path | None, dry_run: bool, as_json: bool
) -> None:
    """Take over blobs from the folder, or s3://bucket/prefix, of a reference PDS. Run it again to
    go on.

    Accounts that are not here get a row. With --db, types, references and takedowns come too;
    without it the blobs are temporary until records name them, and are collected after the grace
    time. Status 1 if anything could not be taken.
    """
    if dry_run:
        nobody = None if as_json else "nobody"
        show_all(
            (
                {
                    "did": found.did or did or nobody,
                    "cid": found.cid,
                    "size": found.size,
                    "name": found.name,
                }
                for found in _blobs_at(origin)
            ),
            as_json,
        )
        return
    sizes = [found.size for found in _blobs_at(origin)]
    open_services(current_app, makes=True)
    job = BlobImporter(
        services().database,
        services().unlimited_blobs(),
        services().clock,
        did=did,
        databases=databases,
    )
    findings = Findings(as_json)
    with meter("import", len(sizes), sum(sizes)) as shown:
        findings.take(job.run(_blobs_at(origin), shown.add))
    words = f"imported {job.imported} blobs, {job.present} were here"
    findings.finish({"imported": job.imported, "present": job.present}, words)


def _blobs_at(origin: str) -> Iterator[Found]:
    if origin.startswith("s3://"):
        bucket, _, prefix = origin.removeprefix("s3://").partition("/")
        return in_bucket(open_bucket(current_config(), bucket), prefix)
    if not Path(origin).is_dir():
        raise click.ClickException(f"{origin}: no such folder")
    return in_folder(Path(origin))
