"""The errors that this service answers with: a class each, with its wire name and HTTP status.

The names are those of the lexicons and of the reference PDS; the envelope is
https://atproto.com/specs/xrpc#error-responses
"""

_MAX_MESSAGE = 2000  # characters; a guess, the longest of ours has 400


class BlobServiceError(Exception):
    """The base: `error` is the name on the wire, `status` the HTTP status.

    `protocol.quoting` cuts what a message quotes. A message that is long all the same is cut here.
    """

    error = "InternalServerError"
    status = 500
    retry_after: int | None = None  # seconds, sent as Retry-After
    # What clients are told in place of the message, where that is for the operator alone.
    public_message: str | None = None
    headers: tuple[tuple[str, str], ...] = ()  # further headers of the answer

    def __init__(self, message: str) -> None:
        if len(message) > _MAX_MESSAGE:
            message = message[: _MAX_MESSAGE - 1] + "…"
        super().__init__(message)
        self.message = message


class InvalidRequest(BlobServiceError):
    error, status = "InvalidRequest", 400


class UploadIncomplete(InvalidRequest):
    """The body ended early, could not be read, or does not decode."""


class WrongBytes(InvalidRequest):
    """The body is not the blob of the CID that was expected."""


class UnsupportedEncoding(BlobServiceError):
    error, status = "UnsupportedMediaType", 415


class BlobTooLarge(BlobServiceError):
    error, status = "PayloadTooLarge", 413

    def __init__(self, message: str = "request entity too large") -> None:
        super().__init__(message)


class InvalidMimeType(BlobServiceError):
    error, status = "InvalidMimeType", 400


class LocationMetadata(BlobServiceError):
    """An upload's metadata has a location, and the operator does not publish locations."""

    error, status = "LocationMetadata", 400

    def __init__(self) -> None:
        super().__init__(
            "The file's metadata says where it was taken: remove the location and upload it again"
        )


class UnusableImage(BlobServiceError):
    """No picture can be derived from a blob: it is damaged, or too large."""

    error, status = "UnusableImage", 422


class InvalidSize(BlobServiceError):
    error, status = "InvalidSize", 400


class InvalidSwap(BlobServiceError):
    error, status = "InvalidSwap", 400


class QuotaExceeded(BlobServiceError):
    error, status = "QuotaExceeded", 400


class BlobNotFound(BlobServiceError):
    error, status = "BlobNotFound", 400

    def __init__(self, message: str = "Blob not found") -> None:
        super().__init__(message)


class RecordNotFound(BlobServiceError):
    error, status = "RecordNotFound", 400


class SubjectNotFound(BlobServiceError):
    error, status = "NotFound", 400


class RepoNotFound(BlobServiceError):
    error, status = "RepoNotFound", 400


class RepoTakendown(BlobServiceError):
    error, status = "RepoTakendown", 400


class RepoSuspended(BlobServiceError):
    error, status = "RepoSuspended", 400


class RepoDeactivated(BlobServiceError):
    error, status = "RepoDeactivated", 400


class PreconditionFailed(BlobServiceError):
    error, status = "PreconditionFailed", 412

    def __init__(self) -> None:
        super().__init__("The blob is not the one that If-Match names")


class RangeNotSatisfiable(BlobServiceError):
    error, status = "RangeNotSatisfiable", 416

    def __init__(self, size: int) -> None:
        super().__init__(f"The blob has {size} bytes, none of them in the range asked for")
        self.headers = (("Content-Range", f"bytes */{size}"),)


# Accounts: the named errors of com.atproto.server.createAccount and createSession.


class HandleNotAvailable(BlobServiceError):
    error, status = "HandleNotAvailable", 400


class InvalidHandle(BlobServiceError):
    error, status = "InvalidHandle", 400


class UnsupportedDomain(BlobServiceError):
    error, status = "UnsupportedDomain", 400


class InvalidPassword(BlobServiceError):
    error, status = "InvalidPassword", 400


class HandleNotFound(BlobServiceError):
    error, status = "HandleNotFound", 400

    def __init__(self, message: str = "Unable to resolve handle") -> None:
        super().__init__(message)


# Authentication.


class AuthMissing(BlobServiceError):
    error, status = "AuthMissing", 401

    def __init__(self, message: str = "Authentication Required") -> None:
        super().__init__(message)


class AuthenticationRequired(BlobServiceError):
    error, status = "AuthenticationRequired", 401

    def __init__(self, message: str = "Authentication Required") -> None:
        super().__init__(message)


class WrongPassword(AuthenticationRequired):
    """A log-in that failed: of *did*, None where it is nobody's, or the administrator's."""

    def __init__(self, message: str = "Authentication Required", did: str | None = None) -> None:
        super().__init__(message)
        self.did = did


class InvalidInviteCode(AuthenticationRequired):
    """A code of createAccount. Like a password it can be guessed at, and wrong ones are counted."""

    error, status = "InvalidInviteCode", 400

    def __init__(self, message: str = "Provided invite code not available") -> None:
        super().__init__(message)


class InvalidToken(BlobServiceError):
    error, status = "InvalidToken", 400


