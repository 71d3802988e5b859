"""``aurora-blobs files``: the files of this version for nginx, systemd and the like."""

from pathlib import Path

import click

_FOLDER = Path(__file__).parents[1] / "deploy"


@click.command("files")
@click.argument("name", required=False)
def files(name: str | None) -> None:
    """List the deploy files of this version, or print the one called NAME."""
    names = sorted(path.name for path in _FOLDER.iterdir())
    if name is None:
        click.echo("\n".join(names))
    elif name in names:
        click.echo((_FOLDER / name).read_text(), nl=False)
    else:
        raise click.ClickException(f"{name}: no such file; there are {', '.join(names)}")
