"""Calls to an S3-compatible store: with a deadline, retries, and our names for failures."""

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from aurora_blobs.config import ConfigError
from aurora_blobs.errors import (
    BackendTimeout,
    BackendUnavailable,
    BlobNotFound,
    BlobServiceError,
    InsufficientStorage,
    ServiceBusy,
)
from aurora_blobs.storage.s3_direct import DirectCalls

log = logging.getLogger(__name__)

ATTEMPTS = 3
# The pause before another attempt is random up to this, doubled each time: clients that failed
# together do not return together. A store that says SlowDown gets BUSY_FACTOR times as long.
PAUSE_SECONDS = 0.2
BUSY_FACTOR = 5
# Bytes per second below which an upload to the store is given up. The kernel takes up to 4 MB
# ahead of the link, and they must be sent before DEFAULT_TIMEOUTS.read is over.
SLOWEST_PUT = 512 * 1024
POOL = 256  # as many as a worker has threads; a connection is made when it is first needed


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that a call may take: to connect, without a byte, and in all attempts together."""

    connect: float
    read: float
    total: float


# Connecting: a lost SYN is sent again after 1 s, so 3 s forgive one. Reading: a store answers
# within a second, a cluster that recovers within several. In total: two silent attempts, and below
# the 60 s after which a proxy gives us up.
DEFAULT_TIMEOUTS = Timeouts(connect=3, read=15, total=35)
# For looks and removals, of which there may be many in a row, and for health.
BRIEF_TIMEOUTS = Timeouts(connect=2, read=4, total=5)

_ABSENT = {"NoSuchKey", "404"}  # "404" is all that a HEAD can say
_FULL = {"QuotaExceeded", "XMinioStorageFull", "StorageFull"}
_BUSY = {
    "SlowDown",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "503",
    "429",
}
# Of 400, those that no header less would mend: the credentials, the bucket, the size.
_OTHERWISE_WRONG = {
    "AuthorizationHeaderMalformed",
    "EntityTooLarge",
    "ExpiredToken",
    "IllegalLocationConstraintException",
    "InvalidBucketName",
    "InvalidToken",
    "TokenRefreshRequired",
}
_DAMAGED = {
    "BadDigest",
    "InvalidDigest",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
    "IncompleteBody",
}
_TRANSIENT = {"ConditionalRequestConflict", "OperationAborted"}
_SKEWED = "RequestTimeTooSkewed"

_AWAY = "The blob store is not available, please try again later."


class Refused(BlobServiceError):
    """The store understood a call and refused it, with S3's error `code` and its `http_status`."""

    def __init__(self, code: str, http_status: int, message: str = "") -> None:
        """*message* is the store's own."""
        super().__init__(f"{code} {message}")
        self.code = code
        self.http_status = http_status


class Damaged(BackendUnavailable):
    """The bytes that came to the store are not those of the digest that came with them."""


class Forbidden(BackendUnavailable):
    """The credentials are right, and do not allow the call."""


