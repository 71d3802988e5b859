"""Signature Version 4: who sent a request, and that nothing of it was changed on the way.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest, digest
from urllib.parse import quote, unquote_to_bytes

from aurora_blobs.object_api.refusals import Refusal

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMING_UNSIGNED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
STREAMING = ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")
SKEW_SECONDS = 15 * 60
_MAX_EXPIRES = 7 * 86_400  # seconds
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} +Credential=([^, ]+), *SignedHeaders=([^, ]+), *Signature=([0-9a-f]{{64}})"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SPACES = re.compile(" +")
_MOMENT = re.compile(r"[0-9]{8}T[0-9]{6}Z")


@dataclass(frozen=True, slots=True)
class Request:
    """What of a request is signed. *headers* are by lower-case names, bytes as Latin-1.

    *path* and *query* are decoded: what a client leaves unescaped is signed as if it were escaped.
    """

    method: str
    path: bytes
    query: Sequence[tuple[bytes, bytes]]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Key:
    """The key that a client has to know."""

    access_key_id: str
    secret_access_key: str


@dataclass(frozen=True, slots=True)
class Signed:
    """A request whose signature was right. *payload* is what it says of its body's SHA-256.

    That is the digest in hex, or one of the words above. *time*, *scope*, *signing_key* and
    *signature* are what the signatures of chunks go on from.
    """

    payload: str
    time: str
    scope: str
    signing_key: bytes
    signature: str

    @property
    def payload_digest(self) -> bytes | None:
        """The SHA-256 of the body, None where the request has none of the whole."""
        return bytes.fromhex(self.payload) if _SHA256.fullmatch(self.payload) else None


def parse_query(text: str) -> list[tuple[bytes, bytes]]:
    """The pairs of the query *text*, as it was sent; a plus is a plus."""
    pairs = (part.partition("=") for part in text.split("&") if part)
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs]


def verify(request: Request, key: Key, now: float) -> Signed:
    """Check that *request* was signed with *key*. *now* is in seconds since the epoch.

    Raises Refusal.
    """
    claim = _claim_in_query(request) if _is_presigned(request) else _claim_in_headers(request)
    access_key_id, _, scope = claim.credential.partition("/")
    if not compare_digest(access_key_id.encode(), key.access_key_id.encode()):
        raise Refusal("InvalidAccessKeyId", "The access key ID is not known here")
    day, region = _parse_scope(scope)
    _check_time(claim, day, now)
    _check_signed_headers(request, claim.signed_headers)
    text = "\n".join(
        (ALGORITHM, claim.time, scope, _sha256_hex(_canonical_request(request, claim)))
    )
    signing_key = _signing_key(key.secret_access_key, day, region)
    if not compare_digest(sign(signing_key, text), claim.signature):
        raise Refusal(
            "SignatureDoesNotMatch",
            "The signature is not the one of this request and the secret access key",
        )
    return Signed(claim.payload, claim.time, scope, signing_key, claim.signature)


def sign(signing_key: bytes, text: str) -> str:
    """The signature of *text* in hex."""
    return digest(signing_key, text.encode("latin-1"), "sha256").hex()


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a request says of its own signature. `expires` is in seconds, None for headers."""

    credential: str
    signed_headers: list[str]
    signature: str
    time: str
    payload: str
    expires: int | None = None


def _is_presigned(request: Request) -> bool:
    return "authorization" not in request.headers and any(
        name == b"X-Amz-Signature" for name, _ in request.query
    )


def _claim_in_headers(request: Request) -> _Claim:
    header = request.headers.get("authorization")
    if header is None:
        raise Refusal("AccessDenied", "The request is not signed")
    match = _AUTHORIZATION.fullmatch(header.strip())
    if match is None:
        raise Refusal(
            "AuthorizationHeaderMalformed",
            f"Accepted is {ALGORITHM} Credential=…, SignedHeaders=…, Signature=…",
        )
    payload = request.headers.get("x-amz-content-sha256")
    if payload is None or not _is_payload(payload):
        raise Refusal(
            "InvalidRequest",
            "x-amz-content-sha256 has to be a SHA-256 in hex, or the word for a payload",
        )
    time = request.headers.get("x-amz-date", "")
    return _Claim(match[1], match[2].split(";"), match[3], time, payload)


