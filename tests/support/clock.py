"""The clock of a test: it stands still until the test moves it."""

NOW = 1_750_000_000  # seconds since the epoch: where every clock begins


class Clock:
    """Called, it gives *now*, in microseconds since the epoch."""

    def __init__(self):
        self.now = NOW * 1_000_000

    def __call__(self):
        return self.now

    @property
    def seconds(self):
        """*now* in whole seconds, as tokens have it."""
        return self.now // 1_000_000

    def advance(self, seconds):
        self.now += int(seconds * 1_000_000)
