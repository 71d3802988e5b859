"""``aurora-blobs blobs give-back``: gives a PDS the blobs back that it has lost."""

from typing import Any
from urllib.parse import urlsplit

import click
from flask.cli import with_appcontext

from aurora_blobs.catalog.audit import Author
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.cli.findings import Findings
from aurora_blobs.cli.options import by_option, existing_folder, json_option, not_empty
from aurora_blobs.cli.output import show_all
from aurora_blobs.cli.progress import meter
from aurora_blobs.config import masked
from aurora_blobs.maintenance.give_back import Folder, GiveBack, NotGiven, Objects, Target, Uploads
from aurora_blobs.services import current_config, services
from aurora_blobs.storage import bucket_at


@click.command("give-back")
@click.option("--did", help="Whose (DID or handle). Else everybody's, into a store.")
@click.option(
    "--to",
    "target",
    type=not_empty,
    required=True,
    metavar="URL|PATH",
    help="A PDS, the folder of a reference PDS's blobs, or s3://bucket/prefix.",
)
@click.option("--token", help="An access token of the account at a PDS. Asked for if it is needed.")
@click.option("--dry-run", is_flag=True, help="Only list what would be given.")
@by_option
@json_option
@with_appcontext
def give_back(
    did: str | None, target: str, token: str | None, dry_run: bool, by: Author, as_json: bool
) -> None:
    """Give a PDS what it lacks of the public blobs that are here: into its store, or by uploads.

    What is there and right stays as it is. A PDS whose store has lost a blob takes no upload of it:
    give its folder or bucket. Status 1 if anything could not be given.
    """
    account = None if did is None else services().repos.find(did)
    owner = None if account is None else account.did
    place = _target(target, owner, token)
    job = GiveBack(services().database, services().blobs, place, owner)
    if dry_run:
        show_all(map(_lacking, job.lacking(lambda size: None)), as_json)
        return
    if account is None:
        totals = services().blobs.totals()
        blobs, size = totals.blobs, totals.bytes
    else:
        blobs, size = account.blob_count, account.blob_bytes
    services().audit.note(by, "give-back", did=owner or "", new=masked(target))
    findings = Findings(as_json)
    with meter("give back", blobs, size) as shown:
        findings.take(job.run(shown.add))
    findings.finish(
        {"given": job.given, "there": job.there},
        f"gave {job.given} blobs, {job.there} were there",
    )


def _lacking(entry: Entry) -> dict[str, Any]:
    return {"did": entry.did, "cid": entry.cid, "size": entry.size}


def _target(target: str, did: str | None, token: str | None) -> Target:
    bucket = bucket_at(current_config(), target)
    if bucket is not None:
        return Objects(*bucket)
    if urlsplit(target).scheme in ("http", "https"):
        if did is None:
            raise click.UsageError("--to a PDS goes with --did: its owner uploads")
        token = token or click.prompt("Access token", hide_input=True, err=True)
        try:
            return Uploads(target, did, token)
        except NotGiven as error:
            raise click.ClickException(str(error)) from error
    return Folder(existing_folder(target))
