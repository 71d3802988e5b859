"""Lets the service die in a scene, at any of its calls, with the power or without it."""

import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from support.crash_scenes import Scene, Site, play
from support.disk_model import ALL, BYTES, NAMES, NOTHING, Choice, Disk, some
from support.tracer import Child

_WAITING_SECONDS = 0.3  # after which a child counts as waiting for the other


@dataclass
class Death:
    """A place where the service has died.

    `answers` has what the scene's act gave, if it had returned. Not `in_order`: the disk need not
    have kept names in the order in which they were made.
    """

    site: Site
    answers: list[Any]
    where: str
    in_order: bool = True


_WAYS: list[Callable[[Disk, random.Random], Choice]] = [
    lambda disk, chance: ALL,
    lambda disk, chance: NOTHING,
    lambda disk, chance: NAMES,
    lambda disk, chance: BYTES,
    lambda disk, chance: some(chance.randrange(2**32)),
    lambda disk, chance: some(chance.randrange(2**32)),
    lambda disk, chance: disk.in_order(chance.randrange(2**32)),
    lambda disk, chance: disk.in_order(chance.randrange(2**32)),
]
WAYS = len(_WAYS)  # in which the power may fail at one moment


@dataclass
class Trial:
    """A scene, prepared in *folder*. *chance* decides what is tried and what the disk keeps."""

    scene: Scene
    folder: Path
    chance: random.Random = field(default_factory=random.Random)
    _places: int = 0
    _seen: set[tuple[bytes, bool, bool]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self._before = Site(self.folder / "before", settings=self.scene.settings)
        self.scene.prepare(self._before)

    @cached_property
    def calls(self) -> int:
        """How many steps there are in which the service may die."""
        with self.copy() as site, self.child(site) as child:
            return len(list(_steps(child)))

    def deaths(self, most: int | None) -> Iterator[Death]:
        """Killed before a call: before *most* of them, or before each."""
        for point in self._some_of(range(self.calls), most):
            with self.copy() as site:
                with self.child(site) as child:
                    where = _go(child, point)
                    answers = answers_of(child)
                yield Death(site, answers, f"killed before {where}")

    def power_failures(self, most: int | None) -> Iterator[Death]:
        """The power fails before a call: in *most* ways, or in each that differs."""
        places = [(step, way) for step in range(self.calls) for way in range(WAYS)]
        chosen = None if most is None else self._some_of(places, most)
        with self.copy() as site:
            disk = Disk(site.folder)
            with self.child(site, disk) as child:
                for step, where in enumerate(_steps(child)):
                    # A step beyond `calls` is one too: what is slow, as we make it, notes more.
                    ways = [way for way in range(WAYS) if chosen is None or (step, way) in chosen]
                    yield from self.power_failures_now(
                        disk, answers_of(child), f"before {where}", ways
                    )

    def power_failures_after_a_repetition(self) -> Iterator[Death]:
        """Killed before a call; then all is done again; when that is answered, the power fails."""
        for point in range(self.calls):
            with self.copy() as site:
                disk = Disk(site.folder)
                with self.child(site, disk) as child:
                    where = _go(child, point)
                with self.child(site, disk) as child:
                    for _ in _steps(child):
                        if answers_of(child):
                            break
                    where = f"killed before {where}, done again, answered"
                    yield from self.power_failures_now(disk, answers_of(child), where)

    def power_failures_beside_another(self) -> Iterator[Death]:
        """The power fails before a call, while another process stands at one of its own."""
        with self.copy() as site, self.child(site, act=self.scene.other, locks=True) as other:
            points = len(list(_steps(other)))
        for point in range(points):
            with self.copy() as site:
                disk = Disk(site.folder)
                with (
                    self.child(site, disk, locks=True) as child,
                    self.child(site, disk, act=self.scene.other, locks=True) as other,
                ):
                    place = _go(other, point)
                    for step in _steps(child, _WAITING_SECONDS):
                        answers = answers_of(child)
                        where = f"before {step}, the other before {place}"
                        yield from self.power_failures_now(disk, answers, where)
                        if answers:
                            break

    def power_failures_now(
        self, disk: Disk, answers: list[Any], where: str, ways: Iterable[int] = range(WAYS)
    ) -> Iterator[Death]:
        """The power fails now, in each of *ways*."""
        for way in ways:
            keep = _WAYS[way](disk, self.chance)
            state = disk.after_power_failure(keep)
            found = (state.digest, bool(answers), keep.in_order)
            if found not in self._seen:
                self._seen.add(found)
                with self._place() as site:
                    state.write_to(site.folder)
                    how = f"power failure {where}; on the disk: {keep}"
                    yield Death(site, answers, how, in_order=keep.in_order)

    def _some_of(self, things: Any, most: int | None) -> list[Any]:
        things = list(things)
        if most is None or most >= len(things):
            return things
        return sorted(self.chance.sample(things, most))

    @contextmanager
    def _place(self) -> Iterator[Site]:
        self._places += 1
        site = self._before.at(self.folder / str(self._places))
        try:
            yield site
        finally:
            shutil.rmtree(site.folder, ignore_errors=True)

    @contextmanager
    def copy(self) -> Iterator[Site]:
        """A site of its own, as the scene begins."""
        with self._place() as site:
            shutil.copytree(self._before.folder, site.folder, symlinks=True)
            yield site

    @contextmanager
    def child(
        self,
        site: Site,
        disk: Disk | None = None,
        *,
        act: Callable[..., Any] | None = None,
        locks: bool = False,
    ) -> Iterator[Child]:
        """A process that stands where the scene begins; killed when the block ends."""
        happened = {} if disk is None else {"happened": disk.happened}
        child = Child(play(self.scene, site, act), site.folder, locks=locks, **happened)
        try:
            while not child.answers:
                child.advance()
            yield child
        finally:
            child.kill()


def _steps(child: Child, seconds: float = 60) -> Iterator[str]:
    """Each place where *child* stands, in words, until it has ended or waits for *seconds*."""
    where = "its first call"
    while True:
        yield where
        if child.has_ended:
            return
        try:
            call = child.advance(seconds)
        except TimeoutError:
            return
        where = str(call) if call is not None else "what follows its answer"


def _go(child: Child, point: int) -> str:
    """Let *child* go on to its step *point*, or to its end: beside another it may have fewer."""
    return list(islice(_steps(child), point + 1))[-1]


def answers_of(child: Child) -> list[Any]:
    """What its act gave, if it has returned."""
    return [answer for told, answer in child.answers if told == "answered"]


def go_before(child: Child, call: str, path: str, *, times: int = 1) -> None:
    """Let *child* go on to its *times*-th *call* of a path that has *path* in it, no further."""
    while (next_call := child.advance()) is not None:
        if next_call.name == call and path in next_call.paths[0]:
            times -= 1
            if times == 0:
                return
    raise AssertionError(f"it never came to a {call} of {path}")


def finish(child: Child) -> list[Any]:
    """Let *child* go on until it answers."""
    while not answers_of(child):
        child.advance()
    return answers_of(child)
