"""The XML of the object API: what it reads of a body, and what it answers.

https://docs.aws.amazon.com/AmazonS3/latest/API/
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from xml.parsers import expat
from xml.sax.saxutils import escape

from aurora_blobs.object_api.refusals import Refusal

MAX_KEYS = 1000  # of one DeleteObjects
MAX_PARTS = 10_000
# Bytes: 1,000 keys of 1,024 bytes, or 10,000 parts with a checksum each, and the elements around.
MAX_BYTES = 4 * 1024 * 1024
_MAX_DEPTH = 4
_MAX_TEXT = 4096  # characters of one element
# What XML cannot have, escaped or not: https://www.w3.org/TR/xml/#charsets
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

Content = str | Iterable["tuple[str, Content]"]


def document(name: str, content: Content) -> bytes:
    """The document whose only element is *name* with *content*: text, or elements with theirs."""
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    xmlns = "" if name == "Error" else f' xmlns="{_NAMESPACE}"'
    return f"{head}<{name}{xmlns}>{''.join(_written(content))}</{name}>".encode()


def moment(microseconds: int) -> str:
    """The time *microseconds* after the epoch as the documents have it, in UTC."""
    found = datetime.fromtimestamp(microseconds / 1_000_000, UTC)
    return f"{found:%Y-%m-%dT%H:%M:%S}.{found.microsecond // 1000:03}Z"


def parse_deletion(data: bytes) -> tuple[list[str], bool]:
    """The keys of a DeleteObjects, and whether it is to be answered for failures alone.

    Raises Refusal.
    """
    keys, is_quiet = [], False
    for path, fields in _elements(data, "Delete", ("Object",), MAX_KEYS):
        if path == "Object":
            if "Key" not in fields:
                raise _malformed()
            keys.append(fields["Key"])
        elif "Quiet" in fields:
            is_quiet = fields["Quiet"] == "true"
    if not keys:
        raise _malformed()
    return keys, is_quiet


def parse_completion(data: bytes) -> list[tuple[int, str]]:
    """Number and ETag of each part of a CompleteMultipartUpload, in their order.

    An ETag is in quotes, whether the client has them or not. Raises Refusal.
    """
    parts: list[tuple[int, str]] = []
    for path, fields in _elements(data, "CompleteMultipartUpload", ("Part",), MAX_PARTS):
        if path != "Part":
            continue
        number, tag = fields.get("PartNumber", ""), fields.get("ETag")
        if tag is None or not (number.isascii() and number.isdigit() and len(number) < 6):
            raise _malformed()
        if parts and int(number) <= parts[-1][0]:
            raise Refusal("InvalidPartOrder", "The parts have to be in ascending order")
        parts.append((int(number), '"' + tag.strip().strip('"') + '"'))
    if not parts:
        raise _malformed()
    return parts


def _written(content: Content) -> Iterator[str]:
    if isinstance(content, str):
        yield escape(_NO_CHARACTER.sub("\ufffd", content))
        return
    for name, inner in content:
        yield f"<{name}>{''.join(_written(inner))}</{name}>"


def _elements(
    data: bytes, root: str, rows: tuple[str, ...], max_rows: int
) -> list[tuple[str, dict[str, str]]]:
    """The children of *root*: those in *rows* with the texts in them, and others as a row "".

    Namespaces are passed over, as S3 does. Raises Refusal.
    """
    found: list[tuple[str, dict[str, str]]] = []
    path: list[str] = []
    text: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        path.append(name)
        text.clear()
        if len(path) > _MAX_DEPTH or path[0] != root:
            raise _malformed()
        if len(path) == 2 and name in rows:
            if len(found) >= max_rows:
                raise _malformed()
            found.append((name, {}))

    def end(name: str) -> None:
        value = "".join(text)
        text.clear()
        if len(path) == 3 and path[1] in rows:
            found[-1][1][path[2]] = value
        elif len(path) == 2 and path[1] not in rows and len(others) < 10:
            others[path[1]] = value
        path.pop()

    def characters(data: str) -> None:
        text.append(data)
        if sum(map(len, text)) > _MAX_TEXT:
            raise _malformed()

    def refuse(*_: object) -> None:
        raise _malformed()

    others: dict[str, str] = {}
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = refuse  # no entities, so nothing grows
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError):
        raise _malformed() from None
    return [*found, ("", others)]


def _malformed() -> Refusal:
    return Refusal(
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
