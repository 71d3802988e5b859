"""Public reads of an account: whether it is available, its records and the blobs they reference."""

from collections.abc import Callable

from aurora_blobs.catalog import accounts, records, references
from aurora_blobs.catalog.accounts import Account
from aurora_blobs.catalog.records import AFTER_EVERY_KEY, Record
from aurora_blobs.catalog.upstream import BARRED, DELETED, MISSING
from aurora_blobs.db import Database, account_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import (
    RecordNotFound,
    RepoDeactivated,
    RepoNotFound,
    RepoSuspended,
    RepoTakendown,
)
from aurora_blobs.protocol.quoting import shown
from aurora_blobs.protocol.syntax import parse_did

PAGE_BYTES = 2**20  # a guess: 100 posts have less, and one record can have as much
MAX_COLLECTIONS = 1000  # in an answer, which has no pages; a guess, real accounts have dozens


def check_available(
    did: str, *, taken_down: bool, deactivated: bool, upstream_status: str | None
) -> None:
    """Raise the first of RepoTakendown, RepoDeactivated, RepoNotFound, RepoSuspended that holds.

    *upstream_status* is the status at the PDS that is followed.
    """
    if taken_down or upstream_status == "takendown":
        raise RepoTakendown(f"Repo has been takendown: {did}")
    if upstream_status in (DELETED, MISSING, BARRED):
        raise RepoNotFound(f"Could not find repo for DID: {did}")
    if upstream_status == "suspended":
        raise RepoSuspended(f"Repo has been suspended: {did}")
    if deactivated or upstream_status is not None:
        raise RepoDeactivated(f"Repo has been deactivated: {did}")


class RepoQueries:
    """The repositories of this service, seen from outside.

    With *open_to_reports*, the first report of the PDS beside us on an account makes the account.
    """

    def __init__(
        self, database: Database, clock: Callable[[], int], *, open_to_reports: bool
    ) -> None:
        self._database = database
        self._clock = clock
        self._open_to_reports = open_to_reports

    def find(self, name: str) -> Account:
        """The account with the DID or handle *name*. Raises RepoNotFound."""
        with self._database.read() as tx:
            account = accounts.find_by_name(tx, name)
        if account is None:
            raise RepoNotFound(
                f"Could not find repo{' for DID' if name.startswith('did:') else ''}: {shown(name)}"
            )
        return account

    def visible(self, name: str, *, viewer: str | None = None, admin: bool = False) -> Account:
        """The account *name*. An unavailable one is visible to itself and to an *admin* only.

        *viewer* is the DID of the account that asks, None for anybody else.
        Raises RepoNotFound, RepoTakendown, RepoSuspended, RepoDeactivated.
        """
        account = self.find(name)
        if not admin and viewer != account.did:
            check_available(
                account.did,
                taken_down=account.takedown_at is not None,
                deactivated=account.deactivated_at is not None,
                upstream_status=account.upstream_status,
            )
        return account

    def reported(self, name: str, spend: Spend = Spend.NOTHING) -> str:
        """The DID of the account *name*, of which an admin reports something.

        *spend* as in `Database.write`. Raises RepoNotFound.
        """
        if self._open_to_reports and name.startswith("did:"):
            did = parse_did(name)
            with self._database.write(spend, keys=(account_key(did),)) as tx:
                accounts.make_external(tx, did, self._clock())
        return self.find(name).did

    def check_reportable(self, did: str) -> None:
        """Raise RepoNotFound where `reported` would."""
        if not self._open_to_reports:
            self.find(did)

    def record(self, did: str, collection: str, rkey: str, cid: str | None) -> Record:
        """The record, in the version *cid* if one is given. Raises RecordNotFound."""
        with self._database.read() as tx:
            record = records.find(tx, did, collection, rkey)
        if record is None or cid not in (None, record.cid):
            raise RecordNotFound(f"Could not locate record: at://{did}/{collection}/{rkey}")
        return record

    def records(
        self, did: str, collection: str, cursor: str, limit: int, reverse: bool
    ) -> list[Record]:
        """Up to *limit* records past *cursor*, by key, descending unless *reverse*.

        The page ends before `PAGE_BYTES` of JSON, and has one record in any case.
        """
        with self._database.read() as tx:
            if reverse:
                return records.oldest_first(tx, did, collection, cursor, limit, PAGE_BYTES)
            return records.newest_first(
                tx, did, collection, cursor or AFTER_EVERY_KEY, limit, PAGE_BYTES
            )

    def collections(self, did: str) -> list[str]:
        """The first `MAX_COLLECTIONS` of the collections in which *did* has records."""
        with self._database.read() as tx:
            return records.collections(tx, did, MAX_COLLECTIONS)

    def blobs(self, did: str, cursor: str, since: str, limit: int) -> list[str]:
        """Up to *limit* CIDs past *cursor* that records of *did* newer than *since* reference."""
        with self._database.read() as tx:
            return references.cids(tx, did, cursor, since, limit)

    def records_of_blob(self, did: str, cid: str, cursor: str, limit: int) -> list[str]:
        """Up to *limit* URIs past *cursor* of records of *did* that reference *cid*."""
        with self._database.read() as tx:
            return references.record_uris(tx, did, cid, cursor, limit)
