"""Calls to an S3-compatible store: each with a deadline, repeated where that helps, its failures under our names."""

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from aurora_blobs.errors import (
    BackendTimeout,
    BackendUnavailable,
    BlobNotFound,
    BlobServiceError,
    InsufficientStorage,
    ServiceBusy,
)

log = logging.getLogger(__name__)

ATTEMPTS = 3
# A pause before another attempt is random up to this, doubled each time: clients that failed together do not return
# together. A store that says SlowDown is given BUSY_FACTOR times as long.
PAUSE_SECONDS = 0.2
BUSY_FACTOR = 5
# Bytes per second below which an upload to the store is given up. The kernel takes up to 4 MB ahead of the link,
# and they must be gone before PATIENT.silence is over.
SLOWEST_PUT = 512 * 1024
POOL = 256  # as many as a worker has threads; a connection is made when it is first needed


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a call may take, in seconds: to connect, in silence, and in all its attempts together."""

    connect: float
    silence: float
    total: float


# Connecting: a lost SYN is sent again after 1 s, so 3 s forgive one. Silence: stores answer within a second, a cluster
# that recovers within several. In total: two silent attempts, and below the 60 s after which a proxy gives us up.
PATIENT = Timeouts(connect=3, silence=15, total=35)
# For what is done while the database's write lock is held, or must tell quickly whether the store is there: others
# wait 10 s for that lock.
BRIEF = Timeouts(connect=2, silence=4, total=5)

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
_DAMAGED = {
    "BadDigest",
    "InvalidDigest",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
    "IncompleteBody",
}
_PASSING = {"RequestTimeout", "ConditionalRequestConflict", "OperationAborted"}

_AWAY = "The blob store is not available, please try again later."


class Refused(BlobServiceError):
    """The store understood a call and will not do it: `code` is its name for that, `http_status` the number."""

    def __init__(self, code: str, http_status: int) -> None:
        super().__init__(code)
        self.code = code
        self.http_status = http_status


class Forbidden(BackendUnavailable):
    """The key is right, and may not do this."""


class S3Client:
    """One boto3 client per process and patience, made at its first use: after a fork, and not at all without S3."""

    def __init__(
        self,
        *,
        endpoint_url: str | None,
        region: str | None,
        addressing_style: str,
        patient: Timeouts = PATIENT,
        brief: Timeouts = BRIEF,
    ) -> None:
        self._endpoint_url = endpoint_url
        self._region = region
        self._addressing_style = addressing_style
        self._patient = patient
        self._brief = brief
        self._lock = threading.Lock()
        self._made: dict[Timeouts, Any] = {}
        self._pid = os.getpid()

    def call(
        self,
        operation: str,
        *,
        brief: bool = False,
        extra_seconds: float = 0,
        body: Callable[[], BinaryIO] | None = None,
        **parameters: Any,
    ) -> dict[str, Any]:
        """The answer to *operation*, named as boto3's method. *body* opens what is sent, once for each attempt.

        Raises BlobNotFound, BackendUnavailable, BackendTimeout, ServiceBusy, InsufficientStorage, and Refused for
        what the caller may have an answer to: 412, NoSuchUpload, 400 or 501 of a store that knows less than S3 does.
        """
        patience = self._brief if brief else self._patient
        client = self.boto3_client(patience)
        end = time.monotonic() + patience.total + extra_seconds
        attempt = 1
        while True:
            try:
                return _attempt(client, operation, parameters, body, end)
            except _Failure as failure:
                busy = isinstance(failure.error, ServiceBusy)
                pause = random.uniform(0, PAUSE_SECONDS * 2**attempt) * (BUSY_FACTOR if busy else 1)
                out_of_time = time.monotonic() + pause + patience.silence > end
                if not failure.passing or attempt == ATTEMPTS or out_of_time:
                    if not isinstance(failure.error, (BlobNotFound, Refused)):
                        log.warning("%s at the store failed: %s", operation, failure.reason)
                    raise failure.error from failure.__cause__
                log.info("%s at the store failed: %s; trying again", operation, failure.reason)
            time.sleep(pause)
            attempt += 1

    def boto3_client(self, patience: Timeouts | None = None) -> Any:
        """The boto3 client itself, for what makes no call, like a presigned URL."""
        patience = patience or self._patient
        if self._pid != os.getpid():
            # Connections must not be shared with the parent, and its lock may have been held while it forked.
            self._lock, self._made, self._pid = threading.Lock(), {}, os.getpid()
        with self._lock:
            if patience not in self._made:
                self._made[patience] = self._make(patience)
            return self._made[patience]

    def _make(self, patience: Timeouts) -> Any:
        # In here, since it costs 0.2 s and 40 MB, which a service that stores on disk must not pay.
        import boto3
        from botocore.config import Config

        # Signed bytes: some stores check the digest in the signature, some the checksum, so they get both.
        s3: Any = {"addressing_style": self._addressing_style, "payload_signing_enabled": True}
        # A session of its own: the default one is shared, and not made for threads.
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self._endpoint_url,
            region_name=self._region,
            config=Config(
                signature_version="s3v4",
                s3=s3,
                # The default sends a chunked CRC32 trailer over TLS, which most stores other than AWS refuse or,
                # worse, store. We send the SHA-256 instead.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=patience.connect,
                read_timeout=patience.silence,
                retries={
                    "mode": "standard",
                    "total_max_attempts": 1,
                },  # `call` repeats: it knows the deadline
                tcp_keepalive=True,
                max_pool_connections=POOL,
            ),
        )


class _Failure(Exception):
    """An attempt failed: with *error* for the caller, and *reason*, which says more, for the log."""

    def __init__(self, error: BlobServiceError, reason: str, *, passing: bool) -> None:
        """*passing*: another attempt may do."""
        super().__init__(reason)
        self.error = error
        self.reason = reason
        self.passing = passing


def _attempt(
    client: Any,
    operation: str,
    parameters: dict[str, Any],
    body: Callable[[], BinaryIO] | None,
    end: float,
) -> dict[str, Any]:
    from botocore.exceptions import BotoCoreError, ClientError

    method = getattr(client, operation)
    try:
        if body is None:
            return dict(method(**parameters))
        with body() as file:
            return dict(method(Body=_Watched(file, end), **parameters))
    except ClientError as error:
        raise _answered(error.response) from error
    except BotoCoreError as error:
        raise _unanswered(error, out_of_time=time.monotonic() > end) from error


def translated(error: Exception) -> BlobServiceError:
    """Our name for *error*, a failure in the middle of an object's bytes."""
    return _unanswered(error, out_of_time=False).error


