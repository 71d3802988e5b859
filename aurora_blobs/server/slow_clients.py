"""Bounds on the clients that keep a thread waiting: of an account, of an address, and in all."""

from typing import Any

from aurora_blobs.errors import RateLimitExceeded, ServiceBusy
from aurora_blobs.server.addresses import is_local, network_of
from aurora_blobs.server.shared_tally import SharedTally

ACCOUNT = "aurora_blobs.account"  # in a WSGI environment: the DID that calls
# Seconds that a client may keep a thread waiting, all in all, before it counts as slow. Both are
# guesses. A download may wait for longer: where it is refused a place it is cut, without an error.
UPLOAD_PATIENCE_SECONDS = 0.5
DOWNLOAD_PATIENCE_SECONDS = 10
# The same where no place is left, so that a crowd is turned away as fast as it comes.
_PRESSED_SECONDS = 0.05
# Of the threads of a process. The others are for clients that are quick.
_SHARE_OF_THREADS = 0.75
_RETRY_SECONDS = 5

# In the tally of addresses, and in that of accounts.
Place = tuple[int, int | None]


class SlowClients:
    """Each client that is slow takes a place until its request is answered."""

    def __init__(self, *, per_account: int, per_address: int, threads: int, parts: int) -> None:
        """*per_account* and *per_address* bound all processes together; 0 is no limit.

        *threads* is the number of threads of a process, *parts* that of a `SharedTally`.
        """
        self.places = max(1, int(threads * _SHARE_OF_THREADS))
        self._per_account = per_account
        self._per_address = per_address
        self._addresses = SharedTally(places=self.places, parts=parts)
        self._accounts = SharedTally(places=self.places, parts=parts)

    def patience(self, *, download: bool) -> float:
        """Seconds that a client may keep a thread waiting before it needs a place."""
        if self._addresses.is_full():
            return _PRESSED_SECONDS
        return DOWNLOAD_PATIENCE_SECONDS if download else UPLOAD_PATIENCE_SECONDS

    def enter(self, environ: dict[str, Any], *, download: bool) -> Place:
        """A place for the client of the request *environ*.

        Raises ServiceBusy where this process has none left, and RateLimitExceeded where others of
        its address have taken all that they may, or of its account unless it is a *download*.
        """
        address = environ.get("REMOTE_ADDR") or ""
        network = network_of(address)
        place = self._addresses.add(network)
        if place is None:
            raise ServiceBusy(
                f"No more than {self.places} slow clients are served at once, please try again."
            )
        limit = 0 if is_local(address) else self._per_address
        if limit and self._addresses.total(network) > limit:
            self._addresses.remove(place)
            raise _too_many(limit, "address")
        account = None if download else environ.get(ACCOUNT)
        if not self._per_account or account is None:
            return place, None
        second = self._accounts.add(account)
        if second is None or self._accounts.total(account) > self._per_account:
            self.leave((place, second))
            raise _too_many(self._per_account, "account")
        return place, second

    def leave(self, place: Place) -> None:
        """Give *place* back."""
        first, second = place
        self._addresses.remove(first)
        if second is not None:
            self._accounts.remove(second)


def _too_many(limit: int, whose: str) -> RateLimitExceeded:
    return RateLimitExceeded(
        _RETRY_SECONDS,
        message=f"No more than {limit} requests of one {whose} are waited for at once: "
        "please send fewer at once, or faster",
    )
