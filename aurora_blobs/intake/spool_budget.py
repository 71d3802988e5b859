"""Bounds on the bytes of uploads that are under way: of one account, and of all together."""

from types import TracebackType

from aurora_blobs.errors import RateLimitExceeded, ServiceBusy
from aurora_blobs.server.shared_tally import SharedTally

_RETRY_SECONDS = 5


class SpoolBudget:
    """What uploads may hold in the spool, over all processes of the service.

    One that is alone is never refused, however large it is: the limit of a blob is another one.
    """

    def __init__(self, *, per_account: int, total: int, threads: int, parts: int) -> None:
        """*per_account* and *total* are in bytes; 0 is no limit.

        *threads* is the number of threads of a process, *parts* that of a `SharedTally`.
        """
        self.per_account = per_account
        self.total = total
        self.tally = SharedTally(places=threads, parts=parts)

    def share(self, account: str) -> "Share":
        """What an upload of *account* holds. It is given back with the block."""
        return Share(self, account)


class Share:
    """The bytes of one upload. Nothing is counted before `reserve`."""

    __slots__ = ("_account", "_budget", "_place")

    def __init__(self, budget: SpoolBudget, account: str) -> None:
        self._budget = budget
        self._account = account
        self._place: int | None = None

    def reserve(self, size: int) -> None:
        """Hold *size* bytes from now on, no longer what was held before.

        Raises RateLimitExceeded where the account holds too many then, ServiceBusy where all do.
        """
        if not self._budget.per_account and not self._budget.total:
            return  # any number of threads may upload then, in an embedding too
        tally, account = self._budget.tally, self._account
        if self._place is None:
            self._place = tally.add(account, size)
            if self._place is None:
                raise ServiceBusy("Too many uploads are under way, please try again.")
        else:
            tally.change(self._place, size)
        limit = self._budget.per_account
        if limit and size < tally.total(account) > limit:
            raise RateLimitExceeded(
                _RETRY_SECONDS,
                message=f"No more than {limit} bytes of one account are taken at once: "
                "please send fewer blobs at once",
            )
        limit = self._budget.total
        if limit and size < tally.sum() > limit:
            raise ServiceBusy(f"No more than {limit} bytes are taken at once, please try again.")

    def __enter__(self) -> "Share":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._place is not None:
            self._budget.tally.remove(self._place)


def no_budget() -> SpoolBudget:
    """A budget without limits, of one process."""
    return SpoolBudget(per_account=0, total=0, threads=1, parts=1)
