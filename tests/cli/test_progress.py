"""The progress of long commands."""

from aurora_blobs.cli.progress import Meter


def test_the_rate_is_a_recent_average(capsys):
    seconds = iter([0, 10, 20]).__next__
    meter = Meter(4, 4_000_000, None, seconds)

    meter.add(2_000_000, blobs=2)  # what an earlier run has done
    meter.add(1_000_000)

    assert capsys.readouterr().err.splitlines()[-1] == (
        "3 of 4 blobs, 3.0 MB of 4.0 MB, 100.0 kB/s, 00:00:10 left"
    )


class Bar:
    def __init__(self) -> None:
        self.shown: list[tuple[int, str]] = []

    def update(self, size: int, rate: str) -> None:
        self.shown.append((size, rate))


def test_a_bar_shows_the_rate():
    bar = Bar()
    meter = Meter(2, 3_000_000, bar, iter([0, 1, 2]).__next__)

    meter.add(1_000_000)
    meter.add(2_000_000)

    assert bar.shown == [(1_000_000, ""), (2_000_000, "1.5 MB/s")]
