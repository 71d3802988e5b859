"""The records in a CAR file, a repository's export, read with little memory whatever its size.

https://ipld.io/specs/transport/car/carv1/ and https://atproto.com/specs/repository
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, BinaryIO

from aurora_blobs.errors import InvalidRequest
from aurora_blobs.protocol.dag_cbor import cid_text, decode, decode_raw
from aurora_blobs.protocol.syntax import parse_did, parse_nsid, parse_record_key

MAX_BLOCK_BYTES = 2 * 2**20  # a record may have 1 MB, a whole commit 2 MB
_MAX_LAYERS = 128  # two bits of a SHA-256 digest each: no tree is deeper
# CIDv1, dag-cbor or raw, sha2-256, 32 bytes
_SHA256_CIDS = (b"\x01\x71\x12\x20", b"\x01\x55\x12\x20")
_CID_BYTES = 36
_SHOWN = 200  # bytes of a refused key in a message


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

    `did` is its owner. Every block is hashed and compared with its CID. Raises InvalidRequest.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._blocks = _Blocks(file)
        commit = self._node(self._blocks.root, "commit")
        try:
            self.did = parse_did(commit["did"])
            self._tree_root = _cid(commit["data"])
        except (KeyError, TypeError, ValueError):
            raise InvalidRequest("Invalid CAR file: its root is not a commit") from None

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
            collection, rkey = _record_name(key)
            try:
                value = decode(block)
                # A lone CID or byte string is an object too in JSON.
                if not isinstance(value, dict) or value.keys() in ({"$link"}, {"$bytes"}):
                    raise ValueError("not a map")
            except ValueError as error:
                raise InvalidRequest(f"Invalid CAR file: record {_shown(key)}: {error}") from None
            yield CarRecord(collection, rkey, cid_text(cid), value, len(block))

    def _entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and CID of each record, from a walk through the tree.

        The tree has no loops, because a node names its children by their hashes. A subtree that is
        named twice gives its keys twice, which `records` refuses. An empty one has no keys, so
        only the root may be empty.
        """
        root = self._node(self._tree_root, "tree")
        if _is_empty(root):
            return
        stack: list[Iterator[tuple[bytes, bytes] | bytes]] = [_items(root)]
        while stack:
            item = next(stack[-1], None)
            if item is None:
                stack.pop()
            elif isinstance(item, tuple):
                yield item
            elif len(stack) > _MAX_LAYERS:
                raise InvalidRequest("Invalid CAR file: its tree is too deep")
            else:
                node = self._node(item, "tree")
                if _is_empty(node):
                    raise InvalidRequest("Invalid CAR file: its tree has an empty node")
                stack.append(_items(node))

    def _node(self, cid: bytes, name: str) -> dict[str, Any]:
        try:
            node = decode_raw(self._blocks.read(cid))
        except ValueError as error:
            raise InvalidRequest(f"Invalid CAR file: {name}: {error}") from None
        if not isinstance(node, dict):
            raise InvalidRequest(f"Invalid CAR file: {name}: not a map")
        return node


