"""``flask --app wsgi blobs import`` and ``export``, ``backup`` and ``restore``: blobs in, out, away and back."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click
from flask.cli import with_appcontext

from aurora_blobs.cli.findings import Findings, unrestricted
from aurora_blobs.cli.output import Group, json_option
from aurora_blobs.cli.progress import amount, meter
from aurora_blobs.maintenance.backup import Backup
from aurora_blobs.maintenance.blob_import import BlobImporter, Found, in_bucket, in_folder
from aurora_blobs.maintenance.export import Export
from aurora_blobs.maintenance.migrate import Progress
from aurora_blobs.protocol.syntax import parse_did
from aurora_blobs.services import services
from aurora_blobs.storage import open_bucket

_folder = click.Path(file_okay=False, path_type=Path)
_jobs = click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Blobs copied at a time.",
)


@click.command("import")
@click.argument("origin", metavar="PATH")
@click.option(
    "--did", type=parse_did, help="Whose blobs they are, where the folder's name does not tell."
)
@click.option(
    "--db",
    "databases",
    type=_folder,
    help="The reference PDS's folder of accounts (…/store.sqlite).",
)
@click.option("--dry-run", is_flag=True, help="Only list what would be imported.")
@json_option
@with_appcontext
def import_blobs(
    origin: str, did: str | None, databases: Path | None, dry_run: bool, as_json: bool
) -> None:
    """Take over blobs from the folder, or s3://bucket/prefix, of a reference PDS. Run it again to go on.

    Accounts that are not here get a row. With --db, types, references and takedowns come too; without it the blobs are
    temporary until records name them, and are collected after the grace time. Status 1 if anything could not be taken.
    """
    if dry_run:
        for found in _found(origin):
            click.echo(f"{found.did or did or 'nobody'}\t{found.cid}\t{found.size}\t{found.name}")
        return
    sizes = [found.size for found in _found(origin)]
    job = BlobImporter(
        services().database, unrestricted(), services().clock, did=did, databases=databases
    )
    findings = Findings(as_json)
    with meter("import", len(sizes), sum(sizes)) as shown:
        findings.take(job.run(_found(origin), shown.add))
    words = f"imported {job.imported} blobs, {job.present} were here"
    findings.finish({"imported": job.imported, "present": job.present}, words)


def _found(origin: str) -> Iterator[Found]:
    if origin.startswith("s3://"):
        bucket, _, prefix = origin.removeprefix("s3://").partition("/")
        return in_bucket(open_bucket(services().config, bucket), prefix)
    if not Path(origin).is_dir():
        raise click.ClickException(f"{origin}: no such folder")
    return in_folder(Path(origin))


@click.command("export")
@click.argument("folder", type=_folder, required=False)
@click.option("--did", required=True, help="Whose (DID or handle).")
@click.option("--tar", is_flag=True, help="Write a tar to standard output instead.")
@with_appcontext
def export_blobs(folder: Path | None, did: str, tar: bool) -> None:
    """Write all that an account holds into FOLDER, each blob under its CID, and manifest.json.

    Status 1 if anything is missing from it.
    """
    if (folder is None) != tar:
        raise click.UsageError("give a FOLDER or --tar")
    if folder == Path("-"):
        raise click.UsageError("- is no FOLDER: --tar writes to standard output")
    account = services().repos.find(did)
    job = Export(services().database, services().blobs, account.did)
    findings = Findings(False, err=tar)
    with meter("export", account.blob_count, account.blob_bytes) as shown:
        if folder is None:
            findings.take(job.to_tar(sys.stdout.buffer, shown.add))
        else:
            findings.take(job.to_folder(folder, shown.add))
    findings.finish({}, f"exported {job.written} blobs")


@click.group(cls=Group)
def backup() -> None:
    """Copy database and blobs into a folder, and put them back."""


@backup.command("make")
@click.argument("folder", type=_folder)
@_jobs
@json_option
def make(folder: Path, jobs: int, as_json: bool) -> None:
    """Copy the database, then every blob that FOLDER does not have yet, while the service runs."""
    kept = Backup(folder)
    findings = Findings(as_json)
    with ExitStack() as stack:
        findings.take(
            kept.make(
                services().database, services().blobs.backend, jobs, _metered(stack, "backup")
            )
        )
    findings.finish(asdict(kept.progress), _words(kept.progress))


@backup.command("restore")
@click.argument("folder", type=_folder)
@click.option("--yes", is_flag=True, help="Replace what is in the database now.")
@_jobs
@json_option
def restore(folder: Path, yes: bool, jobs: int, as_json: bool) -> None:
    """Put database and blobs back. The service must not run. `blobs fsck` then tells what is not in the backup."""
    kept = Backup(folder)
    if not kept.exists():
        raise click.ClickException(f"{folder}: there is no backup")
    if not yes:
        raise click.ClickException("this replaces the database: stop the service, and give --yes")
    findings = Findings(as_json)
    services().public_links.clear()
    with ExitStack() as stack:
        begin = _metered(stack, "restore")
        findings.take(
            kept.restore(
                services().database,
                services().blobs.backend,
                services().config.data_folder.spool,
                jobs,
                begin,
            )
        )
    findings.finish(asdict(kept.progress), _words(kept.progress))


def _metered(stack: ExitStack, label: str) -> Callable[[Progress], Callable[[int], None]]:
    return lambda progress: stack.enter_context(meter(label, progress.blobs, progress.bytes)).add


def _words(progress: Progress) -> str:
    copied = f"copied {progress.copied_blobs} blobs, {amount(progress.copied_bytes)}"
    return f"{copied}; {progress.done_blobs} of {progress.blobs} are there"
