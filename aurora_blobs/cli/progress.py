"""How far a long command is: a bar on a terminal, a line now and then in a pipe; always beside the result."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

_LINE_SECONDS = 10  # between two lines in a pipe


class Meter:
    """Counts what is done of *blobs* and *bytes*."""

    def __init__(self, blobs: int, size: int, bar: Any) -> None:
        self._blobs = blobs
        self._bytes = size
        self._bar = bar
        self._done_blobs = 0
        self._done_bytes = 0
        self._began = self._told = time.monotonic()

    def add(self, size: int, *, blobs: int = 1) -> None:
        """*blobs* of *size* bytes together are done."""
        self._done_blobs += blobs
        self._done_bytes += size
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(size)
        elif now - self._told >= _LINE_SECONDS:
            self._told = now
            click.echo(self._line(now - self._began), err=True)

    def _line(self, seconds: float) -> str:
        rate = self._done_bytes / seconds
        left = (self._bytes - self._done_bytes) / rate if rate else 0
        done = f"{self._done_blobs} of {self._blobs} blobs, {amount(self._done_bytes)} of {amount(self._bytes)}"
        return f"{done}, {amount(rate)}/s, {time.strftime('%H:%M:%S', time.gmtime(max(0, left)))} left"


@contextmanager
def meter(label: str, blobs: int, size: int) -> Iterator[Meter]:
    """A meter that shows itself while the block lasts."""
    if not sys.stderr.isatty():
        yield Meter(blobs, size, None)
        return
    with click.progressbar(length=size, label=label, file=sys.stderr, show_pos=False) as bar:
        yield Meter(blobs, size, bar)


def amount(size: float) -> str:
    """*size* bytes for people, in powers of ten."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
