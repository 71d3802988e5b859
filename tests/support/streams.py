"""A stream that comes in pieces, and may fail."""


class PiecewiseStream:
    """A stream that gives its *data* in pieces of the given sizes, whatever is asked for; *error* comes after them."""

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
