"""Changes of records in one transaction: their rows, the account's revision and its bytes."""

from dataclasses import dataclass

from aurora_blobs.catalog import accounts, record_usage, records, references
from aurora_blobs.catalog.accounts import Account
from aurora_blobs.catalog.records import Record, Version, record_uri
from aurora_blobs.config import Config
from aurora_blobs.db import STEP_BYTES, STEP_ROWS, Transaction
from aurora_blobs.errors import InvalidRequest, QuotaExceeded, RepoNotFound
from aurora_blobs.protocol.blob_refs import Reference
from aurora_blobs.protocol.quoting import shown
from aurora_blobs.protocol.syntax import new_tid


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLimits:
    """What an account may keep. `quota_bytes` is for all of its records; 0 is no limit."""

    max_references: int = 1000
    quota_bytes: int = 0

    @classmethod
    def of(cls, config: Config) -> "RecordLimits":
        """The limits that the settings make."""
        return cls(max_references=config.max_record_references, quota_bytes=config.record_quota)

    def check_references(self, count: int) -> None:
        """Check a record that names *count* blobs. Raises InvalidRequest."""
        if count > self.max_references:
            raise InvalidRequest(
                f"a record names {count} blobs, at most {self.max_references} are accepted"
            )

    def check_bytes(self, total: int) -> None:
        """Check the bytes of all records of an account. Raises QuotaExceeded."""
        if self.quota_bytes and total > self.quota_bytes:
            raise QuotaExceeded(
                f"the records of the account would have {total} bytes,"
                f" at most {self.quota_bytes} are accepted"
            )


class RecordChanges:
    """Changes the records of *did* in the transaction *tx*, all under one new revision, `rev`.

    The revision is made in the transaction that it marks: a follower that reads it and then asks
    for what is newer misses nothing. `rows` and `size` are how many rows and bytes were changed;
    `added` are the bytes that the account has more.

    Raises RepoNotFound.
    """

    def __init__(self, tx: Transaction, did: str, now: int) -> None:
        """*now* is in microseconds since the epoch, UTC."""
        self.rev = new_tid(now, require_account(tx, did).rev)
        self.rows = self.size = self.added = 0
        self._tx = tx
        self._did = did

    @property
    def is_full(self) -> bool:
        """Whether this is enough for one step of something larger."""
        return self.rows >= STEP_ROWS or self.size >= STEP_BYTES

    def find(self, collection: str, rkey: str) -> Version | None:
        """The version of a record that is there now."""
        return records.find_version(self._tx, self._did, collection, rkey)

    def put(
        self,
        collection: str,
        rkey: str,
        cid: str,
        text: str,
        named: list[Reference],
        before: Version | None,
    ) -> list[str]:
        """Write a record, *text* being its JSON, over *before*; the CIDs that it named until now.

        *named* are the references in it.
        """
        uri = record_uri(self._did, collection, rkey)
        named_before = self._forget(uri, before)
        records.put(self._tx, Record(self._did, collection, rkey, cid, text, self.rev))
        self._count(1, record_usage.record_bytes(uri, text))
        for reference in named:
            self.refer(uri, reference)
        return named_before

    def drop(self, collection: str, rkey: str, before: Version | None) -> list[str]:
        """Delete a record, *before* being the one that is there; the CIDs that it named."""
        records.delete(self._tx, self._did, collection, rkey)
        return self._forget(record_uri(self._did, collection, rkey), before)

    def refer(self, uri: str, reference: Reference) -> None:
        """The record *uri*, which need not be here, names a blob."""
        if references.add(self._tx, self._did, uri, reference, self.rev):
            self._count(1, record_usage.reference_bytes(uri, reference.cid))

    def finish(self) -> int:
        """Note the revision and the bytes; the bytes of all records of the account."""
        records.set_rev(self._tx, self._did, self.rev)
        return record_usage.add(self._tx, self._did, self.added)

    def _forget(self, uri: str, before: Version | None) -> list[str]:
        named = references.drop_record(self._tx, self._did, uri)
        size = sum(record_usage.reference_bytes(uri, cid) for cid in named)
        if before is not None:
            size += before.size + len(uri)
        self._count(len(named) + (before is not None), -size)
        return named

    def _count(self, rows: int, added: int) -> None:
        self.rows += rows
        self.size += abs(added)
        self.added += added


def require_account(tx: Transaction, did: str) -> Account:
    """The account of *did*. Raises RepoNotFound."""
    account = accounts.find(tx, did)
    if account is None:
        raise RepoNotFound(f"Could not find repo: {shown(did)}")
    return account
