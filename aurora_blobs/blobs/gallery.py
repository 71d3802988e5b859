"""The entries of all accounts for somebody who looks through them: filtered, a page at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from aurora_blobs.catalog import blobs
from aurora_blobs.catalog.blobs import Holding, Place, State
from aurora_blobs.db import Database, Transaction

PAGE = 48
_STEP = 1000  # entries per statement
_LOOKED_AT = 5000  # entries for one page, which ends then, whatever it has found


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries: of *did*, of a media type that begins with *type*, in *state*.

    Sizes are in bytes, times in microseconds since the epoch: from *since* on, before *until*. None
    wants any.
    """

    did: str | None = None
    type: str = ""
    state: State | None = None
    min_bytes: int | None = None
    max_bytes: int | None = None
    since: int | None = None
    until: int | None = None

    def has(self, held: Holding) -> bool:
        """Whether *held* is among them."""
        entry = held.entry
        return (
            self.did in (None, entry.did)
            and entry.mime_type.startswith(self.type)
            and self.state in (None, held.state)
            and (self.min_bytes is None or entry.size >= self.min_bytes)
            and (self.max_bytes is None or entry.size <= self.max_bytes)
            and (self.since is None or entry.created_at >= self.since)
            and (self.until is None or entry.created_at < self.until)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Up to `PAGE` entries. *after* is where to go on, None at the end.

    A page may have few entries, or none, and not be the last: it looks at so many and no more.
    """

    holdings: list[Holding]
    after: Place | None


def look(database: Database, wanted: Wanted, after: Place | None) -> Page:
    """The page of *wanted* after *after*: the newest first; what is lost or taken down by CID."""
    source = _source(wanted)
    place = after or source.begin
    found: list[Holding] = []
    for _ in range(_LOOKED_AT // source.step):
        with database.read() as tx:
            entries = source.find(tx, place, source.step)
        for held in entries:
            entry = held.entry
            if source.is_by_time and wanted.since is not None and entry.created_at < wanted.since:
                return Page(found, None)
            if wanted.has(held):
                if len(found) == PAGE:
                    return Page(found, place)
                found.append(held)
            place = (entry.created_at, entry.did, entry.cid)
        if len(entries) < source.step:
            return Page(found, None)
    return Page(found, place)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Where entries come from: *find* gives *step* at most after a place, at first after *begin*.

    Where all of them are wanted, a page is one statement. So it is where each statement sorts all
    that there is: of an account, or what is lost or taken down.
    """

    find: Callable[[Transaction, Place, int], list[Holding]]
    begin: Place
    step: int
    is_by_time: bool


def _source(wanted: Wanted) -> _Source:
    begin = (2**62 if wanted.until is None else wanted.until, "", "")
    if wanted.did is not None:
        step = PAGE + 1 if wanted == Wanted(did=wanted.did) else _LOOKED_AT
        find = partial(_newest_of, wanted.did)
        return _Source(find=find, begin=begin, step=step, is_by_time=True)
    by_cid = {"missing": blobs.lost, "takendown": blobs.taken_down}
    if wanted.state in by_cid:
        step = PAGE + 1 if wanted == Wanted(state=wanted.state) else _LOOKED_AT
        find = partial(_by_cid, by_cid[wanted.state])
        return _Source(find=find, begin=(0, "", ""), step=step, is_by_time=False)
    step = PAGE + 1 if wanted == Wanted() else _STEP
    return _Source(find=blobs.newest, begin=begin, step=step, is_by_time=True)


def _by_cid(
    find: Callable[[Transaction, tuple[str, str], int], list[Holding]],
    tx: Transaction,
    after: Place,
    limit: int,
) -> list[Holding]:
    _, did, cid = after
    return find(tx, (cid, did), limit)


def _newest_of(did: str, tx: Transaction, before: Place, limit: int) -> list[Holding]:
    return blobs.newest_of(tx, did, before, limit)
