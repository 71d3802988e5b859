"""The list of the operator's commands."""

import click
from flask.cli import with_appcontext

from aurora_blobs.cli.accounts import account
from aurora_blobs.cli.backup import backup
from aurora_blobs.cli.blob_import import import_blobs
from aurora_blobs.cli.blobs import blobs
from aurora_blobs.cli.collect import gc
from aurora_blobs.cli.export import export_blobs
from aurora_blobs.cli.fsck import fsck
from aurora_blobs.cli.migrate import migrate
from aurora_blobs.cli.options import json_option
from aurora_blobs.cli.output import show
from aurora_blobs.cli.scrub import scrub
from aurora_blobs.config import effective
from aurora_blobs.services import services


@click.command("init-db")
@with_appcontext
def init_db() -> None:
    """Create the database, or bring it to the newest schema; does nothing to one that is."""
    # Done by create_app already: no command runs without a database.
    click.echo(f"{services().config.database} is ready")


@click.command("config")
@json_option
@with_appcontext
def show_config(as_json: bool) -> None:
    """Print the effective settings, secrets masked."""
    show(effective(services().config), as_json)


for command in (gc, fsck, scrub, migrate, import_blobs, export_blobs):
    blobs.add_command(command)
COMMANDS = (init_db, show_config, account, blobs, backup)
