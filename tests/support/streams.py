"""A stream whose reads are short, and that may fail."""


class PiecewiseStream:
    """A read returns at most the next of *sizes* bytes. After *data*, *error* is raised."""

    def __init__(self, data, sizes=(1 << 30,), error=None):
        self._data = data
        self._sizes = iter(sizes)
        self._last = 1 << 30
        self._error = error
        self.asked = 0

    def read(self, size, /):
        self.asked += 1
        self._last = next(self._sizes, self._last)
        piece, self._data = self._data[: min(size, self._last)], self._data[min(size, self._last) :]
        if not piece and self._error:
            raise self._error
        return piece
