"""``aurora-blobs run``: starts the server."""

import os
import socket
import sys
from contextlib import closing
from pathlib import Path

import click
from flask.cli import with_appcontext

from aurora_blobs.cli.commands import backup_option, make_database
from aurora_blobs.services import current_config


@click.command("run")
@backup_option
@with_appcontext
def run(backup: Path | None) -> None:
    """Create or upgrade the database, then serve, as the settings say, until SIGTERM or Ctrl-C.

    Options of gunicorn go into GUNICORN_CMD_ARGS.
    """
    _check_socket(current_config().bind)
    make_database(backup)  # nothing is said of it: the server may not start for another reason
    command = [sys.executable, "-m", "gunicorn", "-c", "python:aurora_blobs.gunicorn_conf"]
    os.execv(sys.executable, [*command, "aurora_blobs.wsgi:app"])


def _check_socket(bind: str) -> None:
    """Raise ClickException if a service listens there: gunicorn would take its socket away."""
    path = bind.removeprefix("unix:")
    if path == bind:
        return
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except TimeoutError:
            pass  # it has more connections to accept than it may leave waiting
        except OSError:
            return
    raise click.ClickException(f"a service listens at {bind} already: stop it first")
