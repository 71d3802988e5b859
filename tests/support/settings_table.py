"""The settings table of README.md, made from the settings: ``python tests/support/settings_table.py`` writes it."""

from dataclasses import fields
from pathlib import Path

from aurora_blobs.config import PREFIX, Config

README = Path(__file__).parents[2] / "README.md"
BEGIN = "<!-- settings: made by tests/support/settings_table.py -->\n"
END = "<!-- settings end -->\n"


def table():
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


def shown():
    """The table that README.md has."""
    return README.read_text().partition(BEGIN)[2].partition(END)[0]


if __name__ == "__main__":
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    README.write_text(before + BEGIN + table() + END + rest.partition(END)[2])
