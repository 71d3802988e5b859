"""How bytes go that nobody holds any more, one by one or with their account."""

import logging
from collections.abc import Callable, Sequence

from aurora_blobs.auth.session import ACCESS_SECONDS
from aurora_blobs.catalog import accounts, blobs
from aurora_blobs.db import Database, Transaction
from aurora_blobs.errors import STORE_AWAY, BlobServiceError
from aurora_blobs.storage.base import BlobBackend

log = logging.getLogger(__name__)

_STEP = (
    100  # blobs whose bytes go in one transaction: short enough that uploads do not wait for long
)


def discard(
    database: Database, backend: BlobBackend, cids: Sequence[str], clock: Callable[[], int]
) -> list[str]:
    """Remove those of *cids* that no account holds; which ones it was. *clock* as in `delete_account`.

    Raises what the store fails with. What it did not let go of is the collector's then.
    """
    return discard_if(lambda tx: True, database, backend, cids, clock) or []


def discard_if(
    check: Callable[[Transaction], bool],
    database: Database,
    backend: BlobBackend,
    cids: Sequence[str],
    clock: Callable[[], int],
) -> list[str] | None:
    """As `discard`, by the locking rule, where *check* says yes in the same transaction; None where it does not.

    Whether those are gone that the store failed at nobody knows: with the commit, before it is raised, their rows begin
    anew, and an upload that found the bytes in place sends them after all.
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
        for cid in failures:
            blobs.mark_lost(tx, cid, now)
        gone = [cid for cid in unowned if cid not in failures]
        for cid in gone:
            blobs.forget(tx, cid)
    for failure in failures.values():
        raise failure
    return gone


def delete_account(
    database: Database, backend: BlobBackend, did: str, clock: Callable[[], int]
) -> list[str]:
    """Remove *did*, and the bytes that nobody else holds, also those that were kept aside; the CIDs of these.

    Takedowns of its blobs stay, and keep their bytes. What a store that is away does not let go of stays for the
    collector. *clock* gives microseconds since the epoch, UTC.
    """
    with database.write() as tx:
        now = clock()
        cids = sorted(blobs.cids_of(tx, did))  # in the order of their folders
        if accounts.delete(tx, did):
            accounts.remember_deletion(tx, did, now, now + ACCESS_SECONDS * 1_000_000)
    gone: list[str] = []
    try:
        for start in range(0, len(cids), _STEP):
            gone += discard(database, backend, cids[start : start + _STEP], clock)
        for store in backend.stores:
            store.purge_quarantine(set(gone))
    except STORE_AWAY as error:
        log.warning("the account %s is deleted, not all of its bytes are: %s", did, error.message)
    return gone