class ExpiredToken(BlobServiceError):
    error, status = "ExpiredToken", 400

    def __init__(self, message: str = "Token has expired") -> None:
        super().__init__(message)


class AccountNotFound(BlobServiceError):
    error, status = "AccountNotFound", 403

    def __init__(self, message: str = "Account not found") -> None:
        super().__init__(message)


class AccountTakedown(BlobServiceError):
    error, status = "AccountTakedown", 401

    def __init__(self, message: str = "Account has been taken down") -> None:
        super().__init__(message)


class AccountDeactivated(BlobServiceError):
    error, status = "AccountDeactivated", 401

    def __init__(self, message: str = "Account is deactivated") -> None:
        super().__init__(message)


class OAuthRefused(BlobServiceError):
    """*error* is a name of RFC 6750 or 9449: invalid_token, invalid_dpop_proof, use_dpop_nonce."""

    status = 401

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error
        algorithms = "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES256K ES384 ES512"
        # A quote would end the parameter, and a line the header.
        is_plain = message.isascii() and message.isprintable() and not set(message) & set('"\\')
        described = "" if not is_plain else f', error_description="{message}"'
        self.headers = (
            ("WWW-Authenticate", f'DPoP algs="{algorithms}", error="{error}"{described}'),
        )


class ScopeMissing(BlobServiceError):
    error, status = "ScopeMissingError", 403

    def __init__(self, needed: str) -> None:
        super().__init__(f'Missing required scope "{needed}"')


# Service tokens, which a server signs for a call to another server.


class BadJwt(BlobServiceError):
    error, status = "BadJwt", 401


class BadJwtType(BlobServiceError):
    error, status = "BadJwtType", 401


class JwtExpired(BlobServiceError):
    error, status = "JwtExpired", 401


class BadJwtLexiconMethod(BlobServiceError):
    error, status = "BadJwtLexiconMethod", 401

    def __init__(self, nsid: str, *, missing: bool) -> None:
        super().__init__(
            f'{"missing" if missing else "bad"} jwt lexicon method ("lxm"). must match: {nsid}'
        )


class BadJwtIss(BlobServiceError):
    error, status = "BadJwtIss", 401


class UntrustedIss(BlobServiceError):
    error, status = "UntrustedIss", 401


class BadJwtSignature(BlobServiceError):
    error, status = "BadJwtSignature", 401


class BadJwtAudience(BlobServiceError):
    error, status = "BadJwtAudience", 401


class RateLimitExceeded(BlobServiceError):
    """*retry_after* is in seconds."""

    error, status = "RateLimitExceeded", 429

    def __init__(
        self,
        retry_after: int,
        headers: tuple[tuple[str, str], ...] = (),
        message: str = "Rate Limit Exceeded",
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.headers = headers


# Not the client's fault. The message of a 500 is never sent.


class MethodNotImplemented(BlobServiceError):
    error, status = "MethodNotImplemented", 501

    def __init__(self, message: str = "Method Not Implemented") -> None:
        super().__init__(message)


class InsufficientStorage(BlobServiceError):
    error, status = "InsufficientStorage", 507
    retry_after = 60  # a guess: somebody has to make space


class DatabaseError(Exception):
    """What an engine of the database fails with where neither waiting nor space helps."""


class ServiceBusy(BlobServiceError):
    """Worth another try: the database was locked for long, or an upload's blob was collected."""

    error, status = "ServiceUnavailable", 503
    retry_after = 5


class Conflict(ServiceBusy):
    """Another transaction was in the way of this one, of which nothing was changed."""


class LeaseLost(ServiceBusy):
    """Another node has begun the same work: this one was paused, or cut off from the database."""


class ThumbnailTimeout(ServiceBusy):
    """The time for a thumbnail passed without its share of CPU: the machine is busy."""

    retry_after = 60

    def __init__(self) -> None:
        super().__init__("The picture could not be derived in time, please try again later.")


class UpstreamAway(BlobServiceError):
    """The PDS of a blob that is not here cannot be asked for it now, for *retry_after* seconds."""

    error, status = "UpstreamFailure", 502
    retry_after = 30

    def __init__(self, retry_after: int) -> None:
        super().__init__("The PDS of the account cannot be asked now, please try again.")
        self.retry_after = retry_after


class BackendUnavailable(BlobServiceError):
    """The store cannot be reached, or refuses to work."""

    error, status = "UpstreamFailure", 502
    retry_after = 30


class BackendTimeout(BlobServiceError):
    """The store did not answer within its deadline."""

    error, status = "UpstreamTimeout", 504
    retry_after = 30

    def __init__(self, message: str = "Operation timed out, please try again.") -> None:
        super().__init__(message)


class StoreNotOurs(BackendUnavailable):
    """The store does not carry this database's mark: not mounted, emptied, or of another one."""

    error, status = "ServiceUnavailable", 503
    public_message = "The blob store is not available, please try again later."


# The next blob would meet the same error, so a job over many blobs ends or waits.
STORE_AWAY = (BackendUnavailable, BackendTimeout, ServiceBusy)
