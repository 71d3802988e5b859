"""The progress of a long command on standard error: a bar on a terminal, else a line at times."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

_LINE_SECONDS = 10  # between two lines
_BAR_SECONDS = 2  # between two measurements of the rate that a bar shows


class Meter:
    """Counts what is done of *blobs* blobs with *size* bytes. *clock* gives seconds.

    `done_blobs` and `done_bytes` are the counts.

    The rate is that of the last seconds, not of the whole run: a job that is continued skips what
    is done already in no time.
    """

    def __init__(
        self, blobs: int, size: int, bar: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._blobs = blobs
        self._bytes = size
        self._bar = bar
        self._clock = clock
        self.done_blobs = self.done_bytes = 0
        self._marked_bytes = 0
        self._marked_at = clock()
        self._rate = ""

    def add(self, size: int, *, blobs: int = 1) -> None:
        """Count *blobs* more as done, with *size* bytes together."""
        self.done_blobs += blobs
        self.done_bytes += size
        now = self._clock()
        seconds = now - self._marked_at
        if seconds >= (_LINE_SECONDS if self._bar is None else _BAR_SECONDS):
            rate = (self.done_bytes - self._marked_bytes) / seconds
            self._rate = f"{self._words(rate)}/s"
            self._marked_bytes, self._marked_at = self.done_bytes, now
            if self._bar is None:
                click.echo(self._line(rate), err=True)
        if self._bar is not None:
            self._bar.update(size, self._rate)

    def _line(self, rate: float) -> str:
        left = (self._bytes - self.done_bytes) / rate if rate else 0
        time_left = time.strftime("%H:%M:%S", time.gmtime(max(0, left)))
        return f"{self._done()}, {self._rate}, {time_left} left"

    def _done(self) -> str:
        blobs = f"{self.done_blobs} of {self._blobs} blobs"
        return f"{blobs}, {amount(self.done_bytes)} of {amount(self._bytes)}"

    def _words(self, size: float) -> str:
        return amount(size)


class RowMeter(Meter):
    """Counts rows in place of bytes, each of *size* rows *passes* times."""

    def __init__(self, size: int, passes: int, bar: Any) -> None:
        super().__init__(0, passes * size, bar)
        self._passes = passes

    def _done(self) -> str:
        done, size = (count // self._passes for count in (self.done_bytes, self._bytes))
        return f"{done} of {size} rows"

    def _words(self, size: float) -> str:
        return f"{size / self._passes:.0f} rows"


@contextmanager
def meter(label: str, blobs: int, size: int) -> Iterator[Meter]:
    """A meter that is shown until the block ends."""
    with _bar(label, size) as bar:
        yield Meter(blobs, size, bar)


@contextmanager
def row_meter(label: str, rows: int, passes: int) -> Iterator[RowMeter]:
    """As `meter`, of *rows* rows that are gone through *passes* times."""
    with _bar(label, passes * rows) as bar:
        yield RowMeter(rows, passes, bar)


@contextmanager
def _bar(label: str, length: int) -> Iterator[Any]:
    """A bar on a terminal, else None."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr, item_show_func=str) as bar:
        yield bar


def amount(size: float) -> str:
    """*size* bytes for people, in units of powers of ten."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
