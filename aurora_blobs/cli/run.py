"""``aurora-blobs run``: starts the server."""

import os
import sys
from pathlib import Path

import click
from flask.cli import with_appcontext

from aurora_blobs.cli.commands import backup_option, init_db


@click.command("run")
@backup_option
@click.pass_context
@with_appcontext
def run(ctx: click.Context, backup: Path | None) -> None:
    """Create or upgrade the database, then serve, as the settings say, until SIGTERM or Ctrl-C.

    Options of gunicorn go into GUNICORN_CMD_ARGS.
    """
    ctx.invoke(init_db, backup=backup)
    sys.stdout.flush()
    command = [sys.executable, "-m", "gunicorn", "-c", "python:aurora_blobs.gunicorn_conf"]
    os.execv(sys.executable, [*command, "aurora_blobs.wsgi:app"])
