"""All of the operator's commands, in one list."""

import click
from flask.cli import with_appcontext

from aurora_blobs import config as settings
from aurora_blobs.cli.accounts import account
from aurora_blobs.cli.blobs import blobs
from aurora_blobs.cli.collect import gc
from aurora_blobs.cli.moving import backup, export_blobs, import_blobs
from aurora_blobs.cli.output import json_option, show
from aurora_blobs.cli.upkeep import fsck, migrate, scrub
from aurora_blobs.services import services


@click.command("init-db")
@with_appcontext
def init_db() -> None:
    """Create the database, or bring it to the newest schema; does nothing to one that is."""
    # Putting the application together has done it: there is no state in which commands run without it.
    click.echo(f"{services().config.database} is ready")


@click.command("config")
@json_option
@with_appcontext
def show_config(as_json: bool) -> None:
    """Print the effective settings, secrets masked."""
    show(settings.effective(services().config), as_json)


for long in (gc, fsck, scrub, migrate, import_blobs, export_blobs):
    blobs.add_command(long)
COMMANDS = (init_db, show_config, account, blobs, backup)
