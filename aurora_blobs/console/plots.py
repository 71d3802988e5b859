"""Bars for each of the last days, as the parts of an SVG."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aurora_blobs.catalog.daily_totals import DAY, DailyTotal
from aurora_blobs.clock import date

DAYS = 30
WIDTH, HEIGHT = 10 * DAYS, 60  # of a plot, in units of its own
_GAP = 2  # between two bars


@dataclass(frozen=True, slots=True)
class Bar:
    """A day: *day* like ``2026-11-30``, its *value*, and where its bar is in the plot."""

    day: str
    value: int
    x: int
    y: float
    width: int
    height: float


@dataclass(frozen=True, slots=True)
class Plot:
    """The bars of all `DAYS`, the last one today's. *most* is the largest value."""

    bars: list[Bar]
    most: int


def plot(totals: Sequence[DailyTotal], now: int, value: Callable[[DailyTotal], int]) -> Plot:
    """The plot of *value* of *totals*, up to *now* (microseconds since the epoch).

    A day without one has 0.
    """
    today = now // DAY * DAY
    values = {total.day: value(total) for total in totals}
    days = [today - DAY * (DAYS - 1 - number) for number in range(DAYS)]
    most = max((values.get(day, 0) for day in days), default=0)
    return Plot(
        [_bar(number, day, values.get(day, 0), most) for number, day in enumerate(days)], most
    )


def _bar(number: int, day: int, value: int, most: int) -> Bar:
    # What is not 0 can be seen.
    height = max(round(HEIGHT * value / most, 2), 1) if value else 0
    step = WIDTH // DAYS
    return Bar(date(day), value, step * number, HEIGHT - height, step - _GAP, height)
