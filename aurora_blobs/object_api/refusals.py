"""What a client of the object API is told: S3's codes and statuses.

https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from aurora_blobs.errors import (
    STORE_AWAY,
    BlobNotFound,
    BlobServiceError,
    BlobTooLarge,
    InsufficientStorage,
    InvalidMimeType,
    InvalidRequest,
    LocationMetadata,
    PreconditionFailed,
    QuotaExceeded,
    RangeNotSatisfiable,
    RateLimitExceeded,
    UploadIncomplete,
    WrongBytes,
)

_STATUSES = {
    "AccessDenied": 403,
    "AuthorizationHeaderMalformed": 400,
    "AuthorizationQueryParametersError": 400,
    "BadDigest": 400,
    "EntityTooLarge": 400,
    "EntityTooSmall": 400,
    "IncompleteBody": 400,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidArgument": 400,
    "InvalidDigest": 400,
    "InvalidPart": 400,
    "InvalidPartOrder": 400,
    "InvalidRange": 416,
    "InvalidRequest": 400,
    "KeyTooLongError": 400,
    "MalformedXML": 400,
    "MethodNotAllowed": 405,
    "MissingContentLength": 411,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "NotImplemented": 501,
    "PreconditionFailed": 412,
    "RequestTimeTooSkewed": 403,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
    "StorageFull": 507,  # no client tries it again at once, as it would a 503
    "XAmzContentSHA256Mismatch": 400,
}

# By class, the first that fits. Of the others the service's own names are good enough.
_TRANSLATIONS: tuple[tuple[type[BlobServiceError] | tuple[type[BlobServiceError], ...], str], ...]
_TRANSLATIONS = (
    (WrongBytes, "BadDigest"),
    (UploadIncomplete, "IncompleteBody"),
    (BlobTooLarge, "EntityTooLarge"),
    (BlobNotFound, "NoSuchKey"),
    ((InvalidMimeType, LocationMetadata, QuotaExceeded), "AccessDenied"),
    (PreconditionFailed, "PreconditionFailed"),
    (RangeNotSatisfiable, "InvalidRange"),
    (RateLimitExceeded, "SlowDown"),
    (InsufficientStorage, "StorageFull"),
    (STORE_AWAY, "ServiceUnavailable"),
    (InvalidRequest, "InvalidRequest"),
)


class Refusal(BlobServiceError):
    """*code* is S3's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.error = code
        self.status = _STATUSES[code]
        if code == "SlowDown":
            self.retry_after = 5  # seconds; a guess


def refusal_of(error: BlobServiceError) -> Refusal:
    """*error* in S3's words."""
    if isinstance(error, Refusal):
        return error
    code = next((code for kinds, code in _TRANSLATIONS if isinstance(error, kinds)), None)
    if code is None:
        code = "InternalError" if error.status >= 500 else "AccessDenied"
    told = error.public_message or error.message
    refusal = Refusal(code, "Internal Server Error" if code == "InternalError" else told)
    refusal.retry_after = error.retry_after
    if code == "InvalidRange":
        refusal.headers = error.headers
    return refusal
