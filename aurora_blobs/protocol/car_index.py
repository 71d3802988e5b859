"""The index of a CAR file's blocks, made and checked while the file arrives.

https://ipld.io/specs/transport/car/carv1/
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from hashlib import sha256
from sys import byteorder
from typing import Any

from aurora_blobs.errors import InvalidRequest
from aurora_blobs.protocol.dag_cbor import check_items, cid_text, decode_raw
from aurora_blobs.protocol.syntax import parse_did

MAX_BLOCK_BYTES = 2 * 2**20  # a record may have 1 MB, a whole commit 2 MB
_MAX_HEADER_BYTES = 8192  # it names one root: 60 bytes
CID_BYTES = 36
MAX_VARINT = 9  # bytes
# In a node of the tree, 13 for each entry. A node has 4 entries on average, and more than 100 are
# as good as impossible. The nodes of all layers are in memory at once.
_MAX_NODE_ITEMS = 2**13
# A flood of tiny blocks costs far more to read than to send. In real repositories a block has 200
# to 400 bytes on average.
_FEW_BLOCKS = 10_000
_MIN_MEAN_BYTES = 100
_BUCKETS = 256
_RECENT_BLOCKS = 4096  # a block that is repeated within so many is noted once
# CIDv1, dag-cbor or raw, sha2-256, 32 bytes
_SHA256_CIDS = (b"\x01\x71\x12\x20", b"\x01\x55\x12\x20")


class CarIndex:
    """Where each block of a CAR file is, found out and checked while the file arrives.

    `feed` takes the file's bytes in their order, `close` comes after the last. Each block is hashed
    and compared with its CID as soon as it is whole. Memory holds one block, and about 20 bytes for
    each (measured). A block is found by the first 8 bytes of its digest; blocks that share them are
    tried in turn. `did` is the owner, None before the commit is there; `commit` is its block.

    Raises InvalidRequest.
    """

    def __init__(
        self, *, max_blocks: int, on_owner: Callable[[str], None] = lambda did: None
    ) -> None:
        """*on_owner* gets the DID of the repository once its commit is there, and may raise."""
        self.did: str | None = None
        self.commit = b""
        self.tree_root = b""
        self.root = b""
        self._max_blocks = max_blocks
        self._on_owner = on_owner
        self._waiting = bytearray()  # of the file, at `_offset`: the beginning of a section
        self._offset = 0
        self._seen = 0  # blocks, repeated ones too
        # The bucket of a block is a hash that no client can foresee: equally many are in each.
        # They are sorted one after the other, because that takes four times the memory.
        self._buckets = [bytearray() for _ in range(_BUCKETS)]
        self._recent: set[bytes] = set()
        self._prefixes, self._offsets = array("Q"), array("Q")
        self._starts = [0]

    def feed(self, data: bytes) -> None:
        """The next bytes of the file."""
        self._waiting += data
        consumed = 0 if self.root else self._take_header()
        if self.root:
            consumed = self._take_blocks(consumed)
        del self._waiting[:consumed]
        self._offset += consumed
        self._refuse_floods()

    def close(self) -> None:
        """The file has ended."""
        if not self.root:
            raise InvalidRequest("Invalid CAR file: bad header")
        if self._waiting:
            raise InvalidRequest("Invalid CAR file: cut off")
        if self.did is None:
            raise missing_block(self.root)
        self._sort()

    def offsets_of(self, cid: bytes) -> Iterator[int]:
        """Where sections begin that may be the block of *cid*, after `close`."""
        prefix, bucket = cid[4:12], _bucket_of(cid)
        number = int.from_bytes(prefix, "big")
        stop = self._starts[bucket + 1]
        index = bisect_left(self._prefixes, number, self._starts[bucket], stop)
        while index < stop and self._prefixes[index] == number:
            yield self._offsets[index]
            index += 1

    def _take_header(self) -> int:
        """Read the header, once it is there; how many bytes it has."""
        found = read_varint(self._waiting, 0)
        if found is None:
            return 0
        length, start = found
        if length > _MAX_HEADER_BYTES:
            raise InvalidRequest("Invalid CAR file: bad header")
        if len(self._waiting) < start + length:
            return 0
        self.root = _root_of(bytes(self._waiting[start : start + length]))
        return start + length

    def _take_blocks(self, at: int) -> int:
        """Check and note the sections that are whole, from *at* on; where the next one begins."""
        size = len(self._waiting)
        with memoryview(self._waiting) as view:
            while (found := read_varint(view, at)) is not None:
                length, start = found
                end = start + _checked_length(length)
                if end > size:
                    break
                cid = _section_cid(view, start, end)
                with view[start + CID_BYTES : end] as block:
                    if sha256(block).digest() != cid[4:]:
                        raise InvalidRequest("Invalid CAR file: a block does not match its CID")
                    if cid == self.root and self.did is None:
                        self._read_commit(bytes(block))
                if cid not in self._recent:
                    self._note(cid, self._offset + at)
                self._seen += 1
                at = end
        return at

    def _note(self, cid: bytes, offset: int) -> None:
        if len(self._recent) == _RECENT_BLOCKS:
            self._recent.clear()
        self._recent.add(cid)
        self._buckets[_bucket_of(cid)] += cid[4:12] + offset.to_bytes(8, "big")

    def _read_commit(self, block: bytes) -> None:
        commit = parse_node(block, "commit")
        try:
            self.tree_root = parse_cid_bytes(commit["data"])
            self.did = parse_did(commit["did"])
        except (KeyError, TypeError, ValueError):
            raise InvalidRequest("Invalid CAR file: its root is not a commit") from None
        self.commit = block
        self._on_owner(self.did)

    def _refuse_floods(self) -> None:
        if self._seen > self._max_blocks:
            raise InvalidRequest(
                f"Invalid CAR file: it has more than {self._max_blocks} blocks, as many are read"
            )
        if self._seen > _FEW_BLOCKS and self._offset < self._seen * _MIN_MEAN_BYTES:
            raise InvalidRequest(
                f"Invalid CAR file: its first {self._seen} blocks have {self._offset} bytes, at "
                f"least {_MIN_MEAN_BYTES} each are expected, their CIDs included"
            )

    def _sort(self) -> None:
        self._recent.clear()
        for bucket in self._buckets:
            if not bucket:  # as are most, of a small repository
                self._starts.append(len(self._offsets))
                continue
            packed = bytes(bucket)
            bucket.clear()
            entries = sorted(packed[at : at + 16] for at in range(0, len(packed), 16))
            pairs = array("Q", b"".join(entries))
            if byteorder == "little":
                pairs.byteswap()
            self._prefixes.extend(pairs[::2])
            self._offsets.extend(pairs[1::2])
            self._starts.append(len(self._offsets))


def parse_node(block: bytes, name: str) -> dict[str, Any]:
    """*block* decoded, a commit or a node of the tree; *name* is for the message of a refusal."""
    try:
        check_items(block, _MAX_NODE_ITEMS)
        node = decode_raw(block)
    except ValueError as error:
        raise InvalidRequest(f"Invalid CAR file: {name}: {error}") from None
    if not isinstance(node, dict):
        raise InvalidRequest(f"Invalid CAR file: {name}: not a map")
    return node


def parse_cid_bytes(value: Any) -> bytes:
    """*value*, the bytes of a CID. Raises ValueError."""
    if (
        not isinstance(value, bytes)
        or len(value) != CID_BYTES
        or not value.startswith(_SHA256_CIDS)
    ):
        raise ValueError("a CID is not CIDv1 with SHA-256")
    return value


def read_varint(data: bytes | bytearray | memoryview, at: int) -> tuple[int, int] | None:
    """The unsigned LEB128 number at *at*, and where it ends; None where *data* ends before it."""
    value = shift = 0
    for position in range(at, min(at + MAX_VARINT, len(data))):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
        shift += 7
    if shift == 7 * MAX_VARINT:
        raise InvalidRequest("Invalid CAR file: bad length")
    return None


def _bucket_of(cid: bytes) -> int:
    return hash(cid) % _BUCKETS


def _checked_length(length: int) -> int:
    if length > MAX_BLOCK_BYTES:
        raise InvalidRequest(
            f"Invalid CAR file: a block has {length} bytes, at most {MAX_BLOCK_BYTES} are read"
        )
    return length


def _section_cid(view: memoryview, start: int, end: int) -> bytes:
    cid = bytes(view[start : start + CID_BYTES])
    if end - start < CID_BYTES or not cid.startswith(_SHA256_CIDS):
        raise InvalidRequest("Invalid CAR file: a block's CID is not CIDv1 with SHA-256")
    return cid


def _root_of(header: bytes) -> bytes:
    try:
        found = decode_raw(header)
        version, roots = found["version"], found["roots"]
    except (KeyError, TypeError, ValueError):
        raise InvalidRequest("Invalid CAR file: bad header") from None
    if version != 1:
        raise InvalidRequest(f"Invalid CAR file: version 1 is expected (got {version!r:.20})")
    if not isinstance(roots, list) or len(roots) != 1:
        raise InvalidRequest("expected one root")
    try:
        return parse_cid_bytes(roots[0])
    except ValueError as error:
        raise InvalidRequest(f"Invalid CAR file: {error}") from None


def missing_block(cid: bytes) -> InvalidRequest:
    """The refusal of a file that lacks the block of *cid*."""
    return InvalidRequest(f"Invalid CAR file: missing block {cid_text(cid)}")
