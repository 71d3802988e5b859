"""How an account goes: its rows at once, then the bytes that nobody else holds."""

import logging
from collections.abc import Callable

from aurora_blobs.backends.base import BlobBackend
from aurora_blobs.catalog import accounts, blobs
from aurora_blobs.db import Database
from aurora_blobs.errors import BackendTimeout, BackendUnavailable, ServiceBusy

log = logging.getLogger(__name__)

_STEP = 100  # blobs whose bytes go in one transaction: short enough that uploads do not wait for long


def delete_account(database: Database, backend: BlobBackend, did: str, clock: Callable[[], int]) -> list[str]:
    """Remove *did*, and the bytes that nobody else holds, also those that were kept aside; the CIDs of these.

    Takedowns of its blobs stay, and keep their bytes. What a store that is away does not let go of stays for the
    collector. *clock* gives microseconds since the epoch, UTC.
    """
    with database.write() as tx:
        sizes = blobs.sizes_of(tx, did)
        accounts.delete(tx, did)
    gone: list[str] = []
    held = sorted(sizes.items())  # in the order of their folders
    try:
        for start in range(0, len(held), _STEP):
            gone += _discard(database, backend, dict(held[start : start + _STEP]), clock)
        backend.forget_aside(set(gone))
    except (BackendUnavailable, BackendTimeout, ServiceBusy) as error:
        log.warning("the account %s is deleted, not all of its bytes are: %s", did, error.message)
    return gone


def _discard(database: Database, backend: BlobBackend, sizes: dict[str, int], clock: Callable[[], int]) -> list[str]:
    """Remove those of *sizes*, by CID, that no account holds, by the locking rule; which ones it was."""
    with database.write() as tx:
        unheld = [cid for cid in sizes if blobs.forget_unheld(tx, cid)]
        failures = backend.delete_many(unheld)
        for cid in failures:
            # Gone or not, nobody knows: the row begins anew, and the collector comes back to it.
            blobs.pin(tx, cid, sizes[cid], clock())
    for failure in failures.values():
        raise failure
    return unheld
