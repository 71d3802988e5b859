"""The clock of a test, which moves only when told."""

NOW = 1_750_000_000  # seconds since the epoch, when every clock starts


class Clock:
    """A call returns *now*, microseconds since the epoch."""

    def __init__(self):
        self.now = NOW * 1_000_000

    def __call__(self):
        return self.now

    @property
    def seconds(self):
        """*now* in whole seconds, as in tokens."""
        return self.now // 1_000_000

    def advance(self, seconds):
        self.now += int(seconds * 1_000_000)
