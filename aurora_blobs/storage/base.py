"""The seam between the service and the places where bytes lie."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import BinaryIO, Self

from aurora_blobs.errors import STORE_AWAY, BlobServiceError, StoreNotOurs
from aurora_blobs.intake.spool import Spooled
from aurora_blobs.protocol.cid import cid_of_name

CANARY = "probe."  # the name of a canary begins with it; a crash may leave one behind
MARK = "aurora-store.json"  # the name of a store's mark, beside the shards
MAX_MARK_BYTES = 4096  # of a mark that is read; ours have about 50


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob in a scan. `modified` is in microseconds since the epoch, UTC."""

    name: str
    size: int
    modified: int

    @property
    def cid(self) -> str:
        """The CID in the name."""
        return cid_of_name(self.name)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload to a store, or a canary, that broke off and left *size* bytes there.

    `cid` is None for a canary. `since` is in microseconds since the epoch, UTC. `remove` removes
    it, and returns False where it is gone already.
    """

    cid: str | None
    size: int
    since: int
    remove: Callable[[], bool]


class BlobBackend(ABC):
    """Where bytes lie: a store, or two as one.

    It has five operations: put, open, size, delete, scan. Beside them, `put_many` and `delete_many`
    are for many at once, `probe` tries the place out, `path` and `url` tell a proxy where bytes
    are, and `stores` are the single stores. What is temporary, taken down, owned or typed is the
    catalog's.

    Bytes lie under names of protocol/cid.py, whose CIDs are in the ``bafkrei…`` form and were
    checked before they get here; the catalog knows which name a blob has. Every operation may raise
    BackendUnavailable or BackendTimeout. That bytes are not there is said by a store that carries
    its mark alone, if it is guarded; another one raises StoreNotOurs.
    """

    # Whether `size` may be asked inside a transaction: of a file system, not over a network.
    stat_is_cheap = False
    # Whether `put` waits for a disk of this machine.
    is_local_disk = False

    @abstractmethod
    def put(self, blob: Spooled) -> None:
        """Make the bytes durable under ``blob.name``. Idempotent; a failure shows no part of them.

        Raises InsufficientStorage.
        """

    def put_many(self, blobs: Sequence[Spooled]) -> None:
        """As `put` of each. Where one fails, the others may be there or not."""
        for blob in blobs:
            self.put(blob)

    @abstractmethod
    def open(self, name: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        """The bytes ``[start, stop)``, to their end where *stop* is None.

        Raises BlobNotFound, also where they end before *stop*.
        """

    @abstractmethod
    def size(self, name: str) -> int | None:
        """How many bytes are stored under *name*, None if there are none."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove the bytes. Idempotent."""

    @abstractmethod
    def scan(
        self,
        skipped: Callable[[str], None] | None = None,
        start: str = "",
        stop: str | None = None,
    ) -> Iterator[Stored]:
        """All blobs, by shard and in it by name. *skipped* gets the name of anything else.

        Only from the shard *start* on, and before *stop*, where they are given.
        """

    def delete_many(self, names: Sequence[str]) -> dict[str, BlobServiceError]:
        """Remove the bytes of each of *names*; returns the failures.

        Ends at the first sign that the store is away: nobody waits for each of many.
        Raises StoreNotOurs, with nothing removed.
        """
        self.check_ours(recently=True)
        failures: dict[str, BlobServiceError] = {}
        for index, name in enumerate(names):
            try:
                self.delete(name)
            except STORE_AWAY as error:
                return failures | dict.fromkeys(names[index:], error)
            except BlobServiceError as error:
                failures[name] = error
        return failures

    @abstractmethod
    def probe(self) -> None:
        """`confirm`, then write, read and delete a canary."""

    def confirm(self) -> None:
        """Make sure that each store carries its mark. Not inside a transaction: it may ask there.

        Raises StoreNotOurs.
        """
        for store in self.stores:
            store.confirm()

    def check_ours(self, *, recently: bool = False) -> None:
        """As `confirm`, by what is known already. With *recently* a look of just now will do."""
        for store in self.stores:
            store.check_ours(recently=recently)

    def path(self, name: str) -> str | None:
        """Where a proxy on this machine finds *name*, below the backend's root; None if nowhere."""
        return None

    def url(self, name: str, *, content_type: str, disposition: str) -> str | None:
        """A link to the bytes with these headers, good for minutes; None if there is none.

        Made without a look at whether the bytes are there.
        """
        return None

    @property
    @abstractmethod
    def stores(self) -> "tuple[Store, ...]":
        """The stores in it, in the order in which they are searched for a blob."""


