"""The operator's commands: ``aurora-blobs …``."""

from importlib import import_module
from typing import Any

import click
from flask import Flask
from flask.cli import AppGroup


class Commands(AppGroup):
    """The commands. They are imported when one is asked for, not when a server starts."""

    _is_loaded = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._load()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        self._load()
        return super().get_command(ctx, cmd_name)

    def _load(self) -> None:
        if not self._is_loaded:
            self._is_loaded = True
            module: Any = import_module("aurora_blobs.cli.commands")
            for command in module.COMMANDS:
                self.add_command(command)


def install(app: Flask) -> None:
    """Give *app* the commands."""
    app.cli = Commands()
