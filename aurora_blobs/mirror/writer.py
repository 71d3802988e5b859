"""What the events of a PDS change here: each is one transaction, with the cursor in it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from aurora_blobs.catalog import accounts, references, refusals, upstream
from aurora_blobs.db import (
    STEP_BYTES,
    STEP_ROWS,
    Database,
    Key,
    Transaction,
    account_key,
    row_key,
)
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import InvalidRequest, QuotaExceeded, RepoNotFound
from aurora_blobs.mirror.authority import Authority, Doubted
from aurora_blobs.mirror.commits import BadCommit, Checked, RecordChange
from aurora_blobs.mirror.frames import Commit, Event, Status, Sync
from aurora_blobs.protocol.cid import parse_blob_cid
from aurora_blobs.protocol.commits import SignedCommit
from aurora_blobs.protocol.dag_cbor import cid_text
from aurora_blobs.protocol.syntax import new_tid
from aurora_blobs.records.changes import RecordChanges, RecordLimits
from aurora_blobs.records.data_model import record_text

# Microseconds that a revision may be ahead of this clock. https://atproto.com/specs/tid
_AHEAD = 5 * 60 * 1_000_000
# What one transaction may change. A commit that changes more is fetched as a repository, in steps.
_MAX_ROWS, _MAX_BYTES = 4 * STEP_ROWS, 2 * STEP_BYTES
_MAX_REASON = 300  # characters that are kept
_OVER_LIMITS = (InvalidRequest, QuotaExceeded, RepoNotFound)


@dataclass(frozen=True, slots=True)
class Position:
    """The event that is being handled: its number, and the PDS's time of it in microseconds."""

    cursor: int
    event_at: int | None

    @classmethod
    def of(cls, event: Event) -> "Position":
        """That of *event*."""
        try:
            moment = datetime.fromisoformat(event.time)
            return cls(event.seq, int(moment.timestamp() * 1_000_000))
        except (ValueError, OverflowError):
            return cls(event.seq, None)