def _answered(response: Any) -> _Failure:
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    reason = f"{status} {code} {response.get('Error', {}).get('Message', '')}"
    if code in _ABSENT and status == 404:
        return _Failure(BlobNotFound(), reason, passing=False)
    if code in _FULL or status == 507:
        return _Failure(
            InsufficientStorage("no space left to store the blob"), reason, passing=False
        )
    if code in _BUSY or status in (429, 503):
        return _Failure(
            ServiceBusy("The blob store is busy, please try again."), reason, passing=True
        )
    if code == "RequestTimeout" or status in (408, 504):
        return _Failure(BackendTimeout(), reason, passing=True)
    if code in _DAMAGED or code in _PASSING or (status >= 500 and status != 501):
        return _Failure(BackendUnavailable(_AWAY), reason, passing=True)
    if code == "AccessDenied":
        return _Failure(Forbidden(_AWAY), reason, passing=False)
    if code == "NoSuchUpload" or status in (400, 412, 416, 501):
        return _Failure(Refused(code, status), reason, passing=False)
    return _Failure(BackendUnavailable(_AWAY), reason, passing=False)


def _unanswered(error: Exception, *, out_of_time: bool) -> _Failure:
    from botocore import exceptions

    reason = f"{type(error).__name__}: {error}"
    if out_of_time:
        return _Failure(BackendTimeout(), reason, passing=False)
    if isinstance(
        error, (exceptions.ConnectTimeoutError, exceptions.ReadTimeoutError)
    ) or _timed_out(error):
        return _Failure(BackendTimeout(), reason, passing=True)
    # The rest of BotoCoreError is about settings: no credentials, a bad region.
    return _Failure(
        BackendUnavailable(_AWAY), reason, passing=isinstance(error, exceptions.HTTPClientError)
    )


def _timed_out(error: BaseException | None) -> bool:
    """A store that takes no more of a body is one whose connection was closed, to botocore: the cause tells."""
    while error is not None and not isinstance(error, TimeoutError):
        error = error.__cause__ or error.__context__
    return error is not None


class _Watched:
    """A file that cannot be read past *end*: a link that trickles does not hold a thread for ever."""

    def __init__(self, file: BinaryIO, end: float) -> None:
        self._file = file
        self._end = end
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if time.monotonic() > self._end:
            raise TimeoutError("the store takes the bytes too slowly")
        return self._file.read(size)
