"""How long a request waits for the database, with all its transactions together."""

import threading


class _Thread(threading.local):
    waited_seconds: float | None = None  # of the request that it answers; None without one


_thread = _Thread()


class OneRequest:
    """Around a request: what one of its transactions has waited, the next ones have less."""

    def __enter__(self) -> None:
        _thread.waited_seconds = 0.0

    def __exit__(self, *_: object) -> None:
        _thread.waited_seconds = None


def note_wait(seconds: float) -> None:
    """Note that the present request, if there is one, has waited for *seconds*."""
    if _thread.waited_seconds is not None:
        _thread.waited_seconds += seconds


def left_of(seconds: float, *, at_least: float) -> float:
    """What the present request has left of *seconds*, but *at_least* so many; else all of them."""
    return min(seconds, max(at_least, seconds - (_thread.waited_seconds or 0.0)))
