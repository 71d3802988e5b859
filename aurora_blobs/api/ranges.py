"""What a client wants of a blob: nothing, for it has it already, a part, or the whole. RFC 9110, sections 13 and 14.

A blob never changes under its CID, so its entity tag says everything; dates are neither sent nor compared.
"""

import re

from aurora_blobs.errors import RangeNotSatisfiable

_RANGES = re.compile(r"bytes\s*=(.*)", re.IGNORECASE | re.DOTALL)
_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
_TAG = re.compile(r'\s*(?:(\*)|(?:W/)?("[\x21\x23-\x7e\x80-\xff]*"))?\s*(?:,|$)')
_HUGE = 10**18  # stands for every number of more digits: no blob is as large


def is_listed(tags: str, etag: str) -> bool:
    """Whether *etag*, quotes included, is in *tags*, the list of an If-Match or If-None-Match.

    Tags are compared weakly: a cache that compressed the blob has made its tag a weak one. A list that breaks the
    grammar says what its whole part says.
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
    """The bytes ``[start, stop)`` of *size* that the Range header *ranges* asks for; None is the whole.

    The whole is also the answer to a header that breaks the grammar, has another unit, or comes with an If-Range
    that is not *etag*; and for an empty blob, which has no part.

    Several ranges that overlap or touch are one. Several that do not are answered with the whole, as the RFC allows:
    players, browsers, curl and caches ask for one, the whole goes out by sendfile where a multipart body would be
    put together in Python, and many small ranges are an old way to wear a server out.

    Raises RangeNotSatisfiable if no range has a byte of the blob in it.
    """
    if ranges is None or size == 0 or (if_range is not None and if_range.strip() != etag):
        return None
    match = _RANGES.fullmatch(ranges.strip())
    if match is None:
        return None
    parts = [part.strip() for part in match[1].split(",")]
    spans = [_span(part, size) for part in parts if part]
    if not spans or None in spans:
        return None
    held = sorted((start, stop) for start, stop in filter(None, spans) if start < stop)
    if not held:
        raise RangeNotSatisfiable(size)
    start, stop = held[0]
    for next_start, next_stop in held[1:]:
        if next_start > stop:
            return None
        stop = max(stop, next_stop)
    return start, stop


def content_range(start: int, stop: int, size: int) -> str:
    """The Content-Range header of the bytes ``[start, stop)`` of *size*."""
    return f"bytes {start}-{stop - 1}/{size}"


def _span(text: str, size: int) -> tuple[int, int] | None:
    """The bytes ``[start, stop)`` of one range, clipped to *size*; None where *text* is none."""
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
    # int() refuses to read thousands of digits.
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) < 19 else _HUGE
