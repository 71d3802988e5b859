"""Takedowns and deactivations by an administrator, in the shapes of com.atproto.admin."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aurora_blobs.accounts.hiding import finish_hiding
from aurora_blobs.accounts.queries import RepoQueries
from aurora_blobs.catalog import accounts, blobs, takedowns
from aurora_blobs.catalog.audit import PROGRAM, Author
from aurora_blobs.catalog.takedowns import Takedown
from aurora_blobs.db import Database, Key, account_key, blob_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import InvalidRequest, RepoNotFound, SubjectNotFound
from aurora_blobs.protocol.cid import parse_blob_cid
from aurora_blobs.protocol.quoting import shown
from aurora_blobs.protocol.syntax import parse_did

_REPO = "com.atproto.admin.defs#repoRef"
_BLOB = "com.atproto.admin.defs#repoBlobRef"
_PAGE = 500  # takedowns per statement when all are listed


@dataclass(frozen=True, slots=True)
class Subject:
    """An account, or with *cid* one of its blobs."""

    did: str
    cid: str | None

    @property
    def keys(self) -> tuple[Key, ...]:
        """Those of its takedown; none for a blob of every account, whose keys nobody can name."""
        if self.did == takedowns.EVERY_ACCOUNT:
            return ()
        account = account_key(self.did)
        return (account,) if self.cid is None else (account, blob_key(self.cid))


def parse_subject(value: dict[str, Any]) -> Subject:
    """*value* as the `subject` of updateSubjectStatus. Raises InvalidRequest."""
    try:
        kind = _text(value, "$type")
        if kind not in (_REPO, _BLOB):
            raise InvalidRequest(
                f"Invalid subject ({shown(kind)}), accepted are {_REPO} and {_BLOB}"
            )
        did = parse_did(_text(value, "did"))
        return Subject(did, parse_blob_cid(_text(value, "cid")) if kind == _BLOB else None)
    except ValueError as error:
        raise InvalidRequest(f"Invalid subject: {error}") from None


class Moderation:
    """Takes accounts and blobs down until lifted. *clock* gives microseconds since the epoch."""

    def __init__(self, database: Database, repos: RepoQueries, clock: Callable[[], int]) -> None:
        self._database = database
        self._repos = repos
        self._clock = clock

    def update(
        self,
        subject: Subject,
        takedown: dict[str, Any] | None,
        deactivated: dict[str, Any] | None,
        by: Author = PROGRAM,
    ) -> None:
        """Apply or lift each given ``{"applied": bool}``; a takedown may have a ``ref`` as well.

        Raises InvalidRequest, SubjectNotFound for an account that is not here.
        """
        take_down = _applied(takedown, "takedown")
        deactivate = _applied(deactivated, "deactivated")
        if subject.cid is not None and deactivate is not None:
            raise InvalidRequest("Only an account can be deactivated or activated")
        if take_down and deactivate is False:
            raise InvalidRequest("Cannot activate and takedown an account at the same time")
        lifted = take_down is False and self.lift(subject, by)
        if lifted and deactivate is None:
            return  # of an account that may be deleted by now
        try:
            self._repos.reported(subject.did, Spend.ALL)
        except RepoNotFound:
            raise SubjectNotFound("Repo not found") from None
        if take_down:
            self.take_down(subject, _ref(takedown), by)
        if deactivate is not None:
            since = self._clock() if deactivate else None
            with self._database.write(Spend.ALL, keys=(account_key(subject.did),)) as tx:
                accounts.set_deactivated(tx, subject.did, since, by)

    def take_down(self, subject: Subject, ref: str | None, by: Author = PROGRAM) -> None:
        """Take *subject* down under *ref*; None stands for the time.

        The bytes of a blob need not be here. Its DID may be `takedowns.EVERY_ACCOUNT`.
        """
        now = self._clock()
        if ref is not None and not is_utf8(ref):
            raise InvalidRequest("takedown.ref has to be UTF-8 without U+0000")
        if ref is None:
            ref = datetime.fromtimestamp(now / 1_000_000, UTC).isoformat(timespec="milliseconds")
        with self._database.write(Spend.ALL, keys=subject.keys) as tx:
            if subject.cid is None:
                accounts.take_down(tx, subject.did, now, ref, by)
            else:
                takedowns.apply(tx, subject.cid, subject.did, ref, now, by)
        finish_hiding(self._database)

    def lift(self, subject: Subject, by: Author = PROGRAM) -> bool:
        """Undo `take_down`; False if nothing was taken down. Bytes still here are served again.

        The account may be deleted by now: a takedown outlives it.
        """
        with self._database.write(Spend.ALL, keys=subject.keys) as tx:
            if subject.cid is not None:
                return takedowns.lift(tx, subject.cid, subject.did, by)
            return accounts.lift_takedown(tx, subject.did, by)

    def takedowns(self) -> Iterator[Takedown]:
        """Every takedown that holds, of accounts first. An account may be deleted by now."""
        return self._database.in_pages(
            takedowns.page, ("", ""), lambda last: (last.cid, last.did), limit=_PAGE
        )

    def takedown_page(self, after: tuple[str, str], limit: int, text: str = "") -> list[Takedown]:
        """A page of `takedowns`: up to *limit* after *after*, CID and DID of the last one seen.

        Unless *text* is "", of those whose DID or reference it is.
        """
        with self._database.read() as tx:
            if text:
                return takedowns.search(tx, text, after, limit)
            return takedowns.page(tx, after, limit)

    def status(self, subject: Subject) -> dict[str, Any]:
        """The status of *subject* in the shape of getSubjectStatus. Raises SubjectNotFound."""
        if subject.cid is None:
            return self._account_status(subject.did)
        with self._database.read() as tx:
            account = accounts.find(tx, subject.did)
            ref = takedowns.find_ref(tx, subject.cid, subject.did)
            state = blobs.find_upload_state(tx, subject.did, subject.cid)
        if ref is None and (state is None or state.entry is None):
            raise SubjectNotFound("Repo not found" if account is None else "Subject not found")
        return {
            "subject": {"$type": _BLOB, "did": subject.did, "cid": subject.cid},
            "takedown": _shown(ref is not None, ref),
        }

    def _account_status(self, did: str) -> dict[str, Any]:
        with self._database.read() as tx:
            account = accounts.find(tx, did)
            ref = accounts.find_takedown_ref(tx, did)
        subject = {"$type": _REPO, "did": did}
        if account is not None:
            return {
                "subject": subject,
                "takedown": _shown(account.takedown_at is not None, account.takedown_ref),
                "deactivated": {"applied": account.deactivated_at is not None},
            }
        if ref is not None:  # deleted while it was taken down
            return {"subject": subject, "takedown": _shown(True, ref)}
        raise SubjectNotFound("Repo not found")


def _applied(change: dict[str, Any] | None, name: str) -> bool | None:
    if change is None:
        return None
    if not isinstance(change.get("applied"), bool):
        raise InvalidRequest(f"{name}.applied has to be true or false")
    return bool(change["applied"])


def _ref(change: dict[str, Any] | None) -> str | None:
    ref = None if change is None else change.get("ref")
    if ref is not None and not isinstance(ref, str):
        raise InvalidRequest("takedown.ref has to be a string")
    return ref


def is_utf8(text: str) -> bool:
    """Whether a database takes *text*.

    A command's arguments have halves of surrogate pairs where they are not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _shown(applied: bool, ref: str | None) -> dict[str, Any]:
    return {"applied": applied} if ref is None else {"applied": applied, "ref": ref}


def _text(value: dict[str, Any], key: str) -> str:
    text = value.get(key)
    if not isinstance(text, str):
        raise ValueError(f'Missing required key "{key}"')
    return text
