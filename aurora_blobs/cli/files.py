"""``aurora-blobs files``: this version's files for nginx, systemd and the like, and its changes."""

from pathlib import Path

import click

_PACKAGE = Path(__file__).parents[1]


def _files() -> dict[str, Path]:
    """The files by their names, which are in order."""
    paths = [_PACKAGE / "CHANGELOG.md", *(_PACKAGE / "deploy").iterdir()]
    return {path.name: path for path in sorted(paths, key=lambda path: path.name)}


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in _files() if name.startswith(incomplete)]


@click.command("files")
@click.argument("name", required=False, shell_complete=_complete)
def files(name: str | None) -> None:
    """List the deploy files of this version and CHANGELOG.md, or print the one called NAME."""
    found = _files()
    if name is None:
        click.echo("\n".join(found))
    elif name in found:
        click.echo(found[name].read_text(), nl=False)
    else:
        raise click.ClickException(f"{name}: no such file; there are {', '.join(found)}")
