"""``aurora-blobs blobs …``: shows blobs and takes them down."""

from typing import Any

import click

from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.catalog.audit import Author
from aurora_blobs.catalog.blobs import Entry, Holding
from aurora_blobs.catalog.daily_totals import DailyTotal
from aurora_blobs.catalog.takedowns import EVERY_ACCOUNT
from aurora_blobs.cli.options import by_option, json_option
from aurora_blobs.cli.output import Group, camel_case, properties, show, show_all
from aurora_blobs.clock import date, moment
from aurora_blobs.logs import printable
from aurora_blobs.maintenance.backfill import backfill
from aurora_blobs.maintenance.job_log import JobStatus
from aurora_blobs.protocol.cid import parse_blob_cid, shown_cid
from aurora_blobs.services import services

_DAYS = 30  # of uploads that are shown


@click.group(cls=Group)
def blobs() -> None:
    """What the store holds."""


@blobs.command("list")
@click.option("--did", help="Of this account (DID or handle) alone.")
@json_option
def list_blobs(did: str | None, as_json: bool) -> None:
    """List blobs: CID, account, type, bytes, state, time.

    The state is what the public sees: public, temporary, missing, takendown, account takendown or
    account deactivated.
    """
    account = None if did is None else services().repos.find(did).did
    show_all(map(_held_row, services().blobs.holdings(account)), as_json)


@blobs.command("show")
@click.argument("cid", type=parse_blob_cid)
@json_option
def show_blob(cid: str, as_json: bool) -> None:
    """Show who holds a blob or waits for it, which records name it, whether its bytes are here."""
    shown = services().blobs.inspect(cid)
    if shown is None:
        raise click.ClickException(
            f"no account holds {cid}, no record names it and nobody took it down"
        )
    values: dict[str, Any] = {
        "cid": shown_cid(cid, services().config.cid_format),
        "size": shown.size,
        "bytes": "stored" if shown.stored_size is not None else "not here",
    }
    records: dict[str, list[str]] = {}
    for did, uri in shown.records:
        records.setdefault(did, []).append(uri)
    holders = [
        {**_held_row(held), "records": records.pop(held.entry.did, [])} for held in shown.holders
    ]
    awaiting = [{"did": did, "state": "missing", "records": uris} for did, uris in records.items()]
    downs = [_takedown(row) for row in shown.takedowns]
    if as_json:
        show({**values, "holders": holders, "awaitedBy": awaiting, "takedowns": downs}, True)
        return
    show(values, False)
    for account in [*holders, *awaiting]:
        click.echo()
        _show_account(account)
    for down in downs:
        click.echo()
        show(down, False)


@blobs.command("stats")
@json_option
def stats(as_json: bool) -> None:
    """Count what the store holds, by the states of `blobs list`, and the uploads of the last 30
    days; tell how each job last ran."""
    totals = services().blobs.totals()
    values = {
        "blobs": totals.blobs,
        "bytes": totals.bytes,
        "holdings": sum(number for number, _ in totals.holdings.values()),
        "heldBytes": sum(size for _, size in totals.holdings.values()),
    }
    for state, (number, size) in totals.holdings.items():
        values |= {camel_case(state): number, camel_case(f"{state} bytes"): size}
    values["withoutBytes"] = totals.not_stored
    statuses = [_job(status) for status in services().job_log.statuses()]
    days = list(map(_day, services().daily_totals.last(_DAYS)))
    if as_json:
        show({**values, "days": days, "jobs": statuses}, True)
        return
    show(values, False)
    for table in filter(None, (days, statuses)):
        click.echo()
        show_all(table, False)


@blobs.command("backfill")
@json_option
def backfill_blobs(as_json: bool) -> None:
    """Read the size and duration of pictures and films that were stored before that was done at
    upload."""
    filled = backfill(
        services().blobs.backend, services().database, services().clock, services().leases
    )
    show_all(map(_row, filled), as_json)


@blobs.command("takedown")
@click.argument("cid", type=parse_blob_cid)
@click.option("--did", help="For this account (DID or handle) alone, not for every one.")
@click.option("--ref", help="What to remember it by; the time, if not given.")
@click.option("--lift", is_flag=True, help="Undo it.")
@by_option
def take_down(cid: str, did: str | None, ref: str | None, lift: bool, by: Author) -> None:
    """Take a blob down, also one that was never seen: not served, stored or referenced until it is
    lifted."""
    subject = Subject(EVERY_ACCOUNT if did is None else _subject_did(did, lift=lift), cid)
    whom = did or "every account"
    if not lift:
        services().moderation.take_down(subject, ref, by)
        click.echo(f"{cid} is taken down for {whom}")
        return
    if services().moderation.lift(subject, by):
        click.echo(f"{cid} is not taken down for {whom} any more")
    else:
        click.echo(f"{cid} was not taken down for {whom}")
    shown = services().blobs.inspect(cid)
    if shown is not None:
        for other, _, _ in shown.takedowns:
            click.echo(f"{cid} is still taken down for {other or 'every account'}")


def _subject_did(name: str, *, lift: bool) -> str:
    # A takedown outlives its account, so a DID that is lifted need not be of one.
    return name if lift and name.startswith("did:") else services().repos.find(name).did


def _show_account(account: dict[str, Any]) -> None:
    """An account that holds or awaits a blob, then the records that name it, a line each."""
    hidden = ("cid", "records")
    show({name: value for name, value in account.items() if name not in hidden}, False)
    for uri in account["records"]:
        click.echo(f"named by {printable(uri)}")


def _row(entry: Entry, **state: str) -> dict[str, Any]:
    return {
        "cid": shown_cid(entry.cid, services().config.cid_format),
        "did": entry.did,
        "mimeType": entry.mime_type,
        "size": entry.size,
        **state,
        "createdAt": moment(entry.created_at),
        "unreferencedSince": moment(entry.unreferenced_since),
        "width": entry.width,
        "height": entry.height,
        "durationMs": entry.duration_ms,
    }


def _held_row(held: Holding) -> dict[str, Any]:
    return _row(held.entry, state=held.state)


def _job(status: JobStatus) -> dict[str, Any]:
    """The last run of a job, and when one last came to its end."""
    last, completed = status.last, status.completed
    return {
        "job": status.job,
        "state": status.state,
        "startedAt": last and moment(last.started_at),
        "endedAt": last and moment(last.ended_at),
        "blobs": last and last.blobs,
        "bytes": last and last.bytes,
        "findings": last and last.findings,
        "repaired": last and last.repaired,
        "completedAt": completed and moment(completed.ended_at),
        "failure": last and last.failure,
    }


def _day(total: DailyTotal) -> dict[str, Any]:
    return {**properties(total), "day": date(total.day)}


def _takedown(row: tuple[str, str, int]) -> dict[str, Any]:
    did, ref, created_at = row
    return {"takenDownFor": did or "every account", "ref": ref, "at": moment(created_at)}
