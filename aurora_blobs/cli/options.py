"""Options and argument types that more than one command has."""

import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from aurora_blobs.accounts.moderation import is_utf8
from aurora_blobs.catalog.audit import MAX_REASON, Author

_NO_LOG_IN = 2**32 - 1  # what Linux has for a process that no log-in has led to


def _author(ctx: click.Context, param: click.Parameter, reason: str | None) -> Author:
    if reason is not None and (len(reason) > MAX_REASON or not is_utf8(reason)):
        raise click.BadParameter(f"accepted are up to {MAX_REASON} characters of UTF-8")
    words: list[str] = []
    while ctx.parent is not None:
        words.insert(0, ctx.info_name or "")
        ctx = ctx.parent
    return Author(f"user:{_system_user()}", " ".join(words), reason or None)


def _system_user() -> str:
    """Who runs the command: who logged in, also behind sudo and runuser, else the process's user.

    https://man7.org/linux/man-pages/man5/proc_pid_loginuid.5.html
    """
    try:
        uid = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        uid = _NO_LOG_IN
    if uid == _NO_LOG_IN:
        uid = os.getuid()
    return user_name(uid)


def user_name(uid: int) -> str:
    """The name of the system's user *uid*; the number, if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


by_option: Callable[[Any], Any] = click.option(
    "--reason", "by", callback=_author, help="Why; `audit list` shows it."
)

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


class _Folder(click.Path):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":  # what a shell makes of an unset variable; Path takes it for "."
            self.fail("an empty name is no folder", param, ctx)
        return super().convert(value, param, ctx)


# Not `readable`: click would say so in three lines, and only of a folder that can be reached.
FOLDER = _Folder(file_okay=False, readable=False, path_type=Path)


def not_empty(text: str) -> str:
    """*text*. Raises BadParameter where there is none."""
    if not text:
        raise click.BadParameter("an empty name is none")
    return text


def existing_folder(name: str) -> Path:
    """The folder *name*. Raises ClickException where there is none."""
    if not Path(name).is_dir():
        raise click.ClickException(f"{name}: no such folder")
    return Path(name)
