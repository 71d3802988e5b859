"""Conditions and ranges of a request for a blob. RFC 9110, sections 13 and 14.

The blob of a CID never changes, so its entity tag suffices. Dates are neither sent nor compared.
"""

import re

from aurora_blobs.errors import RangeNotSatisfiable

_RANGES = re.compile(r"bytes\s*=(.*)", re.IGNORECASE | re.DOTALL)
_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
# Possessive: where a list breaks, nothing that was read is tried in another way.
_TAG = re.compile(r'\s*+(?:(\*)|(?:W/)?+("[\x21\x23-\x7e\x80-\xff]*+"))?+\s*+(?:,|$)')
# A weight is below 1 or is 1: https://www.rfc-editor.org/rfc/rfc9110#section-12.4.2
_QUALITY = re.compile(r"(?:^|;)[ \t]*+q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*+(?:;|$)")
_MAX_ACCEPTED = 64  # types in an Accept header that are read; a guess, browsers send ten
_HUGE = 10**18  # stands for every longer number: no blob is as large


def is_listed(tags: str, etag: str) -> bool:
    """Whether *etag*, quotes included, is in *tags*, the list of an If-Match or If-None-Match.

    Tags are compared weakly, because a cache that compresses a blob makes its tag weak. Of a list
    that breaks the grammar, the part before the break counts.
    """
    position = 0
    while position < len(tags) and (match := _TAG.match(tags, position)):
        if match[1] or match[2] == etag:
            return True
        position = match.end()
    return False


def parse_accept(header: str) -> dict[str, float]:
    """The quality, 0 to 1, of each media type and wildcard in *header*, an Accept, in lower case.

    RFC 9110, 12.5.1. What breaks the grammar is passed over. Of two that are equal the better one
    counts. Parameters other than the quality are not told apart.
    """
    found: dict[str, float] = {}
    for part in header.lower().split(",", _MAX_ACCEPTED)[:_MAX_ACCEPTED]:
        name, _, parameters = part.partition(";")
        weight = _QUALITY.search(parameters)
        quality = float(weight[1]) if weight is not None else 1.0
        if name := name.strip():
            found[name] = max(quality, found.get(name, 0))
    return found


def wanted_part(
    ranges: str | None, *, size: int, etag: str, if_range: str | None
) -> tuple[int, int] | None:
    """The bytes ``[start, stop)`` of *size* that the Range header *ranges* asks for.

    None means the whole blob. It is also the result for a header that breaks the grammar, has
    another unit or comes with an If-Range other than *etag*, and for an empty blob.

    Ranges that overlap or touch are merged. Separate ranges are answered with the whole blob, as
    the RFC allows: players, browsers, curl and caches ask for one range, sendfile sends the whole
    where Python would assemble a multipart body, and many small ranges are an old attack.

    Raises RangeNotSatisfiable if no range has a byte of the blob.
    """
    if ranges is None or size == 0 or (if_range is not None and if_range.strip() != etag):
        return None
    match = _RANGES.fullmatch(ranges.strip())
    if match is None:
        return None
    spans = []
    for text in match[1].split(","):
        if not text.strip():
            continue
        span = _parse_span(text.strip(), size)
        if span is None:
            return None
        spans.append(span)
    if not spans:
        return None
    satisfiable = sorted((start, stop) for start, stop in spans if start < stop)
    if not satisfiable:
        raise RangeNotSatisfiable(size)
    start, stop = satisfiable[0]
    for next_start, next_stop in satisfiable[1:]:
        if next_start > stop:
            return None
        stop = max(stop, next_stop)
    return start, stop


def content_range(start: int, stop: int, size: int) -> str:
    """The Content-Range header of the bytes ``[start, stop)`` of *size*."""
    return f"bytes {start}-{stop - 1}/{size}"


def _parse_span(text: str, size: int) -> tuple[int, int] | None:
    """The bytes ``[start, stop)`` of one range, cut to *size*; None if *text* is not a range."""
    match = _RANGE.fullmatch(text)
    if match is None or text == "-":
        return None
    first, last = _number(match[1]), _number(match[2])
    if first is None:
        assert last is not None
        return max(0, size - last), size
    if last is None:
        return first, size
    return None if last < first else (first, min(last + 1, size))


def _number(digits: str) -> int | None:
    if not digits:
        return None
    # int() refuses thousands of digits.
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) < 19 else _HUGE
