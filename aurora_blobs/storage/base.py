"""The seam between the service and the place where bytes lie: a few operations on CIDs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from aurora_blobs.errors import STORE_AWAY, BlobServiceError
from aurora_blobs.intake.spool import Spooled

CANARY = "probe."  # what the name of a canary begins with; one may be left behind


@dataclass(frozen=True, slots=True)
class Stored:
    """What a backend says of one blob it holds. `modified` is in microseconds since the epoch, UTC."""

    cid: str
    size: int
    modified: int


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload that broke off, of which a store keeps *size* bytes. `since` is in microseconds since the epoch, UTC.

    `remove` has it forgotten, and answers False where it is gone already.
    """

    cid: str
    size: int
    since: int
    remove: Callable[[], bool]


class BlobBackend(ABC):
    """Where bytes lie. What is temporary, taken down, owned or typed is the catalog's, never a backend's.

    CIDs are in the ``bafkrei…`` form and were checked before they get here.
    Every operation may raise BackendUnavailable or BackendTimeout.
    """

    # Whether `size` is cheap enough to be asked inside a transaction: a file system, not a network.
    stat_is_cheap = False
    # Whether `put` waits until the disk of this machine has the bytes.
    is_local_disk = False

    @abstractmethod
    def put(self, blob: Spooled) -> None:
        """Make the bytes durable under ``blob.cid``. Twice is harmless; on failure nothing shows under the CID.

        Raises InsufficientStorage.
        """

    @abstractmethod
    def open(self, cid: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        """The bytes ``[start, stop)``, to their end where *stop* is None.

        Raises BlobNotFound, also where they end before *stop*.
        """

    @abstractmethod
    def size(self, cid: str) -> int | None:
        """How many bytes are held under *cid*; None is absence."""

    @abstractmethod
    def delete(self, cid: str) -> None:
        """Remove the bytes. Absence is success."""

    @abstractmethod
    def version(self, cid: str) -> str | None:
        """What changes when other bytes come to lie under *cid*; None is absence."""

    @abstractmethod
    def quarantine(self, cid: str) -> None:
        """Copy what lies under *cid*, found to be other bytes, to where no operation looks. Raises BlobNotFound."""

    @abstractmethod
    def purge_quarantine(self, cids: Collection[str]) -> None:
        """Remove what was kept aside of *cids*."""

    @abstractmethod
    def scan(self, skipped: Callable[[str], None] | None = None) -> Iterator[Stored]:
        """Everything held, by shard and in it by CID. *skipped* gets the name of whatever is not a blob."""

    @abstractmethod
    def probe(self) -> None:
        """Write, read and delete a canary."""

    def delete_many(self, cids: Sequence[str]) -> dict[str, BlobServiceError]:
        """Remove the bytes of each of *cids*; those that could not be removed, with the reason.

        A store that is away is not waited for again and again: callers hold the database's write lock.
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

    def unfinished(self, before: int) -> Iterator[Unfinished]:
        """Uploads that broke off and do not go by themselves; nothing of them came since *before*, as `since`."""
        return iter(())

    @property
    def stores(self) -> tuple["BlobBackend", ...]:
        """The stores that this one is made of, in the order in which a blob is looked for."""
        return (self,)

    def path(self, cid: str) -> str | None:
        """Where a proxy on this machine finds *cid*, below the backend's root; None if it cannot."""
        return None

    def url(self, cid: str, *, mime_type: str, disposition: str) -> str | None:
        """A URL that gives these bytes to whoever has it, for a few minutes, with these headers; None if there is none.

        Whether the bytes are there is not looked at.
        """
        return None
