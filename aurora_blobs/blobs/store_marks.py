"""Which stores are this database's: a store carries a mark, and the database knows it.

A disk that is not mounted, or another bucket by mistake, looks like a store that has lost every
blob. So a store is believed only while it carries its mark (`Store.guard`). A store gets the mark
when it is new, when the database is of before there were marks and its blobs are there, or when the
operator says so (`adopt_stores`).
"""

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from aurora_blobs.catalog import audit, inventory, stores
from aurora_blobs.catalog.audit import PROGRAM, Author
from aurora_blobs.catalog.stores import StoreRow
from aurora_blobs.config import ConfigError
from aurora_blobs.db import Database
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import STORE_AWAY, BlobServiceError, DatabaseError, StoreNotOurs
from aurora_blobs.protocol.cid import cid_of_digest, cid_of_name
from aurora_blobs.storage.base import MARK, BlobBackend, Store

log = logging.getLogger(__name__)

# Where the search for blobs begins that a store without a mark should have, evenly spread. If a
# twentieth of all blobs lies elsewhere, 128 of them tell that with 99.9 per cent.
_STARTS = sorted(cid_of_digest(bytes([number]) + bytes(31))[:9] for number in range(0, 256, 2))
_LOOK = "is it mounted, is it the right one? Look at the mount, the path or the bucket first"
_RESTORE = "If a database was lost, `backup restore FOLDER` brings it back"
_ADOPT = (
    "If it is to be this database's as it is, `blobs fsck --adopt` makes it so: blobs in it that "
    "the database does not know count as stray then, those it knows and that are not there as "
    "missing"
)


def check_unclaimed(backend: BlobBackend, place: str, is_there: Callable[[], bool]) -> None:
    """Make sure that a database may be made at *place*, unless *is_there* says that there is one.

    A new one beside a store that has a mark would take the place of one that was lost. A store that
    does not answer is no reason against it: it is not believed before its mark was seen.

    Raises StoreNotOurs, whose message is a line for the operator.
    """
    if is_there():
        return
    for store in backend.stores:
        mark = None
        with suppress(*STORE_AWAY):
            mark = store.read_mark()
        # Others start too: one of them may have made the database by now, and then the mark.
        if mark is not None and not is_there():
            raise StoreNotOurs(
                f"no database at {place}, but {store.place} is the store of one: it carries "
                f"{MARK}. {_RESTORE}; else look at the settings of both. To begin anew, remove "
                "that file: all blobs in the store count as stray then"
            )


def guard_stores(database: Database, backend: BlobBackend, clock: Callable[[], int]) -> None:
    """Have each store of *backend* believed only while it carries the mark that *database* knows.

    A new store is marked. A store that is known is not asked yet. One that cannot be marked stays
    unbelieved: `BlobBackend.confirm` tries again, and raises StoreNotOurs, which says why. *clock*
    gives microseconds since the epoch, UTC.

    Raises OSError for a new store that cannot be made.
    """
    keeper = _Keeper(database, backend, clock)
    for store in backend.stores:
        store.guard(keeper.claim, keeper.known_mark(store))
    keeper.retire_others()


def adopt_stores(
    database: Database,
    backend: BlobBackend,
    clock: Callable[[], int],
    *,
    may_lack: Callable[[str], bool],
    by: Author = PROGRAM,
) -> list[str]:
    """Make each store of *backend* that *database* does not believe its own; their places.

    A store that is another database's is that one's no longer. *backend* is guarded already.
    *may_lack* is told of a store that lacks blobs, in a sentence, and says whether to adopt it.
    """
    keeper = _Keeper(database, backend, clock)
    adopted = []
    for store in backend.stores:
        try:
            store.confirm()
        except StoreNotOurs:
            lack = keeper.lack(store)
            if lack is None or may_lack(lack):
                keeper.adopt(store, by)
                adopted.append(store.place)
    return adopted