class S3Client:
    """A boto3 client for each process and its timeouts.

    Made at its first use: after a fork, and never in a service without S3.
    """

    def __init__(
        self,
        *,
        endpoint_url: str | None,
        region: str | None,
        addressing_style: str,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        brief_timeouts: Timeouts = BRIEF_TIMEOUTS,
    ) -> None:
        self._endpoint_url = endpoint_url
        self._region = region
        self._addressing_style = addressing_style
        self._timeouts = timeouts
        self._brief_timeouts = brief_timeouts
        self._lock = threading.Lock()
        self._clients: dict[Timeouts, DirectCalls] = {}
        self._pid = os.getpid()

    def call(
        self,
        operation: str,
        *,
        brief: bool = False,
        expected: type[BlobServiceError] | None = None,
        extra_seconds: float = 0,
        body: Callable[[], BinaryIO] | None = None,
        **parameters: Any,
    ) -> dict[str, Any]:
        """The answer to *operation*, named as boto3's method.

        *brief* calls have `BRIEF_TIMEOUTS`. An error of the class *expected* is an answer: it is
        raised at once. *extra_seconds* are added to the total. *body* opens the bytes to be sent,
        once for each attempt.

        Raises BlobNotFound, BackendUnavailable, BackendTimeout, ServiceBusy, InsufficientStorage.
        Raises Refused for what the caller may have an answer to: 412, NoSuchUpload, and 400 or 501
        of a store that knows less than S3 does.
        """
        timeouts = self._brief_timeouts if brief else self._timeouts
        client = self._client(timeouts)
        end = time.monotonic() + timeouts.total + extra_seconds
        attempt = 1
        while True:
            try:
                return _attempt(client, operation, parameters, body, end)
            except _Failure as failure:
                if expected is not None and isinstance(failure.error, expected):
                    raise failure.error from failure.__cause__
                busy = isinstance(failure.error, ServiceBusy)
                pause = random.uniform(0, PAUSE_SECONDS * 2**attempt) * (BUSY_FACTOR if busy else 1)
                out_of_time = time.monotonic() + pause + timeouts.read > end
                if attempt >= failure.attempts or out_of_time:
                    if not isinstance(failure.error, (BlobNotFound, Refused)):
                        log.warning("%s at the store failed: %s", operation, failure.reason)
                    raise failure.error from failure.__cause__
                log.info("%s at the store failed: %s; trying again", operation, failure.reason)
            time.sleep(pause)
            attempt += 1

    def boto3_client(self) -> Any:
        """The boto3 client itself, for what makes no call, like a presigned URL."""
        return self._client(self._timeouts).client

    def _client(self, timeouts: Timeouts) -> DirectCalls:
        if self._pid != os.getpid():
            # Connections are not shared with the parent, which may have forked under its lock.
            self._lock, self._clients, self._pid = threading.Lock(), {}, os.getpid()
        with self._lock:
            if timeouts not in self._clients:
                self._clients[timeouts] = self._make(timeouts)
            return self._clients[timeouts]

    def _make(self, timeouts: Timeouts) -> DirectCalls:
        # Imported here: it costs 0.2 s and 40 MB, which a service that stores on disk must not pay.
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise ConfigError(
                f"S3 needs boto3: install the extra s3 of aurora_blobs ({error})"
            ) from error

        # Signed bytes: some stores check the digest in the signature, some the checksum.
        s3: Any = {"addressing_style": self._addressing_style, "payload_signing_enabled": True}
        # A session of its own: the default one is shared, and not made for threads.
        session = boto3.session.Session()
        client = session.client(
            "s3",
            endpoint_url=self._endpoint_url,
            region_name=self._region,
            config=Config(
                signature_version="s3v4",
                s3=s3,
                # The default sends a chunked CRC32 trailer over TLS, which most stores other than
                # AWS refuse or, worse, store. We send the SHA-256 instead.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=timeouts.connect,
                read_timeout=timeouts.read,
                # `call` repeats: it knows the deadline.
                retries={"mode": "standard", "total_max_attempts": 1},
                tcp_keepalive=True,
                max_pool_connections=POOL,
            ),
        )
        client.meta.events.register("before-call.s3.HeadBucket", _end_redirects)
        return DirectCalls(client, session)


class _Failure(Exception):
    """An attempt failed, with *error* for the caller and *reason*, which says more, for the log."""

    def __init__(self, error: BlobServiceError, reason: str, attempts: int = 1) -> None:
        """*attempts* are made in all: one where another would fail as well."""
        super().__init__(reason)
        self.error = error
        self.reason = reason
        self.attempts = attempts


def _attempt(
    client: DirectCalls,
    operation: str,
    parameters: dict[str, Any],
    body: Callable[[], BinaryIO] | None,
    end: float,
) -> dict[str, Any]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        if body is None:
            return client.call(operation, **parameters)
        with body() as file:
            return client.call(operation, Body=_TimedFile(file, end), **parameters)
    except ClientError as error:
        raise _error_answer(error.response) from error
    except BotoCoreError as error:
        raise _no_answer(error, out_of_time=time.monotonic() > end) from error


