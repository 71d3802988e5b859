"""Removes bytes that no account holds any more, one by one or with their account."""

import logging
from collections.abc import Callable, Sequence

from aurora_blobs.auth.session import MAX_ACCESS_SECONDS, SKEW_SECONDS
from aurora_blobs.catalog import accounts, blobs
from aurora_blobs.db import Database, Transaction
from aurora_blobs.errors import STORE_AWAY, BlobServiceError
from aurora_blobs.storage.base import BlobBackend

log = logging.getLogger(__name__)

_STEP = 100  # blobs deleted in one transaction: short enough that uploads do not wait for long


def delete_unowned(
    database: Database, backend: BlobBackend, cids: Sequence[str], clock: Callable[[], int]
) -> list[str]:
    """Remove those of *cids* that no account holds; which ones they were.

    *clock* gives microseconds since the epoch, UTC. Raises what the backend fails with. The
    collector removes later what a failed backend has kept.
    """
    return delete_unowned_if(lambda tx: True, database, backend, cids, clock) or []


def delete_unowned_if(
    check: Callable[[Transaction], bool],
    database: Database,
    backend: BlobBackend,
    cids: Sequence[str],
    clock: Callable[[], int],
) -> list[str] | None:
    """As `delete_unowned`, if *check* agrees in the same transaction; None if it does not.

    Follows the locking rule of catalog/blobs.py.
    """
    with database.write() as tx:
        if not check(tx):
            return None
        now = clock()
        unowned = [cid for cid in cids if blobs.may_go(tx, cid)]
        try:
            failures = backend.delete_many(unowned)
        except BlobServiceError as error:
            failures = dict.fromkeys(unowned, error)
        # A failed delete leaves the bytes in an unknown state. Their rows are reset in the same
        # commit, so that a concurrent upload sends the bytes again.
        for cid in failures:
            blobs.mark_lost(tx, cid, now)
        gone = [cid for cid in unowned if cid not in failures]
        for cid in gone:
            blobs.forget(tx, cid)
    if failures:
        raise next(iter(failures.values()))
    return gone


def delete_account(
    database: Database, backend: BlobBackend, did: str, clock: Callable[[], int]
) -> list[str]:
    """Remove *did* and the bytes that no other account holds; the CIDs of these bytes.

    Bytes in quarantine go too. Takedowns of its blobs stay, and keep their bytes. The collector
    removes later what a store that is away has kept. *clock* gives microseconds since the epoch,
    UTC.
    """
    with database.write() as tx:
        now = clock()
        cids = sorted(blobs.cids_of(tx, did))  # in the order of their folders
        if accounts.delete(tx, did):
            lifetime = (MAX_ACCESS_SECONDS + SKEW_SECONDS) * 1_000_000
            accounts.remember_deletion(tx, did, now, now + lifetime)
    gone: list[str] = []
    try:
        for start in range(0, len(cids), _STEP):
            gone += delete_unowned(database, backend, cids[start : start + _STEP], clock)
        for store in backend.stores:
            store.purge_quarantine(set(gone))
    except STORE_AWAY as error:
        log.warning("the account %s is deleted, not all of its bytes are: %s", did, error.message)
    return gone
