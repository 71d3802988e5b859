"""``aurora-blobs blobs fsck``: compares the rows with the store."""

import click
from flask.cli import with_appcontext

from aurora_blobs.blobs.store_marks import adopt_stores
from aurora_blobs.catalog.audit import Author
from aurora_blobs.cli.findings import (
    Findings,
    lose_many_option,
    may_lack_blobs,
    may_lose_many,
    share,
    share_in_words,
)
from aurora_blobs.cli.options import by_option, json_option, not_empty
from aurora_blobs.cli.progress import amount
from aurora_blobs.maintenance.fsck import Fsck, delete_strays, exposed
from aurora_blobs.maintenance.heal import Heal
from aurora_blobs.services import services

_WHY = (
    "they are most of the store, so a database may have been lost, which `backup restore FOLDER` "
    "brings back"
)
_MOST = f"{{}} of {{}} blobs in the store are strays: {_WHY}. Delete them?"


@click.command("fsck")
@click.option("--repair", is_flag=True, help="Mend what can be mended without losing anything.")
@lose_many_option
@click.option(
    "--adopt",
    is_flag=True,
    help="First make the store this database's own, whosever it was. One that lacks blobs wants "
    "--yes-lose-many too.",
)
@click.option(
    "--from",
    "origin",
    type=not_empty,
    metavar="URL|FOLDER",
    help="Fetch missing blobs from this server's getBlob, or from the backup in this folder.",
)
@click.option(
    "--delete-strays", "delete", is_flag=True, help="Remove blobs in the store that no row knows."
)
@click.option("--dry-run", is_flag=True, help="With --delete-strays: only say what would go.")
@by_option
@json_option
@with_appcontext
def fsck(
    repair: bool,
    lose_many: bool,
    adopt: bool,
    origin: str | None,
    delete: bool,
    dry_run: bool,
    by: Author,
    as_json: bool,
) -> None:
    """Compare the rows with the store, both ways, without reading bytes. Status 1 if anything is
    wrong, also if all of it could be repaired."""
    database, backend, clock = services().database, services().blobs.backend, services().clock
    findings = Findings(as_json)
    summary: dict[str, object] = {}
    if adopt:
        adopted = adopt_stores(
            database, backend, clock, may_lack=may_lack_blobs(lose_many, as_json), by=by
        )
        summary["adopted"] = adopted
        for place in () if as_json else adopted:
            click.echo(f"{place} is this database's now")
    check = Fsck(
        database,
        backend,
        services().config.data_folder.spool,
        clock,
        repair=repair,
        may_lose_many=may_lose_many(lose_many, as_json),
        leases=services().leases,
    )
    with services().job_log.run("fsck", lambda: findings.counts(check.seen, check.seen_bytes)):
        findings.take(check.run())
        findings.note_refusal(check.is_refused)
        summary |= {"blobs": check.seen, "bytes": check.seen_bytes, **share(check.shared)}
        findings.take(
            exposed(database, services().public_links, services().blobs.describe, repair=repair)
        )
        if delete:
            strays = [finding.subject for finding in findings.all if finding.kind == "stray"]
            verb, tail, gone = "deleted", "", []
            if dry_run:
                verb, gone = "would delete", strays
            elif 2 * len(strays) <= check.seen or may_lose_many(lose_many, as_json, _MOST)(
                len(strays), check.seen
            ):
                gone = delete_strays(database, backend, strays, clock)
            else:
                tail = f": {_WHY}; --yes-lose-many deletes them"
            summary["deleted"] = gone
            if not as_json:
                click.echo(f"{verb} {len(gone)} of {len(strays)} strays{tail}")
        if origin is not None:
            heal = Heal(
                database,
                services().unlimited_blobs(),
                origin,
                max_blob_bytes=services().config.max_blob_size,
            )
            findings.take(heal.run())
            summary["healed"] = heal.healed
            if not as_json:
                click.echo(f"fetched {heal.healed} missing blobs from {origin}")
    words = f"{check.seen} blobs, {amount(check.seen_bytes)}"
    findings.finish(summary, words + share_in_words(check.shared))
