"""``aurora-blobs takedown list``: what is taken down."""

from typing import Any

import click

from aurora_blobs.api.serializers import takedown_row
from aurora_blobs.catalog.takedowns import Takedown
from aurora_blobs.cli.options import json_option
from aurora_blobs.cli.output import Group, show_all
from aurora_blobs.services import services


@click.group(cls=Group)
def takedown() -> None:
    """What is taken down. `account takedown` and `blobs takedown` do and undo it."""


@takedown.command("list")
@json_option
def list_takedowns(as_json: bool) -> None:
    """List takedowns, of accounts first: kind, account, CID, reference, time.

    A blob may be taken down for every account (in JSON the DID is null), and an account may be
    deleted by now.
    """
    show_all((_row(found, as_json) for found in services().moderation.takedowns()), as_json)


def _row(found: Takedown, as_json: bool) -> dict[str, Any]:
    row = takedown_row(found, services().config)
    return row if as_json or row["did"] else {**row, "did": "every account"}
