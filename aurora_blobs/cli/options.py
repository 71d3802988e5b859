"""Options and argument types that more than one command has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

json_option: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON."
)
jobs_option: Callable[[Any], Any] = click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Blobs copied at a time.",
)
FOLDER = click.Path(file_okay=False, path_type=Path)