def _claim_in_query(request: Request) -> _Claim:
    given = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.query}
    expires, signature = given.get("X-Amz-Expires", ""), given["X-Amz-Signature"]
    if (
        given.get("X-Amz-Algorithm") != ALGORITHM
        or not re.fullmatch(r"[0-9]{1,6}", expires)
        or not 0 < int(expires) <= _MAX_EXPIRES
        or not _SHA256.fullmatch(signature)
    ):
        raise Refusal(
            "AuthorizationQueryParametersError",
            f"Accepted are X-Amz-Algorithm={ALGORITHM}, X-Amz-Credential, X-Amz-Date, "
            "X-Amz-Expires from 1 to 604800, X-Amz-SignedHeaders and X-Amz-Signature",
        )
    payload = request.headers.get("x-amz-content-sha256") or UNSIGNED
    if not _is_payload(payload) or payload in STREAMING:
        raise Refusal("InvalidRequest", "x-amz-content-sha256 makes no sense")
    return _Claim(
        given.get("X-Amz-Credential", ""),
        given.get("X-Amz-SignedHeaders", "").split(";"),
        signature,
        given.get("X-Amz-Date", ""),
        payload,
        int(expires),
    )


def _is_payload(text: str) -> bool:
    return bool(_SHA256.fullmatch(text)) or text in (UNSIGNED, STREAMING_UNSIGNED, *STREAMING)


def _parse_scope(scope: str) -> tuple[str, str]:
    """Day and region. The region is the client's choice: there is one place here."""
    parts = scope.split("/")
    if len(parts) != 4 or parts[2:] != ["s3", "aws4_request"]:
        raise Refusal(
            "AuthorizationHeaderMalformed",
            "The credential has to be <access key ID>/<day>/<region>/s3/aws4_request",
        )
    return parts[0], parts[1]


def _check_time(claim: _Claim, day: str, now: float) -> None:
    signed_at = _seconds(claim.time)
    if day != claim.time[:8]:
        raise Refusal("SignatureDoesNotMatch", "The credential is not of the day of X-Amz-Date")
    if claim.expires is not None and now > signed_at + claim.expires:
        raise Refusal("AccessDenied", "Request has expired")
    is_late = claim.expires is None and now - signed_at > SKEW_SECONDS
    if is_late or signed_at - now > SKEW_SECONDS:
        raise Refusal(
            "RequestTimeTooSkewed",
            "The difference between the request time and the server's time is too large",
        )


def _seconds(time: str) -> float:
    with suppress(ValueError):
        if _MOMENT.fullmatch(time):
            return datetime.fromisoformat(time).timestamp()  # a thirtieth of strptime
    raise Refusal("AccessDenied", "The time has to be in X-Amz-Date, like 20130524T000000Z")


def _check_signed_headers(request: Request, signed: list[str]) -> None:
    """What says where a request goes and what it does has to be signed."""
    needed = {"host"} | {name for name in request.headers if name.startswith("x-amz-")}
    if not needed <= set(signed):
        raise Refusal(
            "AccessDenied", "There were headers present in the request which were not signed"
        )


def _canonical_request(request: Request, claim: _Claim) -> str:
    pairs = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in request.query
        if claim.expires is None or name != b"X-Amz-Signature"
    )
    headers = "".join(
        f"{name}:{_SPACES.sub(' ', request.headers.get(name, '').strip())}\n"
        for name in claim.signed_headers
    )
    return "\n".join(
        (
            request.method,
            quote(request.path, safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in pairs),
            headers,
            ";".join(claim.signed_headers),
            claim.payload,
        )
    )


def _sha256_hex(text: str) -> str:
    return sha256(text.encode("latin-1")).hexdigest()


@lru_cache(maxsize=8)  # of a day and a region: a PDS has one
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in (day, region, "s3", "aws4_request"):
        key = digest(key, part.encode("latin-1"), "sha256")
    return key
