"""The table in docs/metrics.md, made from the metrics; ``make docs`` writes it."""

from support.pages import write_generated
from support.project import DOCS

from aurora_blobs.metrics.families import FAMILIES

PAGE = DOCS / "metrics.md"


def table() -> str:
    """The table, a line for each metric."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        lines.append(f"| `{family.name}` | {family.kind} | {labels} | {family.meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write_generated(PAGE, "metrics", table())
