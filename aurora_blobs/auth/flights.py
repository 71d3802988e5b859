"""Calls that are made once for all who ask for the same meanwhile, and few of them at once."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Generic, TypeVar

from aurora_blobs.errors import ServiceBusy

T = TypeVar("T")


class Flights(Generic[T]):
    """*at_once* different calls at the same time, and *waiting* threads that wait for one.

    A thread waits for the answer of a call that is under way *longest_seconds*, None is as long as
    that takes, and for a free place *patience_seconds*. Where *waiting* threads wait already, it
    waits *crowd_seconds* for the answer. Whoever has waited in vain is told *refusal*, by
    ServiceBusy.
    """

    def __init__(
        self,
        *,
        at_once: int,
        waiting: int,
        refusal: str,
        patience_seconds: float = 1,
        longest_seconds: float | None = None,
        crowd_seconds: float = 0,
    ) -> None:
        self._places = threading.BoundedSemaphore(at_once)
        self._seats = threading.BoundedSemaphore(waiting)
        self._refusal = refusal
        self._patience_seconds = patience_seconds
        self._longest_seconds = longest_seconds
        self._crowd_seconds = crowd_seconds
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[T]] = {}

    def share(self, name: str, call: Callable[[], T]) -> T:
        """What *call* returns or raises. Calls of the same *name* meanwhile share one.

        Raises ServiceBusy.
        """
        answer, leads = self._join(name)
        if leads:
            self._make(name, answer, call)
            return answer.result()
        if not self._seats.acquire(blocking=False):
            return self._awaited(answer, self._crowd_seconds)
        try:
            return self._awaited(answer, self._longest_seconds)
        finally:
            self._seats.release()

    def _awaited(self, answer: Future[T], seconds: float | None) -> T:
        done, _ = wait([answer], seconds)
        if not done:
            raise ServiceBusy(self._refusal)
        return answer.result()

    def lead(self, name: str, call: Callable[[], T]) -> bool:
        """Make *call*, unless one of that *name* is under way: then False, without waiting.

        Raises ServiceBusy, and what *call* raises.
        """
        answer, leads = self._join(name)
        if leads:
            self._make(name, answer, call)
            answer.result()
        return leads

    def _join(self, name: str) -> tuple[Future[T], bool]:
        with self._lock:
            answer = self._under_way.get(name)
            if answer is not None:
                return answer, False
            return self._under_way.setdefault(name, Future()), True

    def _make(self, name: str, answer: Future[T], call: Callable[[], T]) -> None:
        try:
            with self._place():
                made = call()
        except BaseException as error:
            self._forget(name)
            answer.set_exception(error)
        else:
            self._forget(name)
            answer.set_result(made)

    def _forget(self, name: str) -> None:
        with self._lock:
            del self._under_way[name]

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            with self._seat():
                if not self._places.acquire(timeout=self._patience_seconds):
                    raise ServiceBusy(self._refusal)
        try:
            yield
        finally:
            self._places.release()

    @contextmanager
    def _seat(self) -> Iterator[None]:
        if not self._seats.acquire(blocking=False):
            raise ServiceBusy(self._refusal)
        try:
            yield
        finally:
            self._seats.release()
