"""The table in docs/settings.md, made from the settings; ``make docs`` writes it."""

from dataclasses import fields

from support.pages import write_generated
from support.project import DOCS

from aurora_blobs.config import PREFIX, Config

PAGE = DOCS / "settings.md"


def table() -> str:
    """The table, a line for each setting."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for setting in fields(Config):
        default = setting.default
        if isinstance(default, tuple):
            default = ",".join(default)
        if isinstance(default, bool):
            default = int(default)
        shown = "" if default in (None, "") else f"`{default}`"
        lines.append(
            f"| `{PREFIX}{setting.name.upper()}` | {shown} | {setting.metadata['meaning']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write_generated(PAGE, "settings", table())
