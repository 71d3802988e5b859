"""Checks stored bytes against their CID; wrong ones go to quarantine and are never served."""

import io
from collections.abc import Callable
from hashlib import sha256
from typing import BinaryIO

from aurora_blobs.accounts.hiding import finish_hiding
from aurora_blobs.blobs.deletion import finish_removals
from aurora_blobs.catalog import blobs, inventory, removals
from aurora_blobs.catalog.inventory import BlobRow
from aurora_blobs.catalog.removals import Removal
from aurora_blobs.db import Database, blob_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import BlobNotFound, BlobServiceError, InsufficientStorage
from aurora_blobs.intake.spool import CHUNK
from aurora_blobs.protocol.cid import cid_of_digest, cid_of_name
from aurora_blobs.storage.base import BlobBackend, Store


def is_intact(
    backend: BlobBackend, name: str, throttle: Callable[[int], None] = lambda size: None
) -> bool | None:
    """Whether the bytes under *name* are those of its CID; None if there are none. Reads them all.

    *throttle* gets the size of each piece in bytes and may take its time.
    """
    digest = sha256()
    try:
        with backend.open(name) as file:
            while data := file.read(CHUNK):
                digest.update(data)
                throttle(len(data))
    except BlobNotFound:
        return None
    return cid_of_digest(digest.digest()) == cid_of_name(name)


def quarantine(
    database: Database, backend: BlobBackend, row: BlobRow, clock: Callable[[], int]
) -> bool:
    """Move the bytes under the name of *row* out of reach if they are wrong; whether they were.

    The blob counts as missing then, under another name, unless another store of the backend has a
    right copy. False also where row or bytes have changed since they were read: an upload healed
    the blob.

    Raises what the backend fails with.
    """
    backend.check_ours()
    seen: list[tuple[Store, str | None]] = []
    wrong: list[Store] = []
    right: bool | None = None
    failure: BlobServiceError | None = None
    for store in backend.stores:
        version = store.version(row.name)
        right = is_intact(store, row.name)
        if right:
            break
        if right is False:
            try:
                store.quarantine(row.name)
            except BlobNotFound:
                return False
            except InsufficientStorage as error:
                failure = error
            wrong.append(store)
        seen.append((store, version))
    if any(store.version(row.name) != version for store, version in seen):
        return False
    if failure is not None:
        # What cannot be set aside stays, and is not served unless another store has a right copy.
        wrong = []
    begun: list[Removal] = []
    backend.check_ours(recently=True)
    with database.write(Spend.ALL, keys=(blob_key(row.cid),)) as tx:
        if inventory.find_row(tx, row.cid) != row:
            return False
        if not right:
            now = clock()
            blobs.mark_lost(tx, row.cid, now)
            if wrong:
                blobs.renumber(tx, row.cid, removals.new_number())
                begun = removals.begin(tx, [row.name], now)
    finish_hiding(database)
    # NOTE: where another store has a right copy the blob keeps the name. A deletion that comes very
    # late may take a copy that was made meanwhile, never the right one.
    for store in wrong if right else ():
        store.delete(row.name)
    failures = finish_removals(database, backend, begun, Spend.ALL)
    # Raised after the commit: an upload must not take the bytes for stored.
    failure = failures.get(row.name, failure)
    if failure is not None:
        raise failure
    return not right or bool(wrong)


def find_again(
    database: Database, backend: BlobBackend, row: BlobRow, clock: Callable[[], int]
) -> bool:
    """Count the blob of *row*, which counts as missing, as stored if its bytes are there and right.

    Reads all of them. False where they are not, and where the row has changed since it was read.
    """
    if not any(is_intact(store, row.name) for store in backend.stores):
        return False
    with database.write(Spend.ALL, keys=(blob_key(row.cid),)) as tx:
        if inventory.find_row(tx, row.cid) != row:
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
