"""Asks a PDS again for the blobs that are held of it: it tells nobody of those it takes down."""

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from aurora_blobs.auth.fetch import FetchFailed
from aurora_blobs.catalog import refusals, upstream
from aurora_blobs.db import STEP_ROWS, Database, Key, Transaction, account_key, row_key
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import BlobServiceError
from aurora_blobs.mirror.pauses import BLOB, pause_seconds
from aurora_blobs.mirror.upstream import Refused, Upstream

log = logging.getLogger("aurora_blobs")

_DAY = 24 * 3600 * 1_000_000  # µs
_ROUND = 20 * 3600 * 1_000_000  # µs in which each blob is asked for once, less than a day
_COUNT = 600 * 1_000_000  # µs between two counts of what is held
_CONFIRM = 600 * 1_000_000  # µs between a first refusal and one that hides
_POLL_SECONDS = 1.0
_AT_LEAST = 5  # blobs a second, where time was lost; the reference PDS allows 10 requests
# So many blobs that are refused within a day are no takedowns: of a PDS, and of an account one in
# so many, if they are some. Guesses.
_MANY, _MANY_PART, _SOME = 20, 20, 2
# What a PDS answers for a blob that it does not give out; 400 is the reference PDS's. Other names
# with it are about the account, of which it tells by an event.
_REFUSALS = frozenset({400, 404, 410, 451})
_OF_ACCOUNT = "Repo"


def _is_up_to_date(did: str) -> bool:
    """A PDS that is followed tells of what its accounts publish."""
    return True


