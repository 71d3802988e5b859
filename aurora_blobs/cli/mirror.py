"""``aurora-blobs follow`` keeps what PDSes publish, ``aurora-blobs mirror status`` says how far."""

import click
from flask.cli import with_appcontext

from aurora_blobs.cli.options import json_option
from aurora_blobs.cli.output import Group, errors_in_one_line, show_all
from aurora_blobs.cli.signals import stop_on_signals
from aurora_blobs.mirror.follower import follow as follow_all
from aurora_blobs.mirror.recheck import accept as accept_refusals
from aurora_blobs.mirror.status import statuses, with_alarmed
from aurora_blobs.mirror.stream import check_library
from aurora_blobs.services import current_config, services


@click.command("follow")
@with_appcontext
def follow() -> None:
    """Keep what the PDSes of AURORA_BLOBS_FOLLOW publish, until SIGTERM or Ctrl-C.

    Needs AURORA_BLOBS_MIRROR=pds. Where another process follows the same PDS, this one waits. With
    AURORA_BLOBS_MIRROR=network it keeps what is here true to the PDSes that it is from.
    """
    with errors_in_one_line():
        is_network = current_config().mirror == "network"
        if current_config().mirror == "off":
            raise current_config().refusal("mirror", "pds, with AURORA_BLOBS_FOLLOW, or network")
        if not is_network:
            check_library()
        found = services()
    stop = stop_on_signals()
    with errors_in_one_line():
        if is_network:
            found.keeper().run(stop)
            return
        follow_all(
            found.config,
            found.mirrored_blobs,
            found.identities,
            found.leases,
            found.clock,
            stop,
        )


@click.group("mirror", cls=Group)
def mirror() -> None:
    """What is here of the PDSes that are followed."""


@mirror.command("status")
@json_option
def status(as_json: bool) -> None:
    """For each PDS: where its stream is, what is here of it, and what is missing."""
    show_all(statuses(services().database, current_config().follow), as_json)


@mirror.command("accept")
def accept() -> None:
    """End the alarms: what a PDS has refused twice is hidden, and what is over is collected."""
    found = services()
    for url in list(with_alarmed(found.database, found.config.follow)):
        count = accept_refusals(found.database, url, found.clock())
        click.echo(f"{url}: {count} blobs are hidden now")