def hand_over_stores(
    old: Database | None, new: Database, backend: BlobBackend, clock: Callable[[], int]
) -> None:
    """Have *new*, which is to take the place of *old*, know the stores of *backend*.

    *old* is None where there was no database. It may be of any version, or damaged. *backend* is
    guarded for *new* afterwards. Marks stay as they are, so *old* knows the stores too, until it
    goes. Raises StoreNotOurs for a store of neither.
    """
    keeper = _Keeper(new, backend, clock)
    before = None if old is None else _Keeper(old, backend, clock)
    for store in backend.stores:
        mark = store.read_mark()
        if mark is None or mark != keeper.expected_mark(store):
            if before is not None and before.is_of_this_version():
                mark = before.claim(store)
            else:
                mark = keeper.take_over(store, before)
        with new.write(Spend.ALL) as tx:
            stores.replace(tx, store.kind, mark, clock())
    guard_stores(new, backend, clock)


def copy_mark(database: Database, store: Store) -> None:
    """Mark *store*, a copy of the one of its kind that *database* knows, as that one is."""
    row = _Keeper(database, store, lambda: 0).find(store)
    if row is not None:
        store.write_mark(row.mark)


class _Keeper:
    """Knows the marks in *database* for the stores of *backend*."""

    def __init__(self, database: Database, backend: BlobBackend, clock: Callable[[], int]) -> None:
        self._database = database
        self._backend = backend
        self._clock = clock

    def find(self, store: Store) -> StoreRow | None:
        """What the database knows of *store*."""
        with self._database.read() as tx:
            return stores.find(tx, store.kind)

    def is_of_this_version(self) -> bool:
        """Whether the database can be used."""
        try:
            self._database.check_version()
        except (ConfigError, DatabaseError):
            return False
        return True

    def take_over(self, store: Store, before: "_Keeper | None") -> str:
        """The mark of *store*, perhaps from now on, which this database has not made or seen.

        *before* is of the last database, which cannot be used; None if there was none.

        Raises StoreNotOurs.
        """
        mark, row = store.read_mark(), None
        if before is not None:
            with suppress(DatabaseError):  # damaged, or of a version without marks
                row = before.find(store)
        is_known = row is not None and row.marked_at is not None
        row = row or self.find(store)
        if mark is not None and row is not None:
            if mark != row.mark:
                raise _another_s(store, mark, row.mark)
            return mark
        if mark is not None or before is not None:
            # Of before there were marks, as far as is known. Its blobs have to be there.
            self._check_new(store, is_known=is_known)
        if mark is None:
            # Where there was nothing, that of the copy: what breaks off is repeated from the same.
            mark = row.mark if before is None and row is not None else _new_mark()
            with _writing(store):
                self._mark(store, mark)
        return mark

    def expected_mark(self, store: Store) -> str | None:
        """The mark that the database expects in *store*, whether or not it was seen there."""
        row = self.find(store)
        return None if row is None else row.mark

    def known_mark(self, store: Store) -> str | None:
        """The mark that *store* has to have; None if it is not known to be this database's."""
        row = self.find(store)
        if row is not None and row.marked_at is not None and next(self._sample(), None):
            return row.mark
        try:
            return self._claim(store, may_be_new=True)
        except BlobServiceError:  # `confirm` says why
            return None

    def claim(self, store: Store) -> str:
        """The mark that *store* has to have and has, perhaps from now on.

        Raises StoreNotOurs, whose message is a line for the operator.
        """
        with _writing(store):
            return self._claim(store, may_be_new=False)

    def _claim(self, store: Store, *, may_be_new: bool) -> str:
        """As `claim`. With *may_be_new*, one that was known may be new if no blob was in it."""
        row = self._expected(store)
        found = store.read_mark()
        if found is None:
            self._check_new(store, is_known=row.marked_at is not None and not may_be_new)
            self._mark(store, row.mark)
        elif found != row.mark:
            raise _another_s(store, found, row.mark)
        elif row.marked_at is None:
            with self._database.write(Spend.ALL) as tx:
                stores.set_marked(tx, row.kind, row.mark, self._clock())
        return row.mark

    def lack(self, store: Store) -> str | None:
        """What *store* has not of what the database knows, a sentence; None if it has all."""
        sample = list(self._sample())
        here = set().union(*(_found_in(other, sample) for other in self._backend.stores))
        if len(here) == len(sample):
            return None
        with self._database.read() as tx:
            total, _ = inventory.stored_totals(tx, "")
        return (
            f"{store.place} has {len(here)} of {len(sample)} blobs that were looked for, of "
            f"{total} that the database knows: those that are not there would count as missing"
        )

    def adopt(self, store: Store, by: Author) -> None:
        """Give *store* a new mark, and have it expected."""
        mark = _new_mark()
        with self._database.write(Spend.ALL) as tx:
            audit.add(tx, by, "adopt", new=store.place)
            stores.replace(tx, store.kind, mark, None)
        self._mark(store, mark)
        store.guard(self.claim, mark)

    def retire_others(self) -> None:
        """Once the stores of the settings are confirmed, others may go and come again empty."""
        kinds = {store.kind for store in self._backend.stores}
        with self._database.read() as tx:
            others = [kind for kind in stores.marked(tx) if kind not in kinds]
        if not others:
            return
        try:
            self._backend.confirm()
        except BlobServiceError:
            return
        with self._database.write(Spend.ALL) as tx:
            for kind in others:
                stores.retire(tx, kind)

    def _expected(self, store: Store) -> StoreRow:
        row = self.find(store)
        if row is None:
            with self._database.write(Spend.ALL) as tx:
                stores.expect(tx, store.kind, _new_mark())
            row = self.find(store)
        assert row is not None
        return row

    def _mark(self, store: Store, mark: str) -> None:
        store.prepare()
        store.write_mark(mark)
        with self._database.write(Spend.ALL) as tx:
            stores.set_marked(tx, store.kind, mark, self._clock())
        log.info("%s carries this database's mark now", store.place)

    def _check_new(self, store: Store, *, is_known: bool) -> None:
        """Raise StoreNotOurs unless *store*, which has no mark, may get one."""
        if is_known:
            raise StoreNotOurs(f"{store.place} has no {MARK}: {_LOOK}. {_ADOPT}")
        sample = list(self._sample())
        if not sample:
            return
        here = _found_in(store, sample)
        if 2 * len(here) >= len(sample):
            return
        for other in self._backend.stores:
            here |= _found_in(other, sample)
        if len(here) < len(sample):
            raise StoreNotOurs(
                f"{store.place} has {len(here)} of {len(sample)} blobs of the database that were "
                f"looked for: {_LOOK}. {_ADOPT}"
            )

    def _sample(self) -> Iterator[str]:
        """Some names of the database, of stored blobs if there are any."""
        with self._database.read() as tx:
            any_stored = inventory.find_next_stored(tx, "") is not None
            find_next = inventory.find_next_stored if any_stored else inventory.find_next
            last = ""
            for start in _STARTS:
                name = find_next(tx, max(start, last))
                if name is None:
                    return
                yield name
                last = cid_of_name(name)


def _found_in(store: Store, names: list[str]) -> set[str]:
    plain = store.unguarded()
    return {name for name in names if plain.size(name) is not None}


def _another_s(store: Store, found: str, expected: str) -> StoreNotOurs:
    whose = f"{found[:8]}…" if found else "that cannot be read"
    return StoreNotOurs(
        f"{store.place} is the store of another database: its {MARK} has the id {whose}, "
        f"not {expected[:8]}…. {_RESTORE}; else look at the settings first. {_ADOPT}"
    )


@contextmanager
def _writing(store: Store) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreNotOurs(f"{store.place} cannot be written: {error.strerror}") from error


def _new_mark() -> str:
    return secrets.token_hex(16)
