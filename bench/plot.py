"""The figures as a plot: megabytes a second against size, uploads left and downloads right."""

import math
from typing import Any

from cases import SIZES, name_of

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _GAP = 380, 300, 56, 56, 44, 150
_LINES = {  # contestant: its name in the plot, its colour, whether it is dashed
    "sink, unix": ("C sink, Unix socket", "#9aa0a6", True),
    "sink, tcp": ("C sink, TCP", "#9aa0a6", True),
    "nginx, tcp": ("nginx, plain file", "#9aa0a6", True),
    "ours, unix": ("Unix socket", "#0b57d0", False),
    "ours, tcp": ("TCP", "#1a9850", False),
    "ours behind nginx, tcp": ("behind nginx", "#8e44ad", False),
    "reference, tcp": ("reference PDS", "#d1495b", False),
}


def as_svg(rows: list[dict[str, Any]], title: str, connections: int = 8) -> str:
    """*rows* at *connections* at once, on logarithmic axes."""
    panels = []
    for number, work in enumerate(("upload", "download")):
        chosen = [row for row in rows if row["work"] == work and row["connections"] == connections]
        panels.append(_panel(chosen, f"{work}, MB/s", number * (_LEFT + _WIDTH + _GAP) + _LEFT))
    width, height = 2 * (_LEFT + _WIDTH + _GAP), _TOP + _HEIGHT + _BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{width}" height="{height}" fill="white"/>\n'
        f'<text x="{_LEFT}" y="20" font-size="14">{title}</text>\n'
        + "\n".join(panels)
        + "\n</svg>\n"
    )


def _panel(rows: list[dict[str, Any]], title: str, left: int) -> str:
    rates = [row["megabytes"] for row in rows] or [1, 10]
    low, high = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)))

    def y(rate: float) -> float:
        return _TOP + _HEIGHT * (high - math.log10(rate)) / (high - low)

    def x(size: int) -> float:
        first, last = math.log(SIZES[0]), math.log(SIZES[-1])
        return left + 16 + (_WIDTH - 32) * (math.log(size) - first) / (last - first)

    parts = [f'<text x="{left}" y="{_TOP - 12}" font-weight="bold">{title}</text>']
    for power in range(low, high + 1):
        at = y(10**power)
        parts.append(f'<path d="M{left} {at:.1f}h{_WIDTH}" stroke="#e0e0e0"/>')
        parts.append(
            f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{10**power:,g}</text>'
        )
    for size in SIZES:
        parts.append(
            f'<text x="{x(size):.1f}" y="{_TOP + _HEIGHT + 18}" text-anchor="middle">'
            f"{name_of(size)}</text>"
        )
    labels = []
    for who, (name, colour, dashed) in _LINES.items():
        points = sorted((row["size"], row["megabytes"]) for row in rows if row["who"] == who)
        if not points:
            continue
        line = " ".join(f"{x(size):.1f},{y(rate):.1f}" for size, rate in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        )
        labels.append((y(points[-1][1]), name, colour))
    at = -math.inf
    for wanted, name, colour in sorted(labels):
        at = max(wanted + 4, at + 15)  # labels of lines that end together stand below each other
        parts.append(f'<text x="{left + _WIDTH + 2}" y="{at:.1f}" fill="{colour}">{name}</text>')
    return "\n".join(parts)
