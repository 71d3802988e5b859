"""Conditions and ranges of a request for a blob. RFC 9110, sections 13 and 14.

The blob of a CID never changes, so its entity tag suffices. Dates are neither sent nor compared.
"""

import re

from aurora_blobs.errors import RangeNotSatisfiable

_RANGES = re.compile(r"bytes\s*=(.*)", re.IGNORECASE | re.DOTALL)
_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
_TAG = re.compile(r'\s*(?:(\*)|(?:W/)?("[\x21\x23-\x7e\x80-\xff]*"))?\s*(?:,|$)')
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