class Writer:
    """Writes what *host* sends. *clock* gives microseconds since the epoch, UTC.

    All methods raise ServiceBusy, InsufficientStorage. A `Position` that they take is noted in the
    same transaction.
    """

    def __init__(
        self,
        host: str,
        authority: Authority,
        database: Database,
        clock: Callable[[], int],
        limits: RecordLimits,
    ) -> None:
        self._host = host
        self._authority = authority
        self._database = database
        self._clock = clock
        self._limits = limits

    def commit(self, event: Commit, at: Position | None) -> bool:
        """Make the changes of *event*; whether there are blobs to fetch now.

        What is known already changes nothing. Raises BadCommit, Doubted.
        """
        known = self._followed(event)
        if known.rev is None:
            raise BadCommit("nothing is here of it")
        # What is due is fetched in its time, and has this commit in it.
        if event.rev <= known.rev or (known.due_at is not None and at is not None):
            return False
        self.check_rev(event.rev)
        if event.since != known.rev or event.prev_data is None:
            raise BadCommit(f"it follows {event.since}, and here is {known.rev}")
        if cid_text(event.prev_data) != known.tree:
            raise BadCommit("it follows another tree than that of the revision that is here")
        checked = Checked(event)
        self._authority.check_signature(checked.signed)
        changes = checked.changes(event)
        try:
            with self._writing(known.did, at) as tx:
                wanted = self._write(tx, known.did, changes)
                self._set_rev(tx, checked.signed)
                self._advance(tx, at)
        except _OVER_LIMITS as error:
            raise BadCommit(error.message) from None
        return wanted

    def sync(self, event: Sync, at: Position | None) -> None:
        """Note that the repository is at a commit. Raises BadCommit if it is not the one here."""
        known = self._followed(event)
        if known.rev is None or (event.rev > known.rev and (known.due_at is None or at is None)):
            self.check_rev(event.rev)
            signed = Checked(event).signed
            self._authority.check_signature(signed)
            if cid_text(signed.data) != known.tree:
                raise BadCommit("the repository was set to another state")
            with self._writing(known.did, at) as tx:
                self._set_rev(tx, signed)
                self._advance(tx, at)

    def status(self, event: Status, at: Position | None) -> None:
        """The account is active or not; believed of the PDS that its identity names.

        What only hides is believed of the PDS that has the account as far as is known. Raises
        Doubted.
        """
        did = _did_of(event)
        known = upstream.find(self._database.one_shot(), did)
        if known is not None and known.host != self._host:
            raise Doubted(f"{did}: another PDS is known to keep it")
        if known is None or (event.status is None and known.status is not None):
            self._authority.check_known(did)
        now = self._clock()
        with self._writing(did, at, Spend.HALF) as tx:
            upstream.add(tx, did, self._host, event.status, now)
            upstream.learn_status(tx, did, event.status, now)
            self._advance(tx, at)

    def learn_status(self, did: str, status: str | None, known_at: int) -> None:
        """The PDS has answered, to a question of *known_at*, that *did* is as *status* says."""
        with self._writing(did, spend=Spend.HALF) as tx:
            upstream.learn_status(tx, did, status, known_at)

    def doubt(self, event: Event, at: Position) -> None:
        """The repository of an account is due, unless another PDS is known to keep the account.

        One that says to be active again is so when its repository has been fetched.
        """
        did, now = _did_of(event), self._clock()
        with self._writing(did, at, Spend.HALF) as tx:
            known = upstream.find(tx, did)
            if known is None:
                upstream.add(tx, did, self._host, None, now)
            elif known.host == self._host:
                upstream.set_due(tx, did, self._host, now)
                if isinstance(event, Status) and event.status is None and known.status is not None:
                    upstream.set_status(tx, did, upstream.RETURNING, now)
            self._advance(tx, at)

    def disown(self, did: str) -> None:
        """The identity of *did* names another PDS, so what ours says of it counts no more."""
        now = self._clock()
        with self._writing(did, spend=Spend.HALF) as tx:
            known = upstream.find(tx, did)
            if known is None or known.host != self._host:
                return
            if known.rev is None:
                upstream.forget(tx, did)
            else:
                upstream.set_current(tx, did)
                upstream.set_status(tx, did, upstream.MOVED, now)

    def failed(self, did: str, pause_seconds: float, reason: str) -> None:
        """The repository of *did* could not be fetched, and will be asked for after the pause."""
        with self._writing(did) as tx:
            upstream.set_failed(
                tx, did, self._clock() + int(pause_seconds * 1_000_000), reason[:_MAX_REASON]
            )

    def current(self, did: str) -> None:
        """What is here of *did* is what its PDS has."""
        known = upstream.find(self._database.one_shot(), did)
        if known is not None and known.due_at is not None:
            with self._writing(did) as tx:
                upstream.set_current(tx, did)

    def welcome(self, commit: SignedCommit) -> None:
        """Make the account whose repository has come, with *commit*. Raises BadCommit, Doubted."""
        self.check_rev(commit.rev)
        self._authority.check_signature(commit)
        with self._writing(commit.did) as tx:
            accounts.make_external(tx, commit.did, self._clock())

    def imported(self, commit: SignedCommit) -> None:
        """The records of the account are those of *commit*; fetch the blobs that are not here."""
        last: list[str] = []
        for missing in self._missing(commit.did):
            if last:
                self._want(commit.did, last)
            last = missing
        with self._writing(commit.did) as tx:
            self._want_some(tx, commit.did, last)
            self._set_rev(tx, commit)
            # Records may name it again, and nobody says which are new.
            refusals.ask_for_hidden(tx, commit.did, self._clock())
            known = upstream.find(tx, commit.did)
            if known is not None and known.status == upstream.RETURNING:
                upstream.set_status(tx, commit.did, None, self._clock())

    def want_missing(self, did: str) -> None:
        """Fetch the blobs that records of *did* name and that are not here."""
        for missing in self._missing(did):
            self._want(did, missing)

    def _missing(self, did: str) -> Iterator[list[str]]:
        missing: list[str] = []
        for named in self._database.in_pages(
            lambda tx, after, limit: references.named(tx, did, after, limit),
            "",
            lambda last: last.cid,
            limit=STEP_ROWS,
        ):
            if named.stored_size is None:
                missing.append(named.cid)
            if len(missing) == STEP_ROWS:
                yield missing
                missing = []
        if missing:
            yield missing

    def note(self, at: Position) -> None:
        """An event was handled and changed nothing."""
        with self._database.write(Spend.HALF, keys=(host_key(self._host),)) as tx:
            self._advance(tx, at)

    def check_rev(self, rev: str) -> None:
        """Raise BadCommit if *rev* lies in the future."""
        if rev > new_tid(self._clock() + _AHEAD, None):
            raise BadCommit(f"its revision {rev} lies in the future")

    def _writing(
        self, did: str, at: Position | None = None, spend: Spend = Spend.NOTHING
    ) -> AbstractContextManager[Transaction]:
        """A transaction that changes what is here of *did*, and notes *at* if that is given."""
        keys = (account_key(did),) if at is None else (account_key(did), host_key(self._host))
        return self._database.write(spend, keys=keys)

    def _followed(self, event: Event) -> upstream.UpstreamAccount:
        known = upstream.find(self._database.one_shot(), _did_of(event))
        if known is None or known.host != self._host:
            raise BadCommit("nothing is here of this account at this PDS")
        return known

    def _write(self, tx: Transaction, did: str, changes: list[RecordChange]) -> bool:
        made = RecordChanges(tx, did, self._clock())
        now = self._clock()
        named_before: set[str] = set()
        for change in changes:
            named_before.update(self._make(made, change))
            if made.rows > _MAX_ROWS or made.size > _MAX_BYTES:
                raise BadCommit("it changes more than one transaction may")
        wanted = {reference.cid for change in changes for reference in change.references}
        for cid in wanted:
            references.publish(tx, did, cid)
            refusals.put_off(tx, did, cid, now)  # whoever names it again may have it again
        for cid in named_before:
            references.retire(tx, did, cid, now)
        self._want_some(tx, did, list(wanted))
        total = made.finish()
        if made.added > 0:
            self._limits.check_bytes(total)
        return bool(wanted)

    def _make(self, made: RecordChanges, change: RecordChange) -> list[str]:
        self._limits.check_references(len(change.references))
        before = made.find(change.collection, change.rkey)
        if change.value is None:
            return made.drop(change.collection, change.rkey, before)
        text = record_text(change.value)
        return made.put(change.collection, change.rkey, change.cid, text, change.references, before)

    def _want(self, did: str, cids: list[str]) -> None:
        with self._writing(did) as tx:
            self._want_some(tx, did, cids)

    def _want_some(self, tx: Transaction, did: str, cids: list[str]) -> None:
        now = self._clock()
        for cid in cids:
            if _is_blob(cid):
                upstream.want(tx, did, cid, now)

    def _set_rev(self, tx: Transaction, commit: SignedCommit) -> None:
        upstream.set_rev(tx, commit.did, self._host, commit.rev, cid_text(commit.data))

    def _advance(self, tx: Transaction, at: Position | None) -> None:
        if at is not None:
            upstream.set_cursor(tx, self._host, at.cursor, at.event_at, self._clock())


def host_key(host: str) -> Key:
    """That of what is noted of the PDS *host*, and of its stream."""
    return row_key("upstream_host", host)


def _did_of(event: Event) -> str:
    if event.did is None:
        raise BadCommit("it names no account")
    return event.did


def _is_blob(cid: str) -> bool:
    try:
        parse_blob_cid(cid)
    except ValueError:
        return False
    return True
