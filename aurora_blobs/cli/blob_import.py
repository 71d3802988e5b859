"""``aurora-blobs blobs import``: takes over the blobs of a reference PDS."""

from collections.abc import Iterator
from pathlib import Path

import click
from flask import current_app
from flask.cli import with_appcontext

from aurora_blobs.catalog.audit import Author
from aurora_blobs.cli.findings import Findings
from aurora_blobs.cli.options import (
    FOLDER,
    by_option,
    existing_folder,
    jobs_option,
    json_option,
    not_empty,
)
from aurora_blobs.cli.output import show_all
from aurora_blobs.cli.progress import meter
from aurora_blobs.maintenance.blob_import import (
    BlobImporter,
    Found,
    Place,
    Read,
    in_bucket,
    in_folder,
    read_name,
)
from aurora_blobs.protocol.syntax import parse_did
from aurora_blobs.services import current_config, open_services, services
from aurora_blobs.storage import bucket_at


@click.command("import")
@click.argument("origin", metavar="PATH", type=not_empty)
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
@click.option(
    "--layout",
    type=click.Choice(["pds"]),
    help="pds: as the store of a PDS that keeps its blobs here from now on.",
)
@click.option("--delete", is_flag=True, help="With --layout pds: also delete what is not there.")
@jobs_option
@by_option
@json_option
@with_appcontext
def import_blobs(
    origin: str,
    did: str | None,
    databases: Path | None,
    dry_run: bool,
    layout: str | None,
    delete: bool,
    jobs: int,
    by: Author,
    as_json: bool,
) -> None:
    """Take over blobs from the folder, or s3://bucket/prefix, of a reference PDS. Run it again to
    go on.

    Accounts that are not here get a row. With --db, types, references and takedowns come too;
    without it the blobs are temporary until records name them, and are collected after the grace
    time. With --layout pds what is stored there is public here, what is in quarantine is taken
    down, and uploads that no record names yet are staged; the PDS may run. Status 1 if anything
    could not be taken.
    """
    if layout == "pds":
        if did is not None or databases is not None:
            raise click.UsageError("--layout pds knows of no --did and no --db")
        _take_over(origin, dry_run=dry_run, deletes=delete, jobs=jobs, by=by, as_json=as_json)
        return
    if delete:
        raise click.UsageError("--delete goes with --layout pds")
    if dry_run:
        nobody = None if as_json else "nobody"
        show_all(
            (
                {
                    "did": found.place[0] or did or nobody,
                    "cid": found.place[1],
                    "size": found.size,
                    "name": found.name,
                }
                for found in _found(origin, read_name)
            ),
            as_json,
        )
        return
    sizes = [found.size for found in _found(origin, read_name)]
    open_services(current_app, makes=True)
    job = BlobImporter(
        services().database,
        services().unlimited_blobs(),
        services().clock,
        did=did,
        databases=databases,
        jobs=jobs,
        by=by,
    )
    services().audit.note(by, "import", did=did or "", new=origin)
    findings = Findings(as_json)
    with meter("import", len(sizes), sum(sizes)) as shown:
        findings.take(job.run(_found(origin, read_name), shown.add))
    words = f"imported {job.imported} blobs, {job.present} were here"
    findings.finish({"imported": job.imported, "present": job.present}, words)


def _take_over(
    origin: str, *, dry_run: bool, deletes: bool, jobs: int, by: Author, as_json: bool
) -> None:
    # Here, so that no other command waits for it.
    from aurora_blobs.maintenance.pds_store import Takeover
    from aurora_blobs.object_api.layout import parse_place

    if dry_run:
        show_all(
            (
                {"key": str(found.place), "size": found.size, "name": found.name}
                for found in _found(origin, parse_place)
            ),
            as_json,
        )
        return
    sizes = [found.size for found in _found(origin, parse_place)]
    if deletes and not sizes:
        raise click.ClickException(f"{origin}: nothing of a PDS is there, so --delete deletes all")
    open_services(current_app, makes=True)
    job = Takeover(
        services().database,
        services().objects(services().unlimited_blobs(), by),
        services().clock,
        grace_seconds=current_config().unreferenced_grace,
        releases=deletes,
        jobs=jobs,
    )
    services().audit.note(by, "import", new=origin)
    findings = Findings(as_json)
    with meter("import", len(sizes), sum(sizes)) as shown:
        findings.take(job.run(_found(origin, parse_place), shown.add))
    words = f"imported {job.taken} objects, {job.present} were here, {job.released} were deleted"
    findings.finish({"imported": job.taken, "present": job.present, "deleted": job.released}, words)


def _found(origin: str, read: Read[Place]) -> Iterator[Found[Place]]:
    bucket = bucket_at(current_config(), origin)
    if bucket is not None:
        return in_bucket(*bucket, read)
    return in_folder(existing_folder(origin), read)