def _end_redirects(context: dict[str, Any], **_: object) -> None:
    # botocore asks for the bucket when a call is redirected, to learn its region. Where that is
    # redirected, too, it would ask again, until Python's stack ends: hundreds of calls.
    context["s3_redirect"]["redirected"] = True


def translated(error: Exception) -> BlobServiceError:
    """Our name for *error*, which broke off the bytes of an object."""
    return _no_answer(error, out_of_time=False).error


def _error_answer(response: Any) -> _Failure:
    code = str(response.get("Error", {}).get("Code", ""))
    message = str(response.get("Error", {}).get("Message", ""))
    metadata = response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    reason = f"{status} {code} {message}"
    if code in _ABSENT and status == 404:
        return _Failure(BlobNotFound(), reason)
    if code in _FULL or status == 507:
        return _Failure(InsufficientStorage("no space left to store the blob"), reason)
    if code in _BUSY or status in (429, 503):
        busy = ServiceBusy("The blob store is busy, please try again.")
        return _Failure(busy, reason, ATTEMPTS)
    if code == "RequestTimeout" or status in (408, 504):
        return _Failure(BackendTimeout(), reason, ATTEMPTS)
    if code in _DAMAGED:
        return _Failure(Damaged(_AWAY), reason, ATTEMPTS)
    if code in _TRANSIENT or (status >= 500 and status != 501):
        return _Failure(BackendUnavailable(_AWAY), reason, ATTEMPTS)
    if code == _SKEWED:
        # A clock that is being set passes: each attempt is signed anew. One that is wrong stays.
        return _Failure(BackendUnavailable(_AWAY), reason, attempts=2)
    if 300 <= status < 400:
        location = metadata.get("HTTPHeaders", {}).get("location", "elsewhere")
        elsewhere = location.partition("?")[0]  # it may be signed
        reason = f"{reason}: it sends us to {elsewhere}; is AURORA_BLOBS_S3_ENDPOINT_URL right?"
        return _Failure(BackendUnavailable(_AWAY), reason)
    if code == "AccessDenied":
        return _Failure(Forbidden(_AWAY), reason)
    is_refused = status in (400, 412, 416, 501) and code not in _OTHERWISE_WRONG
    if code == "NoSuchUpload" or is_refused:
        return _Failure(Refused(code, status, message), reason)
    return _Failure(BackendUnavailable(_AWAY), reason)


def _no_answer(error: Exception, *, out_of_time: bool) -> _Failure:
    from botocore import exceptions

    reason = f"{type(error).__name__}: {error}"
    if out_of_time:
        return _Failure(BackendTimeout(), reason)
    if isinstance(
        error, (exceptions.ConnectTimeoutError, exceptions.ReadTimeoutError)
    ) or _timed_out(error):
        return _Failure(BackendTimeout(), reason, ATTEMPTS)
    # The rest of BotoCoreError is about settings: no credentials, a bad region.
    is_passing = isinstance(error, exceptions.HTTPClientError)
    return _Failure(BackendUnavailable(_AWAY), reason, ATTEMPTS if is_passing else 1)


def _timed_out(error: BaseException | None) -> bool:
    """Whether a timeout caused *error*; while sending, botocore reports a closed connection."""
    while error is not None and not isinstance(error, TimeoutError):
        error = error.__cause__ or error.__context__
    return error is not None


class _TimedFile:
    """A file that cannot be read after the time *end*, so that a slow link frees its thread."""

    def __init__(self, file: BinaryIO, end: float) -> None:
        self._file = file
        self._end = end
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if time.monotonic() > self._end:
            raise TimeoutError("the store takes the bytes too slowly")
        return self._file.read(size)
