"""``aurora-blobs takedown list``: what is taken down."""

from typing import Any

import click

from aurora_blobs.catalog.takedowns import EVERY_ACCOUNT, Takedown
from aurora_blobs.cli.options import json_option
from aurora_blobs.cli.output import Group, show_all
from aurora_blobs.clock import moment
from aurora_blobs.protocol.cid import shown_cid
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
    everybody = None if as_json else "every account"
    return {
        "kind": "blob" if found.cid else "account",
        "did": everybody if found.did == EVERY_ACCOUNT else found.did,
        "cid": shown_cid(found.cid, services().config.cid_format) if found.cid else None,
        "ref": found.ref,
        "createdAt": moment(found.created_at),
    }
