"""``aurora-blobs run``: starts the server."""

import os
import sys
from pathlib import Path

import click
from flask.cli import with_appcontext

from aurora_blobs.cli.commands import backup_option, make_database


@click.command("run")
@backup_option
@with_appcontext
def run(backup: Path | None) -> None:
    """Create or upgrade the database, then serve, as the settings say, until SIGTERM or Ctrl-C.

    Options of gunicorn go into GUNICORN_CMD_ARGS.
    """
    make_database(backup)  # nothing is said of it: the server may not start for another reason
    command = [sys.executable, "-m", "gunicorn", "-c", "python:aurora_blobs.gunicorn_conf"]
    os.execv(sys.executable, [*command, "aurora_blobs.wsgi:app"])
