"""Work on many items in a few threads, whose results come in the order of the items."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

# Items that are taken before the first result is waited for, for each thread: one large blob does
# not keep the others idle, and a store of any size fits in memory.
_AHEAD = 4

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_order(
    work: Callable[[_Item], _Result], items: Iterable[_Item], jobs: int
) -> Iterator[tuple[_Item, _Result]]:
    """Each of *items*, and what *work* returns for it in one of *jobs* threads.

    *items* is gone through in the caller's thread. What *work* raises is raised when its item is
    due, and what has not begun by then is not done.
    """
    with _pool(jobs) as pool:
        pending: deque[tuple[_Item, Future[_Result]]] = deque()
        for item in items:
            if len(pending) >= _AHEAD * jobs:
                first, future = pending.popleft()
                yield first, future.result()
            pending.append((item, pool.submit(work, item)))
        while pending:
            first, future = pending.popleft()
            yield first, future.result()


@contextmanager
def _pool(jobs: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(jobs)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
