"""Lists of objects in pages, as operators' tools ask for them.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from urllib.parse import quote

from aurora_blobs.catalog.objects import Listed
from aurora_blobs.object_api.documents import Content, moment
from aurora_blobs.object_api.layout import LAST, Key, Kind, etag_of
from aurora_blobs.object_api.objects import Objects
from aurora_blobs.object_api.refusals import Refusal

MAX_ROWS = 1000
_KINDS = sorted(Kind, key=lambda kind: kind.value)


@dataclass(frozen=True, slots=True)
class Row:
    """An object, or, where *listed* is None, a folder: what the keys in it begin with."""

    name: str
    listed: Listed | None

    @property
    def position(self) -> str:
        """A text that comes behind this row, and before the next."""
        return self.name if self.listed is not None else f"{self.name}{LAST}"


def result(objects: Objects, bucket: str, query: Mapping[str, str]) -> list[tuple[str, Content]]:
    """What is in a ListBucketResult, in either version, as *query* asks for it. Raises Refusal."""
    is_second = query.get("list-type") == "2"
    if query.get("list-type") not in (None, "2"):
        raise Refusal("InvalidArgument", "list-type has to be 2")
    most = query.get("max-keys", str(MAX_ROWS))
    if not (most.isascii() and most.isdigit() and len(most) < 10):
        raise Refusal("InvalidArgument", "max-keys has to be a number")
    encoded = quote if query.get("encoding-type") == "url" else str
    token = query.get("continuation-token") if is_second else None
    after = query.get("start-after" if is_second else "marker", "") if token is None else token
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    max_rows = min(int(most), MAX_ROWS)
    rows, is_more = _page(objects, prefix, delimiter, after, max_rows)
    found: list[tuple[str, Content]] = [
        ("Name", bucket),
        ("Prefix", encoded(prefix)),
        ("MaxKeys", str(max_rows)),
        ("IsTruncated", str(is_more).lower()),
    ]
    if delimiter:
        found.append(("Delimiter", encoded(delimiter)))
    if "encoding-type" in query:
        found.append(("EncodingType", query["encoding-type"]))
    if not is_second:
        found.append(("Marker", encoded(after)))
    else:
        found.append(("KeyCount", str(len(rows))))
        if token is not None:
            found.append(("ContinuationToken", token))
        if "start-after" in query:
            found.append(("StartAfter", encoded(query["start-after"])))
    if is_more and is_second:
        found.append(("NextContinuationToken", rows[-1].position))
    elif is_more:
        found.append(("NextMarker", encoded(rows[-1].position)))
    return found + [_element(row, encoded) for row in rows]


def _element(row: Row, encoded: Callable[[str], str]) -> tuple[str, Content]:
    if row.listed is None:
        return "CommonPrefixes", [("Prefix", encoded(row.name))]
    return "Contents", [
        ("Key", encoded(row.name)),
        ("LastModified", moment(row.listed.created_at)),
        ("ETag", etag_of(row.listed.cid)),
        ("Size", str(row.listed.size)),
        ("StorageClass", "STANDARD"),
    ]


def _page(
    objects: Objects, prefix: str, delimiter: str, after: str, max_rows: int
) -> tuple[list[Row], bool]:
    """Up to *max_rows* rows whose names begin with *prefix* behind *after*; whether more follow.

    With *delimiter* ``/`` folders are rows, and not what is in them. Raises Refusal.
    """
    if delimiter not in ("", "/"):
        raise Refusal("NotImplemented", "The only delimiter is a slash")
    rows = list(islice(_rows(objects, prefix, bool(delimiter), after), max_rows + 1))
    return rows[:max_rows], max_rows > 0 and len(rows) > max_rows


def _rows(objects: Objects, prefix: str, has_folders: bool, after: str) -> Iterator[Row]:
    for kind in _KINDS:
        folder = f"{kind.value}/"
        is_over = after > folder and not after.startswith(folder)
        if not is_over and (folder.startswith(prefix) or prefix.startswith(folder)):
            did, _, name = after.removeprefix(folder).partition("/")
            reached = (did, name) if after.startswith(folder) else ("", "")
            position = max(reached, _position_before(prefix, folder))
            yield from _rows_of(objects, kind, prefix, has_folders, Key(kind, *position))


def _rows_of(
    objects: Objects, kind: Kind, prefix: str, has_folders: bool, position: Key
) -> Iterator[Row]:
    # Of an account that is a folder the first row is enough, and a page may have 1,000 of them.
    rows = 1 if has_folders and prefix.count("/") < 2 else MAX_ROWS
    while True:
        for key, listed in objects.listed(position, kind, rows=rows):
            name = str(key)
            if not name.startswith(prefix):
                return
            slash = name.find("/", len(prefix)) if has_folders else -1
            if slash < 0:
                yield Row(name, listed)
                continue
            yield Row(name[: slash + 1], None)
            if slash < len(f"{kind.value}/"):
                return  # the kind is one folder
            position = Key(kind, key.did, LAST)
            break  # and on behind the account's
        else:
            return


def _position_before(prefix: str, folder: str) -> tuple[str, str]:
    """DID and name right before those of the first key in *folder* that begins with *prefix*."""
    if not prefix.startswith(folder):
        return "", ""
    did, slash, name = prefix.removeprefix(folder).partition("/")
    return (did, _before(name)) if slash else (_before(did), "")


def _before(prefix: str) -> str:
    """A text before all that begin with *prefix*, and behind almost everything before these."""
    return f"{prefix[:-1]}{chr(ord(prefix[-1]) - 1)}{LAST}" if prefix.strip("\0") else ""
