"""``aurora-blobs files``: the files of this version for nginx, systemd and the like."""

from pathlib import Path

import click

_FOLDER = Path(__file__).parents[1] / "deploy"


def _names() -> list[str]:
    return sorted(path.name for path in _FOLDER.iterdir())


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in _names() if name.startswith(incomplete)]


@click.command("files")
@click.argument("name", required=False, shell_complete=_complete)
def files(name: str | None) -> None:
    """List the deploy files of this version, or print the one called NAME."""
    if name is None:
        click.echo("\n".join(_names()))
    elif name in _names():
        click.echo((_FOLDER / name).read_text(), nl=False)
    else:
        raise click.ClickException(f"{name}: no such file; there are {', '.join(_names())}")