class _Blocks:
    """Where each block is in the file: 16 bytes of memory per block, whatever its size.

    A block is found by the first 8 bytes of its digest. Blocks that share them are tried in turn.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.root = self._read_header()
        prefixes, offsets = array("Q"), array("Q")
        offset = file.tell()
        while (length := self._read_varint()) is not None:
            cid, block = self._read_section(length)
            if sha256(block).digest() != cid[4:]:
                raise InvalidRequest("Invalid CAR file: a block does not match its CID")
            prefixes.append(_digest_prefix(cid))
            offsets.append(offset)
            offset = file.tell()
        order = sorted(range(len(prefixes)), key=prefixes.__getitem__)
        self._prefixes = array("Q", (prefixes[index] for index in order))
        self._offsets = array("Q", (offsets[index] for index in order))

    def read(self, cid: bytes) -> bytes:
        """The block of *cid*. Raises InvalidRequest if the file has none."""
        prefix = _digest_prefix(cid)
        index = bisect_left(self._prefixes, prefix)
        while index < len(self._prefixes) and self._prefixes[index] == prefix:
            self._file.seek(self._offsets[index])
            found, block = self._read_section(self._read_varint() or 0)
            if found == cid:
                return block
            index += 1
        raise InvalidRequest(f"Invalid CAR file: missing block {cid_text(cid)}")

    def _read_header(self) -> bytes:
        try:
            header = decode_raw(self._read(self._read_varint() or 0))
            version, roots = header["version"], header["roots"]
        except (KeyError, TypeError, ValueError):
            raise InvalidRequest("Invalid CAR file: bad header") from None
        if version != 1:
            raise InvalidRequest(f"Invalid CAR file: version 1 is expected (got {version!r:.20})")
        if not isinstance(roots, list) or len(roots) != 1:
            raise InvalidRequest("expected one root")
        try:
            return _cid(roots[0])
        except ValueError as error:
            raise InvalidRequest(f"Invalid CAR file: {error}") from None

    def _read_section(self, length: int) -> tuple[bytes, bytes]:
        section = self._read(length)
        if not section.startswith(_SHA256_CIDS) or length < _CID_BYTES:
            raise InvalidRequest("Invalid CAR file: a block's CID is not CIDv1 with SHA-256")
        return section[:_CID_BYTES], section[_CID_BYTES:]

    def _read(self, length: int) -> bytes:
        if length > MAX_BLOCK_BYTES:
            raise InvalidRequest(
                f"Invalid CAR file: a block has {length} bytes, at most {MAX_BLOCK_BYTES} are read"
            )
        data = self._file.read(length)
        if len(data) < length:
            raise InvalidRequest("Invalid CAR file: cut off")
        return data

    def _read_varint(self) -> int | None:
        """An unsigned LEB128 number; None at the end of the file."""
        value = shift = 0
        while byte := self._file.read(1):
            value |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return value
            shift += 7
            if shift > 56:
                raise InvalidRequest("Invalid CAR file: bad length")
        if shift:
            raise InvalidRequest("Invalid CAR file: cut off")
        return None


def _is_empty(node: dict[str, Any]) -> bool:
    return not node.get("e") and node.get("l") is None


def _items(node: dict[str, Any]) -> Iterator[tuple[bytes, bytes] | bytes]:
    """What *node* of the tree holds, in order: a subtree as its CID, a record as key and CID."""
    try:
        if node.get("l") is not None:
            yield _cid(node["l"])
        key = b""
        for entry in node["e"]:
            shared, rest = entry["p"], entry["k"]
            if (
                not isinstance(shared, int)
                or not 0 <= shared <= len(key)
                or not isinstance(rest, bytes)
            ):
                raise ValueError("bad key")
            key = key[:shared] + rest
            yield key, _cid(entry["v"])
            if entry.get("t") is not None:
                yield _cid(entry["t"])
    except (KeyError, TypeError, AttributeError, ValueError):
        raise InvalidRequest("Invalid CAR file: a node of its tree is malformed") from None


def _record_name(key: bytes) -> tuple[str, str]:
    try:
        collection, rkey = key.decode("ascii").split("/")
        return parse_nsid(collection), parse_record_key(rkey)
    except ValueError:
        raise InvalidRequest(f"Invalid CAR file: not a record's key: {_shown(key)}") from None


def _cid(value: Any) -> bytes:
    if (
        not isinstance(value, bytes)
        or len(value) != _CID_BYTES
        or not value.startswith(_SHA256_CIDS)
    ):
        raise ValueError("a CID is not CIDv1 with SHA-256")
    return value


def _digest_prefix(cid: bytes) -> int:
    return int.from_bytes(cid[4:12], "big")


def _shown(key: bytes) -> str:
    return ascii(key[:_SHOWN])[1:]
