"""Memory that the processes of the service share, a part for each worker."""

import os
from abc import ABC, abstractmethod
from weakref import WeakSet

_all: "WeakSet[Shared]" = WeakSet()


class Shared(ABC):
    """Something with *parts* in shared memory. A process that has none is alone with itself."""

    def __init__(self, parts: int) -> None:
        self.parts = parts
        self.leave()
        _all.add(self)

    @abstractmethod
    def join(self, part: int) -> None:
        """Use *part* of the shared memory, which belongs to this process alone."""

    @abstractmethod
    def leave(self) -> None:
        """Use memory of this process alone, from nothing."""


def join_all(part: int) -> None:
    """Let all that this process has be shared, if there are as many parts."""
    for shared in list(_all):
        if part < shared.parts:
            shared.join(part)


def _after_fork() -> None:
    for shared in list(_all):
        shared.leave()


os.register_at_fork(after_in_child=_after_fork)