class Store(BlobBackend):
    """One place where bytes lie, with its quarantine for bytes that are not those of their CID.

    A store carries a mark, an id that its database knows. A guarded store looks at it before it
    says that bytes are not there, before it takes or removes any, and when it is scanned or probed.
    A disk that is not mounted has nothing and has lost nothing.
    """

    kind = ""  # as in the setting STORAGE
    _claim: "Callable[[Store], str] | None" = None
    _expected_mark: str | None = None

    @property
    def stores(self) -> "tuple[Store, ...]":
        return (self,)

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is and which settings say so, for the operator."""

    @abstractmethod
    def prepare(self) -> None:
        """Make what the store needs before its first use. Idempotent."""

    @abstractmethod
    def read_mark_bytes(self) -> bytes | None:
        """The first `MAX_MARK_BYTES` of the mark; None if there is none."""

    @abstractmethod
    def write_mark_bytes(self, data: bytes) -> None:
        """Put *data* in place of the mark, durable and at once."""

    def read_mark(self) -> str | None:
        """The id in the mark, "" in one that cannot be read; None if there is no mark."""
        data = self.read_mark_bytes()
        if data is None:
            return None
        try:
            found = json.loads(data)["store"]
        except (ValueError, TypeError, LookupError):
            return ""
        return found if isinstance(found, str) else ""

    def write_mark(self, mark: str) -> None:
        """Mark the store with the id *mark*."""
        self.write_mark_bytes(json.dumps({"store": mark}).encode() + b"\n")

    def guard(self, claim: "Callable[[Store], str]", expected: str | None) -> None:
        """From now on the store has to carry the mark *expected*.

        Where it does not, *claim* is asked by `confirm`. It gives the mark that the store has to
        have and has, or raises StoreNotOurs.
        """
        self._claim = claim
        self._expected_mark = expected

    def unguarded(self) -> Self:
        """The same store, without a look at its mark."""
        plain = copy(self)
        plain._claim = None
        return plain

    def confirm(self) -> None:
        if self._claim is not None and not self._carries_mark(recently=True):
            self._expected_mark = self._claim(self)

    def check_ours(self, *, recently: bool = False) -> None:
        if self._claim is not None and not self._carries_mark(recently=recently):
            raise StoreNotOurs(f"{self.place} does not carry this database's mark, {MARK}")

    def _carries_mark(self, *, recently: bool) -> bool:
        return self._expected_mark is not None and self.read_mark() == self._expected_mark

    @abstractmethod
    def version(self, name: str) -> str | None:
        """A tag that changes with the bytes under *name*; None if there are none."""

    @abstractmethod
    def quarantine(self, name: str) -> None:
        """Copy the bytes under *name* to the quarantine, which no other operation reads.

        Raises BlobNotFound.
        """

    @abstractmethod
    def purge_quarantine(self, cids: Collection[str]) -> None:
        """Remove what the quarantine has of *cids*."""

    @abstractmethod
    def count_quarantined(self) -> int:
        """How many copies the quarantine has."""

    def unfinished(self, before: int) -> Iterator[Unfinished]:
        """What broke off and got nothing since *before*, as in `Unfinished.since`.

        A store where it goes by itself has none.
        """
        return iter(())