class Recheck:
    """Asks *source* for each blob that is held of it, within a day, the whole day long.

    The answer is not read but for its head. One that is refused is asked for 10 minutes later, and
    then hidden. When many are, nothing is, until somebody has looked at it. Of a PDS whose
    administrator's password is known it is asked whether the blob is taken down, and that is it.
    """

    def __init__(
        self,
        source: Upstream,
        database: Database,
        *,
        clock: Callable[[], int],
        max_bytes: int,
        every_seconds: float = _POLL_SECONDS,
        update: Callable[[str], bool] = _is_up_to_date,
    ) -> None:
        """*max_bytes* are those of a blob; `step` is called *every_seconds*.

        *update* has what an account publishes known as it is now, and whether it has; it may raise
        FetchFailed, Refused.
        """
        self._source = source
        self._host = source.url
        self._database = database
        self._clock = clock
        self._max_bytes = max_bytes
        self._every_seconds = every_seconds
        self._update = update
        self._blobs = self._counted_at = 0

    def run(self, stop: threading.Event) -> None:
        """Ask, until *stop*."""
        while not stop.wait(self._every_seconds):
            self.step(stop)

    def step(self, stop: threading.Event, seconds: float = math.inf) -> None:
        """Ask for what is to be asked for by now, and begin nothing after *seconds*."""
        if self._source.is_resting:
            return
        end = time.monotonic() + seconds

        def is_over() -> bool:
            return stop.is_set() or time.monotonic() >= end

        try:
            self._ask_refused(is_over)
            self._ask_held(is_over)
        except (FetchFailed, Refused) as error:
            self._source.rest(error.retry_seconds if isinstance(error, Refused) else None)
        except BlobServiceError as error:
            log.warning("blobs cannot be asked for again now: %s", error.message)

    def _ask_held(self, is_over: Callable[[], bool]) -> None:
        """Ask for as many blobs as it takes to be through with them in time."""
        found = refusals.find_round(self._database.one_shot(), self._host)
        assert found is not None
        now = self._clock()
        blobs = self._count(now)
        at_once = self._at_least + int(2 * blobs * self._every_seconds * 1_000_000 / _ROUND)
        is_late = not 0 <= now - found.began_at < _ROUND
        if not is_late:
            owed = blobs * (now - found.began_at) // _ROUND - found.asked
            at_once = max(0, min(owed, at_once))
        last, asked = (found.did, found.cid), 0
        with self._database.read() as tx:
            page = refusals.held(tx, self._host, last, at_once)
        try:
            for did, cid in page:
                if is_over():
                    break
                self._ask(did, cid)
                last, asked = (did, cid), asked + 1
        finally:
            if asked:
                with self._round() as tx:
                    refusals.set_asked(tx, self._host, asked, *last)
        if is_late and not page:
            with self._round() as tx:
                refusals.begin_round(tx, self._host, now)

    @property
    def _at_least(self) -> int:
        return int(_AT_LEAST * self._every_seconds)

    def _count(self, now: int) -> int:
        """How many blobs are held, or were a while ago."""
        if not 0 <= now - self._counted_at < _COUNT:
            self._blobs = refusals.count_held(self._database.one_shot(), self._host)
            self._counted_at = now
        return self._blobs

    def _round(self) -> AbstractContextManager[Transaction]:
        return self._database.write(keys=(round_key(self._host),))

    def _keys(self, did: str) -> tuple[Key, ...]:
        """Those of a transaction that changes a refusal of *did*, and decides on the alarm."""
        return (account_key(did), round_key(self._host))

    def _ask_refused(self, is_over: Callable[[], bool]) -> None:
        with self._database.read() as tx:
            due = refusals.due(tx, self._host, self._clock(), self._at_least)
        for refusal in due:
            if is_over():
                return
            now = self._clock()
            if not refusals.is_asked_for(self._database.one_shot(), refusal.did, refusal.cid, now):
                with self._database.write(keys=(account_key(refusal.did),)) as tx:
                    refusals.put_off(tx, refusal.did, refusal.cid, now + _CONFIRM)
            elif not self._ask(refusal.did, refusal.cid):
                with self._database.write(keys=self._keys(refusal.did)) as tx:
                    refusals.drop(tx, refusal.did, refusal.cid)
                    self._end_alarm(tx)
                log.info("%s of %s is given out again", refusal.cid, refusal.did)

    def _ask(self, did: str, cid: str) -> bool:
        """Ask for the blob, and note a refusal; whether it is refused.

        Raises FetchFailed, Refused if the PDS does not say.
        """
        is_taken_down = self._source.takes_down(did, cid)
        is_refused = self._is_refused(did, cid) if is_taken_down is None else is_taken_down
        if is_refused and self._update(did):
            self._refuse(did, cid, is_sure=is_taken_down is True)
        return is_refused

    def _is_refused(self, did: str, cid: str) -> bool:
        """Whether the PDS refuses the blob. Raises FetchFailed, Refused if it does not say."""
        try:
            with self._source.blob(did, cid, self._max_bytes):
                return False
        except Refused as error:
            if error.is_about_us:
                raise
            return error.status in _REFUSALS and not error.name.startswith(_OF_ACCOUNT)

    def _refuse(self, did: str, cid: str, *, is_sure: bool) -> None:
        """Note that the PDS refuses the blob; hide it if it has done so before, or *is_sure*."""
        now = self._clock()
        with self._database.write(Spend.HALF, keys=self._keys(did)) as tx:
            if not refusals.is_asked_for(tx, did, cid, now):
                return
            known = refusals.find(tx, did, cid)
            pause = pause_seconds(BLOB, 0 if known is None else known.tries)
            refusals.note(tx, did, cid, now, now + pause * 1_000_000)
            alarm = None if is_sure else self._alarm(tx, did, now)
            is_confirmed = known is not None and now - known.refused_at >= _CONFIRM
            is_hidden = known is not None and known.hidden_at is not None
            hides = alarm is None and not is_hidden and (is_sure or is_confirmed)
            if hides:
                refusals.hide(tx, did, cid, now)
        log.log(
            logging.WARNING if hides else logging.INFO,
            "%s of %s is refused by its PDS%s",
            cid,
            did,
            ", and hidden" if hides else "",
        )

    def _alarm(self, tx: Transaction, did: str, now: int) -> str | None:
        """Why nothing is to be hidden, which is raised if it was not; None if all is well."""
        found = refusals.find_round(tx, self._host)
        assert found is not None
        if found.alarm is not None:
            return found.alarm
        since = max(now - _DAY, found.accepted_at)
        of_host = refusals.count(tx, self._host, since)
        of_account, owned = refusals.count_of(tx, did, since)
        if of_host > _MANY:
            alarm = f"{of_host} blobs are refused within a day"
        elif of_account > _SOME and of_account * _MANY_PART > owned:
            alarm = f"{of_account} of {owned} blobs of {did} are refused within a day"
        else:
            return None
        refusals.set_alarm(tx, self._host, alarm)
        tx.after_commit.append(
            lambda: log.error(
                "%s: %s. It may have lost them, so nothing more is hidden or collected. "
                "`aurora-blobs blobs give-back` brings them back, `aurora-blobs mirror accept` "
                "hides them",
                self._host,
                alarm,
            )
        )
        return alarm

    def _end_alarm(self, tx: Transaction) -> None:
        """All that was refused and not hidden is given out again: whatever was lost is back."""
        found = refusals.find_round(tx, self._host)
        served, _ = refusals.tally(tx, self._host)
        assert found is not None
        if found.alarm and not served and not upstream.has_missing(tx, self._host):
            refusals.end_alarm(tx, self._host, self._clock())
            log.warning("%s gives out again what it has refused: the alarm has ended", self._host)


def round_key(host: str) -> Key:
    """That of the round, and the alarm, of the PDS *host*."""
    return row_key("upstream_round", host)


def accept(database: Database, host: str, now: int) -> int:
    """Hide what the PDS *host* has refused twice, and end its alarm; how many blobs it hid."""
    count = 0

    def step(tx: Transaction) -> bool:
        nonlocal count
        waiting = refusals.waiting(tx, host, STEP_ROWS)
        for blob in waiting:
            refusals.hide(tx, *blob, now)
        count += len(waiting)
        if len(waiting) < STEP_ROWS:
            refusals.end_alarm(tx, host, now)
        return len(waiting) == STEP_ROWS

    database.in_steps(step, Spend.HALF)
    return count
