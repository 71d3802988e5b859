"""Removes bytes that no account holds any more, one by one or with their account."""

import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial

from aurora_blobs.auth.session import MAX_ACCESS_SECONDS, SKEW_SECONDS
from aurora_blobs.catalog import accounts, blobs, records, references, removals, sessions
from aurora_blobs.catalog.audit import Author
from aurora_blobs.catalog.removals import Removal
from aurora_blobs.db import (
    STEP_BYTES,
    STEP_ROWS,
    Database,
    Key,
    Transaction,
    account_key,
    blob_key,
)
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import (
    STORE_AWAY,
    BlobServiceError,
    InsufficientStorage,
    ServiceBusy,
)
from aurora_blobs.protocol.cid import cid_of_name
from aurora_blobs.storage.base import BlobBackend

log = logging.getLogger(__name__)

_STEP = 100  # blobs deleted in one transaction: short enough that uploads do not wait for long


def delete_unowned(
    database: Database,
    backend: BlobBackend,
    cids: Sequence[str],
    clock: Callable[[], int],
    spend: Spend = Spend.ALL,
    *,
    leftovers: Collection[str] = (),
) -> list[str]:
    """Remove those of *cids* that no account holds; which ones they were.

    Also removes what lies under *leftovers*, names in the store, unless a blob has the name.

    *clock* gives microseconds since the epoch, UTC. *spend* is that of `Database.write`. Raises
    what the backend fails with. The collector removes later what a failed backend has kept.
    """
    return (
        delete_unowned_if(
            lambda tx: True, database, backend, cids, clock, spend, leftovers=leftovers
        )
        or []
    )


def delete_unowned_if(
    check: Callable[[Transaction], bool],
    database: Database,
    backend: BlobBackend,
    cids: Sequence[str],
    clock: Callable[[], int],
    spend: Spend = Spend.ALL,
    *,
    keys: tuple[Key, ...] = (),
    leftovers: Collection[str] = (),
) -> list[str] | None:
    """As `delete_unowned`, if *check* agrees in the same transaction; None if it does not.

    *keys* are those of what *check* looks at or changes beside *cids*. Follows the removal rule of
    catalog/blobs.py.
    """
    backend.check_ours(recently=True)  # before anything is changed
    contents = {*cids, *map(cid_of_name, leftovers)}
    with database.write(spend, keys=(*keys, *map(blob_key, contents))) as tx:
        if not check(tx):
            return None
        unowned = [cid for cid in cids if blobs.may_go(tx, cid)]
        names = {name for cid in unowned if (name := blobs.forget(tx, cid)) is not None}
        names |= {name for name in leftovers if not blobs.has_name(tx, name)}
        begun = removals.begin(tx, names, clock())
    failures = finish_removals(database, backend, begun, spend)
    if failures:
        raise next(iter(failures.values()))
    return unowned


def finish_removals(
    database: Database, backend: BlobBackend, begun: Sequence[Removal], spend: Spend
) -> dict[str, BlobServiceError]:
    """Remove the bytes of *begun*, which the caller has begun and committed.

    Returns the failures by name. Their removals stay begun: the store may still act on them.
    """
    if not begun:
        return {}
    names = [removal.name for removal in begun]
    try:
        failures = backend.delete_many(names)
    except BlobServiceError as error:
        failures = dict.fromkeys(names, error)
    ended = [removal for removal in begun if removal.name not in failures]
    if ended:
        keys = tuple(blob_key(cid_of_name(removal.name)) for removal in ended)
        with database.write(spend, keys=keys) as tx:
            removals.end(tx, ended)
    return failures


def delete_account(
    database: Database,
    backend: BlobBackend,
    did: str,
    clock: Callable[[], int],
    on_gone: Callable[[list[str]], None],
    check: Callable[[Transaction], bool] = lambda tx: True,
    by: Author | None = None,
) -> bool:
    """Remove *did* and the bytes that no other account holds; *on_gone* gets their CIDs, in steps.

    Nothing is removed if *check* does not agree in the first transaction: False.

    The first transaction is short. After it the account is gone for everybody, and until the rest
    has gone too there is no new one of the same DID. The collector finishes what breaks off.

    Bytes in quarantine go too. Takedowns of its blobs stay, and keep their bytes. The collector
    removes later what a store that is away has kept. *clock* gives microseconds since the epoch,
    UTC. *by* is None where nobody ordered it.
    """
    with database.write(Spend.ALL, keys=(account_key(did),)) as tx:
        if not check(tx):
            return False
        now = clock()
        if accounts.begin_deletion(tx, did, now, by):
            lifetime = (MAX_ACCESS_SECONDS + SKEW_SECONDS) * 1_000_000
            accounts.remember_deletion(tx, did, now, now + lifetime)
    try:
        finish_deletion(database, backend, did, clock, on_gone)
    except (ServiceBusy, InsufficientStorage) as error:
        log.warning("the account %s is deleted, not all of its rows are: %s", did, error.message)
    return True


def finish_deletion(
    database: Database,
    backend: BlobBackend,
    did: str,
    clock: Callable[[], int],
    on_gone: Callable[[list[str]], None],
) -> bool:
    """Go on with `delete_account`, from wherever it is; False if it has been finished already."""
    if not accounts.is_being_deleted(database.one_shot(), did):
        return False
    for delete_some in (references.drop_some, sessions.end_some):
        database.in_steps(
            partial(_is_full_step, delete_some, did), Spend.ALL, keys=(account_key(did),)
        )
    _delete_records(database, did)
    _delete_entries(database, backend, did, clock, on_gone)
    with database.write(Spend.ALL, keys=(account_key(did),)) as tx:
        if accounts.is_being_deleted(tx, did):  # or another process was faster, and it came anew
            accounts.delete(tx, did)
    return True


def _is_full_step(
    delete_some: Callable[[Transaction, str, int], int], did: str, tx: Transaction
) -> bool:
    return delete_some(tx, did, STEP_ROWS) == STEP_ROWS


def _delete_records(database: Database, did: str) -> None:
    while True:
        with database.read() as tx:
            left = deque(records.some_sizes(tx, did, STEP_ROWS))
        if not left:
            return
        database.in_steps(
            partial(_delete_some_records, did, left), Spend.ALL, keys=(account_key(did),)
        )


def _delete_some_records(did: str, left: deque[tuple[str, str, int]], tx: Transaction) -> bool:
    size = 0
    while left and size < STEP_BYTES:
        collection, rkey, record_size = left.popleft()
        records.delete(tx, did, collection, rkey)
        size += record_size
    return bool(left)


def _delete_entries(
    database: Database,
    backend: BlobBackend,
    did: str,
    clock: Callable[[], int],
    on_gone: Callable[[list[str]], None],
) -> None:
    is_away = False
    while True:
        with database.read() as tx:
            cids = blobs.some_cids_of(tx, did, _STEP)
        if not cids:
            return
        if is_away:
            keys = (account_key(did), *map(blob_key, cids))
            with database.write(Spend.ALL, keys=keys) as tx:
                blobs.forget_owner(tx, did, cids)
            continue
        try:
            gone = delete_unowned_if(
                partial(_forget_owner, did, cids),
                database,
                backend,
                cids,
                clock,
                keys=(account_key(did),),
            )
            if gone:
                on_gone(gone)
                for store in backend.stores:
                    store.purge_quarantine(set(gone))
        except STORE_AWAY as error:
            is_away = True
            log.warning(
                "the account %s is deleted, not all of its bytes are: %s", did, error.message
            )


def _forget_owner(did: str, cids: list[str], tx: Transaction) -> bool:
    blobs.forget_owner(tx, did, cids)
    return True
