"""Checks stored bytes against their CID; wrong ones go to quarantine and are never served."""

import io
from collections.abc import Callable
from hashlib import sha256
from typing import BinaryIO

from aurora_blobs.accounts.hiding import finish_hiding
from aurora_blobs.catalog import blobs, inventory
from aurora_blobs.catalog.inventory import BlobRow
from aurora_blobs.db import Database
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import BlobNotFound, BlobServiceError, InsufficientStorage
from aurora_blobs.intake.spool import CHUNK
from aurora_blobs.protocol.cid import cid_of_digest
from aurora_blobs.storage.base import BlobBackend, Store


def is_intact(
    backend: BlobBackend, cid: str, throttle: Callable[[int], None] = lambda size: None
) -> bool | None:
    """Whether the bytes under *cid* are those of *cid*; None if there are none. Reads all of them.

    *throttle* gets the size of each piece in bytes and may take its time.
    """
    digest = sha256()
    try:
        with backend.open(cid) as file:
            while data := file.read(CHUNK):
                digest.update(data)
                throttle(len(data))
    except BlobNotFound:
        return None
    return cid_of_digest(digest.digest()) == cid


def quarantine(
    database: Database, backend: BlobBackend, row: BlobRow, clock: Callable[[], int]
) -> bool:
    """Move the bytes under the CID of *row* out of reach if they are wrong; whether they were.

    The blob counts as missing then, unless another store of the backend has a right copy. False
    also where row or bytes have changed since they were read: an upload healed the blob.

    Raises what the backend fails with.
    """
    backend.check_ours()
    cid = row.cid
    seen: list[tuple[Store, str | None]] = []
    right: bool | None = None
    failure: BlobServiceError | None = None
    # Bytes are read and copied outside the write lock, for which every upload would wait.
    for store in backend.stores:
        version = store.version(cid)
        right = is_intact(store, cid)
        if right:
            break
        if right is False:
            try:
                store.quarantine(cid)
            except BlobNotFound:
                return False
            except InsufficientStorage as error:
                failure = error
        seen.append((store, version))
    # What cannot be set aside stays, and is not served unless another store has a right copy.
    wrong = [] if failure else [store for store, version in seen if version is not None]
    with database.write(Spend.ALL) as tx:
        if inventory.find_row(tx, cid) != row or any(
            store.version(cid) != version for store, version in seen
        ):
            return False
        backend.check_ours(recently=True)
        for store in wrong:
            try:
                store.delete(cid)
            except BlobServiceError as error:
                failure = error
        if not right:
            blobs.mark_lost(tx, cid, clock())
    finish_hiding(database)
    # Raised after the commit: the store may have removed the bytes, and an upload must not take
    # them for stored.
    if failure is not None:
        raise failure
    return not right or bool(wrong)


def find_again(
    database: Database, backend: BlobBackend, row: BlobRow, clock: Callable[[], int]
) -> bool:
    """Count the blob of *row*, which counts as missing, as stored if its bytes are there and right.

    Reads all of them. False where they are not, and where the row has changed since it was read.
    """
    if not any(is_intact(store, row.cid) for store in backend.stores):
        return False
    with database.write(Spend.ALL) as tx:
        # Under the lock nobody is between removing bytes and changing their row.
        if inventory.find_row(tx, row.cid) != row or backend.size(row.cid) is None:
            return False
        inventory.mark_right(tx, row.cid, row.size, clock())
    return True


class VerifyingReader(io.RawIOBase):
    """A blob's bytes, hashed as they are read. Its last piece is given only if all are right."""

    def __init__(self, file: BinaryIO, cid: str, size: int, on_wrong: Callable[[], None]) -> None:
        """*on_wrong* is called before BlobNotFound is raised."""
        self._file = file
        self._cid = cid
        self._left = size
        self._on_wrong = on_wrong
        self._digest = sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if self._left == 0:
            return b""
        if size is None or size < 0:
            size = self._left
        data = self._file.read(min(size, self._left))
        self._digest.update(data)
        self._left -= len(data)
        is_whole = self._left == 0
        if not data or (is_whole and cid_of_digest(self._digest.digest()) != self._cid):
            self._on_wrong()
            raise BlobNotFound()
        return data

    def close(self) -> None:
        self._file.close()
        super().close()
