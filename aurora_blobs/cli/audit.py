"""``aurora-blobs audit list``: who ordered what, when and why."""

from itertools import islice

import click

from aurora_blobs.accounts.audit import ACTIONS, parse_did_or_cid
from aurora_blobs.api.serializers import act_row
from aurora_blobs.cli.options import json_option
from aurora_blobs.cli.output import Group, show_all
from aurora_blobs.clock import parse_datetime
from aurora_blobs.config_values import parse_seconds
from aurora_blobs.services import services


@click.group(cls=Group)
def audit() -> None:
    """What was ordered, by whom, and why."""


@audit.command("list")
@click.option("--subject", metavar="DID_OR_CID", help="Acts on this account, or on this blob.")
@click.option("--action", type=click.Choice(ACTIONS), metavar="ACTION", help="Acts of this kind.")
@click.option("--actor", help="Acts of admin, a DID, user:NAME, pds or program.")
@click.option("--since", metavar="TIME", help="Like 2026-11-30T12:00:00Z, or 7d for a week ago.")
@click.option("--limit", type=click.IntRange(1), metavar="NUMBER", help="So many at most.")
@json_option
def list_acts(
    subject: str | None,
    action: str | None,
    actor: str | None,
    since: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """List what was ordered, the newest first: time, who, by which command or call, what, account,
    CID, reason, what was before, and after."""
    found = services().audit.acts(
        subject=None if subject is None else parse_did_or_cid(subject),
        action=action,
        actor=actor,
        since=0 if since is None else _moment(since),
    )
    config = services().config
    show_all((act_row(act, config) for act in islice(found, limit)), as_json)


def _moment(text: str) -> int:
    try:
        return services().clock() - parse_seconds(text) * 1_000_000
    except ValueError:
        return parse_datetime(text)
