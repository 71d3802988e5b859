"""How commands print: text for people, JSON for programs, one line for an error."""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from typing import Any

import click
from flask.cli import AppGroup

from aurora_blobs.cli.options import user_name
from aurora_blobs.config import ConfigError
from aurora_blobs.errors import BlobServiceError, DatabaseError
from aurora_blobs.logs import printable
from aurora_blobs.services import NoDatabase

_PAGE = 200  # lines that are held back to make columns of them


class Group(AppGroup):
    """A group whose commands end as `errors_in_one_line` says."""

    def invoke(self, ctx: click.Context) -> Any:
        with errors_in_one_line():
            return super().invoke(ctx)


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """End the command with one line and status 1 on an error of the service, or of a file."""
    try:
        yield
    except (ConfigError, NoDatabase) as error:
        sys.exit(f"aurora_blobs: {error}")
    except BlobServiceError as error:
        raise click.ClickException(printable(error.message)) from None
    except (ValueError, DatabaseError) as error:
        raise click.ClickException(printable(str(error))) from None
    except OSError as error:
        if error.filename is None:  # no file: a socket, a pipe
            raise
        raise click.ClickException(printable(_of_file(error))) from None


def _of_file(error: OSError) -> str:
    said = f"{error.filename}: {error.strerror}"
    if not isinstance(error, PermissionError):
        return said
    user = user_name(os.geteuid())
    return f"{said}: the user {user}, who runs this, needs access to it and to its folder"


def show(values: Mapping[str, object], as_json: bool) -> None:
    """Print the properties of one thing, a line each."""
    if as_json:
        click.echo(_json(values))
        return
    width = max(map(len, values), default=0)
    for name, value in values.items():
        click.echo(f"{name:<{width}}  {_plain(value)}".rstrip())


def show_all(rows: Iterable[Mapping[str, object]], as_json: bool) -> None:
    """Print many things, a line each; for people, below the names of the columns.

    A terminal gets columns, a pipe a tab between two values.
    """
    if as_json:
        for row in rows:
            click.echo(_json(row))
    elif sys.stdout.isatty():
        _show_columns(_lines(rows))
    else:
        for line in _lines(rows):
            click.echo("\t".join(line))


def _lines(rows: Iterable[Mapping[str, object]]) -> Iterator[list[str]]:
    """The texts of *rows*, as they come, below the names of the columns."""
    for number, row in enumerate(rows):
        if number == 0:
            yield list(row)
        yield list(map(_plain, row.values()))


def _show_columns(lines: Iterator[list[str]]) -> None:
    widths: list[int] = []
    while page := list(islice(lines, _PAGE)):
        here = [max(map(len, column)) for column in zip(*page, strict=True)]
        widths = list(map(max, here, widths or here))
        for line in page:
            cells = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
            click.echo("  ".join(cells).rstrip())


def properties(record: Any) -> dict[str, Any]:
    """The fields of *record*, a dataclass, under the names that JSON has for them."""
    return {camel_case(name): value for name, value in asdict(record).items()}


def camel_case(name: str) -> str:
    """*name*, words with spaces or underscores, as a key of JSON."""
    return re.sub("[ _]([a-z])", lambda match: match[1].upper(), name)


def _json(values: Mapping[str, object]) -> str:
    return printable(json.dumps(values, ensure_ascii=False))


def _plain(value: object) -> str:
    return "" if value is None else printable(str(value))
