"""``aurora-blobs blobs export``: writes all that an account holds into a folder or a tar."""

import sys
from pathlib import Path

import click
from flask.cli import with_appcontext

from aurora_blobs.cli.findings import Findings
from aurora_blobs.cli.options import FOLDER
from aurora_blobs.cli.progress import meter
from aurora_blobs.maintenance.export import Export
from aurora_blobs.services import services


@click.command("export")
@click.argument("folder", type=FOLDER, required=False)
@click.option("--did", help="Whose (DID or handle).")
@click.option("--tar", is_flag=True, help="Write a tar to standard output instead.")
@click.option(
    "--layout",
    type=click.Choice(["pds"]),
    help="pds: everybody's, as the folder that a PDS keeps its blobs in.",
)
@with_appcontext
def export_blobs(folder: Path | None, did: str | None, tar: bool, layout: str | None) -> None:
    """Write all that an account holds into FOLDER, each blob under its CID, and manifest.json.

    With --layout pds, write all that PDSes keep here, as the reference PDS's store on a disk.
    Status 1 if anything is missing from it.
    """
    if layout == "pds":
        if folder is None or did is not None or tar:
            raise click.UsageError("--layout pds takes a FOLDER, and no --did and no --tar")
        _hand_over(folder)
        return
    if did is None:
        raise click.UsageError("give --did or --layout pds")
    if (folder is None) != tar:
        raise click.UsageError("give a FOLDER or --tar")
    if folder == Path("-"):
        raise click.UsageError("- is no FOLDER: --tar writes to standard output")
    account = services().repos.find(did)
    job = Export(services().database, services().blobs, account.did)
    findings = Findings(as_json=False, to_stderr=tar)
    with meter("export", account.blob_count, account.blob_bytes) as shown:
        if folder is None:
            findings.take(job.to_tar(sys.stdout.buffer, shown.add))
        else:
            findings.take(job.to_folder(folder, shown.add))
    findings.finish({}, f"exported {job.written} blobs")


def _hand_over(folder: Path) -> None:
    from aurora_blobs.maintenance.pds_store import Handover  # no other command waits for it

    found = services()
    job = Handover(found.objects(found.blobs), found.blobs.backend)
    totals = found.blobs.totals()
    findings = Findings(as_json=False)
    with meter("export", totals.blobs, totals.bytes) as shown:
        findings.take(job.to_folder(folder, shown.add))
    findings.finish({}, f"exported {job.written} objects")
