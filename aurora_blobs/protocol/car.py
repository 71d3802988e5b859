"""The records in a CAR file, a repository's export, read with little memory whatever its size.

https://ipld.io/specs/transport/car/carv1/ and https://atproto.com/specs/repository
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from aurora_blobs.errors import InvalidRequest
from aurora_blobs.protocol.car_index import (
    CID_BYTES,
    MAX_VARINT,
    CarIndex,
    missing_block,
    parse_cid_bytes,
    parse_node,
    read_varint,
)
from aurora_blobs.protocol.dag_cbor import check_items, cid_text, decode
from aurora_blobs.protocol.syntax import parse_nsid, parse_record_key

MAX_RECORD_BYTES = 2**20
# Values in a record: a client decides how many, and each takes about 100 bytes while it is read.
# Real records have some dozens.
MAX_RECORD_ITEMS = 2**16
_MAX_KEY = 1024  # bytes; a collection and a record key have 830 at most
_MAX_LAYERS = 128  # two bits of a SHA-256 digest each: no tree is deeper
_SHOWN = 200  # bytes of a refused key in a message
_ANY_NUMBER = 2**63  # of blocks, where the operator chose the file
_PIECE = 2**20  # bytes per read


@dataclass(frozen=True, slots=True)
class CarRecord:
    """A record of a repository. `value` is JSON; `size` is that of its DAG-CBOR, in bytes."""

    collection: str
    rkey: str
    cid: str
    value: dict[str, Any]
    size: int


class Repository:
    """The repository in a CAR *file*, which must be seekable and stay open while this is used.

    `did` is its owner, `commit` the block of its commit. Raises InvalidRequest.
    """

    def __init__(self, file: BinaryIO, index: CarIndex | None = None) -> None:
        """*index* is the one that the file was fed to, closed; None: the file is read for it."""
        index = index_of(file) if index is None else index
        assert index.did is not None
        self.did = index.did
        self.commit = index.commit
        self._tree_root = index.tree_root
        self._blocks = Blocks(file, index)

    def records(self, max_bytes: int) -> Iterator[CarRecord]:
        """Every record, in the order of the keys, of at most *max_bytes* together.

        The limit is needed because a small file may list one large record under many keys.

        Raises InvalidRequest.
        """
        last = b""
        bytes_left = max_bytes
        for key, cid in self._entries():
            if key <= last:
                raise InvalidRequest(f"Invalid CAR file: key out of order: {_shown(key)}")
            last = key
            block = self._blocks.read(cid)
            bytes_left -= len(block)
            if bytes_left < 0:
                raise InvalidRequest(
                    "Invalid CAR file: its records have more bytes than may be imported"
                )
            collection, rkey = record_name(key)
            yield CarRecord(collection, rkey, cid_text(cid), read_record(key, block), len(block))

    def _entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and CID of each record, from a walk through the tree.

        The tree has no loops, because a node names its children by their hashes. A subtree that is
        named twice gives its keys twice, which `records` refuses. An empty one has no keys, so
        only the root may be empty.
        """
        root = parse_node(self._blocks.read(self._tree_root), "tree")
        if _is_empty(root):
            return
        stack = [iter(node_items(root))]
        while stack:
            item = next(stack[-1], None)
            if item is None:
                stack.pop()
            elif isinstance(item, tuple):
                yield item
            elif len(stack) > _MAX_LAYERS:
                raise InvalidRequest("Invalid CAR file: its tree is too deep")
            else:
                node = parse_node(self._blocks.read(item), "tree")
                if _is_empty(node):
                    raise InvalidRequest("Invalid CAR file: its tree has an empty node")
                stack.append(iter(node_items(node)))


class Blocks:
    """The blocks of *file*, which *index* has seen."""

    def __init__(self, file: BinaryIO, index: CarIndex) -> None:
        self._file = file
        self._index = index

    def read(self, cid: bytes) -> bytes:
        """The block of *cid*. Raises InvalidRequest if the file has none."""
        for offset in self._index.offsets_of(cid):
            self._file.seek(offset)
            head = self._file.read(MAX_VARINT)
            found = read_varint(head, 0)
            if found is None:
                continue
            length, start = found
            section = head[start:] + self._file.read(max(0, start + length - len(head)))
            if section.startswith(cid):
                return section[CID_BYTES:length]
        raise missing_block(cid)


def index_of(file: BinaryIO) -> CarIndex:
    """The index of all of *file*. Raises InvalidRequest."""
    index = CarIndex(max_blocks=_ANY_NUMBER)
    while data := file.read(_PIECE):
        index.feed(data)
    index.close()
    return index


def read_record(key: bytes, block: bytes) -> dict[str, Any]:
    """The JSON of *block*, the record under *key*. Raises InvalidRequest."""
    try:
        if len(block) > MAX_RECORD_BYTES:
            raise ValueError(f"{len(block)} bytes, at most {MAX_RECORD_BYTES} are read")
        check_items(block, MAX_RECORD_ITEMS)
        value = decode(block)
        # A lone CID or byte string is an object too in JSON.
        if not isinstance(value, dict) or value.keys() in ({"$link"}, {"$bytes"}):
            raise ValueError("not a map")
    except ValueError as error:
        raise InvalidRequest(f"Invalid CAR file: record {_shown(key)}: {error}") from None
    return value


def _is_empty(node: dict[str, Any]) -> bool:
    return not node.get("e") and node.get("l") is None


def node_items(node: dict[str, Any]) -> list[tuple[bytes, bytes] | bytes]:
    """What *node* of the tree holds, in order: a subtree as its CID, a record as key and CID.

    A list, because nothing else of the node may stay in memory while its subtrees are walked.
    """
    items: list[tuple[bytes, bytes] | bytes] = []
    try:
        if node.get("l") is not None:
            items.append(parse_cid_bytes(node["l"]))
        key = b""
        for entry in node["e"]:
            shared, rest = entry["p"], entry["k"]
            if (
                not isinstance(shared, int)
                or not 0 <= shared <= len(key)
                or not isinstance(rest, bytes)
                or shared + len(rest) > _MAX_KEY
            ):
                raise ValueError("bad key")
            key = key[:shared] + rest
            items.append((key, parse_cid_bytes(entry["v"])))
            if entry.get("t") is not None:
                items.append(parse_cid_bytes(entry["t"]))
    except (KeyError, TypeError, AttributeError, ValueError):
        raise InvalidRequest("Invalid CAR file: a node of its tree is malformed") from None
    return items


def record_name(key: bytes) -> tuple[str, str]:
    """The collection and the record key in *key*, of a tree. Raises InvalidRequest."""
    try:
        collection, rkey = key.decode("ascii").split("/")
        return parse_nsid(collection), parse_record_key(rkey)
    except ValueError:
        raise InvalidRequest(f"Invalid CAR file: not a record's key: {_shown(key)}") from None


def _shown(key: bytes) -> str:
    return ascii(key[:_SHOWN])[1:]
