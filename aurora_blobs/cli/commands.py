"""The list of the operator's commands."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from aurora_blobs.cli.accounts import account
from aurora_blobs.cli.audit import audit
from aurora_blobs.cli.backup import backup as backup_group
from aurora_blobs.cli.blob_import import import_blobs
from aurora_blobs.cli.blobs import blobs
from aurora_blobs.cli.collect import gc
from aurora_blobs.cli.database import database as database_group
from aurora_blobs.cli.export import export_blobs
from aurora_blobs.cli.files import files
from aurora_blobs.cli.fsck import fsck
from aurora_blobs.cli.give_back import give_back
from aurora_blobs.cli.migrate import migrate
from aurora_blobs.cli.mirror import follow, mirror
from aurora_blobs.cli.options import FOLDER, json_option
from aurora_blobs.cli.output import errors_in_one_line, show
from aurora_blobs.cli.scrub import scrub
from aurora_blobs.cli.takedowns import takedown
from aurora_blobs.config import effective, masked
from aurora_blobs.db import SCHEMA_VERSION, open_database
from aurora_blobs.maintenance.backup import Backup
from aurora_blobs.services import current_config, open_services, services

backup_option: Callable[[Any], Any] = click.option(
    "--backup", type=FOLDER, help="First copy an older database into this folder, a backup."
)


@click.command("init-db")
@backup_option
@with_appcontext
def init_db(backup: Path | None) -> None:
    """Create the database, or bring it to the newest schema; does nothing to one that is."""
    make_database(backup)
    with errors_in_one_line():
        services().blobs.backend.confirm()
    click.echo(f"{masked(current_config().database)} is ready")


def make_database(backup: Path | None) -> None:
    """Do what `init-db` does; *backup* is its option."""
    with errors_in_one_line():
        if backup is not None:
            _copy_older_database(Backup(backup))
        open_services(current_app, makes=True)


def _copy_older_database(backup: Backup) -> None:
    with closing(open_database(current_config().database, durable=True)) as database:
        if database.version() not in (None, SCHEMA_VERSION):
            backup.copy_database(database)
            return
    click.echo(
        "no upgrade is due, so nothing was copied; `backup make` copies a database at any time",
        err=True,
    )


@click.command("config")
@json_option
@with_appcontext
def show_config(as_json: bool) -> None:
    """Print the effective settings, secrets masked.

    Options of gunicorn, which win over BIND, WORKERS and THREADS, are not looked at: what the
    server prints at its start says where it listens.
    """
    show(effective(current_config()), as_json)
    if os.environ.get("GUNICORN_CMD_ARGS"):
        click.echo(
            "GUNICORN_CMD_ARGS is set, and is not looked at here: its -b, -w and --threads win "
            "over BIND, WORKERS and THREADS, and SIGNUPS goes by what is bound",
            err=True,
        )


for command in (gc, fsck, scrub, migrate, import_blobs, export_blobs, give_back):
    blobs.add_command(command)
COMMANDS = (
    *(init_db, show_config, files, account, blobs, takedown, audit, backup_group),
    *(database_group, follow, mirror),
)
