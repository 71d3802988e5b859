"""What must hold for each answer, and what a request may cost."""

import json
from dataclasses import dataclass
from xml.etree.ElementTree import ParseError, fromstring

from support.hostile.request import Request
from support.wire import Reply

# Of an error: the envelope, the name and a message with cut quotations, each letter of 4 bytes.
MAX_ERROR_BYTES = 1500
MAX_HEAD_BYTES = 12_000  # a preflight gives the asked headers back
_NAMES = {
    "accept-ranges", "access-control-allow-headers", "access-control-allow-methods",
    "access-control-allow-origin", "access-control-expose-headers", "access-control-max-age",
    "allow", "cache-control", "connection", "content-disposition", "content-length",
    "content-range", "content-security-policy", "content-type", "cross-origin-opener-policy",
    "cross-origin-resource-policy", "date", "dpop-nonce", "etag", "last-modified", "location",
    "ratelimit-limit", "ratelimit-policy", "ratelimit-remaining", "ratelimit-reset",
    "referrer-policy", "retry-after", "server", "transfer-encoding", "vary", "www-authenticate",
    "x-amz-checksum-sha256", "x-amz-checksum-type", "x-content-type-options", "x-frame-options",
    "x-request-id",
}  # fmt: skip
_ONCE = {
    "content-length",
    "content-type",
    "etag",
    "content-range",
    "location",
    "retry-after",
    "connection",
}
# Errors that nginx words itself, in HTML: of a head that it does not read on.
_IN_HTML = {400, 405, 408, 413, 414, 431, 494, 501, 505}


@dataclass(frozen=True)
class Cost:
    """What a request costs a worker, or may cost it."""

    cpu_seconds: float
    peak_bytes: int

    def __str__(self) -> str:
        return f"CPU {self.cpu_seconds:.2f} s, memory {self.peak_bytes // 10**6} MB"

    def is_within(self, budget: "Cost") -> bool:
        """Whether neither is more than in *budget*."""
        return self.cpu_seconds <= budget.cpu_seconds and self.peak_bytes <= budget.peak_bytes

    def least(self, other: "Cost") -> "Cost":
        """The less of each."""
        return Cost(
            min(self.cpu_seconds, other.cpu_seconds), min(self.peak_bytes, other.peak_bytes)
        )

    def most(self, other: "Cost") -> "Cost":
        """The more of each."""
        return Cost(
            max(self.cpu_seconds, other.cpu_seconds), max(self.peak_bytes, other.peak_bytes)
        )


_MB = 1_000_000
# Guesses, well above what was measured of ordinary requests (a hundredth of it), and well below of
# what was found. Hashing a password takes 0.03 s and 7 MB.
_SMALL = Cost(0.2, 24 * _MB)
# A body of up to 1 MB of JSON is parsed and checked value by value.
_LARGE = Cost(2.5, 150 * _MB)
_IMPORT = Cost(5, 64 * _MB)


def budget(requests: list[Request]) -> Cost:
    """What *requests* may cost together."""
    each = [_budget(request) for request in requests]
    return Cost(sum(one.cpu_seconds for one in each), max(one.peak_bytes for one in each))


def _budget(request: Request) -> Cost:
    if request.route.rule.endswith("importRepo"):
        return _IMPORT
    is_packed = any(name.lower() == b"content-encoding" for name, _ in request.headers)
    return _LARGE if is_packed or len(request.body) > 20_000 else _SMALL


def complaints(
    request: Request, reply: Reply, *, is_proxied: bool, is_as_made: bool = True
) -> list[str]:
    """What is wrong with *reply*.

    *is_as_made*: it answers *request*, and nothing that was made of it.
    """
    found = list(_of_status(request, reply, is_proxied, is_as_made))
    found += _of_headers(reply)
    if reply.status >= 400:
        found += _of_error(request, reply, is_proxied)
    return found


def _of_status(request: Request, reply: Reply, is_proxied: bool, is_as_made: bool) -> list[str]:
    status = reply.status
    if status == 501:
        # An unknown method, or a coding that gunicorn does not know.
        is_known = request.target.partition(b"?")[0] == request.route.rule.encode()
        codings = [
            name for name, _ in request.headers if name.lower().strip() == b"transfer-encoding"
        ]
        is_wrong = is_known and is_as_made and not codings
        return [f"501 of {request.route.rule}"] if is_wrong else []
    if status == 503:
        return [] if reply.header("retry-after") else ["503 without Retry-After"]
    if status == 505:
        return [] if is_proxied else ["505"]
    return [f"status {status}"] if status >= 500 or status < 200 else []


def _of_headers(reply: Reply) -> list[str]:
    names = [name for name, _ in reply.headers]
    found = [f"header {name}" for name in {*names} - _NAMES]
    found += [f"two headers {name}" for name in _ONCE if names.count(name) > 1]
    if len(reply.head) > MAX_HEAD_BYTES:
        found.append("a head of more than 12,000 bytes")
    if reply.interim not in ((), (100,)):
        found.append(f"interim answers {reply.interim}")
    return found


def _of_error(request: Request, reply: Reply, is_proxied: bool) -> list[str]:
    found = []
    if "public" in reply.header("cache-control"):
        found.append("an error that caches keep")
    if len(reply.body) > MAX_ERROR_BYTES:
        found.append("an error of more than 1,500 bytes")
    if request.verb == "HEAD" or (
        is_proxied and reply.status in _IN_HTML and b"<html>" in reply.body
    ):
        return found
    if reply.header("content-type") == "application/xml":
        return found + _of_document(reply)
    try:
        envelope = json.loads(reply.body)
        if not (isinstance(envelope["error"], str) and isinstance(envelope["message"], str)):
            found.append("an error in another envelope")
    except (ValueError, KeyError, TypeError):
        found.append(f"an error that is not in the envelope ({reply.status})")
    return found


def _of_document(reply: Reply) -> list[str]:
    """Of an error of the object API."""
    try:
        error = fromstring(reply.body)
    except ParseError:
        return [f"an error that is no XML ({reply.status})"]
    is_whole = error.tag == "Error" and error.findtext("Code") and error.findtext("Message")
    return [] if is_whole else [f"an error in another document ({reply.status})"]
