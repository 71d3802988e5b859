"""The seam between the service and the places where bytes lie."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from aurora_blobs.errors import STORE_AWAY, BlobServiceError
from aurora_blobs.intake.spool import Spooled

CANARY = "probe."  # the name of a canary begins with it; a crash may leave one behind


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob in a scan. `modified` is in microseconds since the epoch, UTC."""

    cid: str
    size: int
    modified: int


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload to a store that broke off and left *size* bytes there.

    `since` is in microseconds since the epoch, UTC. `remove` removes it, and returns False where it
    is gone already.
    """

    cid: str
    size: int
    since: int
    remove: Callable[[], bool]


class BlobBackend(ABC):
    """Where bytes lie: a store, or two as one.

    It has five operations: put, open, size, delete, scan. Beside them, `delete_many` deletes many,
    `probe` tries the place out, `path` and `url` tell a proxy where bytes are, and `stores` are the
    single stores. What is temporary, taken down, owned or typed is the catalog's.

    CIDs are in the ``bafkrei…`` form and were checked before they get here. Every operation may
    raise BackendUnavailable or BackendTimeout.
    """

    # Whether `size` may be asked inside a transaction: of a file system, not over a network.
    stat_is_cheap = False
    # Whether `put` waits for a disk of this machine.
    is_local_disk = False

    @abstractmethod
    def put(self, blob: Spooled) -> None:
        """Make the bytes durable under ``blob.cid``. Idempotent; a failure shows no part of them.

        Raises InsufficientStorage.
        """

    @abstractmethod
    def open(self, cid: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        """The bytes ``[start, stop)``, to their end where *stop* is None.

        Raises BlobNotFound, also where they end before *stop*.
        """

    @abstractmethod
    def size(self, cid: str) -> int | None:
        """How many bytes are stored under *cid*, None if there are none."""

    @abstractmethod
    def delete(self, cid: str) -> None:
        """Remove the bytes. Idempotent."""

    @abstractmethod
    def scan(self, skipped: Callable[[str], None] | None = None) -> Iterator[Stored]:
        """All blobs, by shard and in it by CID. *skipped* gets the name of anything else."""

    def delete_many(self, cids: Sequence[str]) -> dict[str, BlobServiceError]:
        """Remove the bytes of each of *cids*; returns the failures.

        Ends at the first sign that the store is away: callers hold the database's write lock.
        """
        failures: dict[str, BlobServiceError] = {}
        for index, cid in enumerate(cids):
            try:
                self.delete(cid)
            except STORE_AWAY as error:
                return failures | dict.fromkeys(cids[index:], error)
            except BlobServiceError as error:
                failures[cid] = error
        return failures

    @abstractmethod
    def probe(self) -> None:
        """Write, read and delete a canary."""

    def path(self, cid: str) -> str | None:
        """Where a proxy on this machine finds *cid*, below the backend's root; None if nowhere."""
        return None

    def url(self, cid: str, *, mime_type: str, disposition: str) -> str | None:
        """A link to the bytes with these headers, good for minutes; None if there is none.

        Made without a look at whether the bytes are there.
        """
        return None

    @property
    @abstractmethod
    def stores(self) -> "tuple[Store, ...]":
        """The stores in it, in the order in which they are searched for a blob."""


class Store(BlobBackend):
    """One place where bytes lie, with its quarantine for bytes that are not those of their CID."""

    @property
    def stores(self) -> "tuple[Store, ...]":
        return (self,)

    @abstractmethod
    def version(self, cid: str) -> str | None:
        """A tag that changes with the bytes under *cid*; None if there are none."""

    @abstractmethod
    def quarantine(self, cid: str) -> None:
        """Copy the bytes under *cid* to the quarantine, which no other operation reads.

        Raises BlobNotFound.
        """

    @abstractmethod
    def purge_quarantine(self, cids: Collection[str]) -> None:
        """Remove what the quarantine has of *cids*."""

    def unfinished(self, before: int) -> Iterator[Unfinished]:
        """Uploads that broke off and got nothing since *before*, as in `Unfinished.since`.

        A store whose broken uploads go by themselves has none.
        """
        return iter(())
