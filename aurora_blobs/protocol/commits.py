"""The commit at the root of a repository, as it is signed.

https://atproto.com/specs/repository#commit-objects
"""

from dataclasses import dataclass

from aurora_blobs.protocol.car_index import parse_cid_bytes
from aurora_blobs.protocol.dag_cbor import check_items, decode, decode_raw, encode
from aurora_blobs.protocol.syntax import parse_did, parse_tid

_VERSION = 3
_MAX_ITEMS = 64  # values and keys; there are 13


@dataclass(frozen=True, slots=True)
class SignedCommit:
    """A commit: `data` is the CID (bytes) of its tree, `signature` is over the bytes `signed`."""

    did: str
    rev: str
    data: bytes
    signed: bytes
    signature: bytes


def parse_commit(block: bytes) -> SignedCommit:
    """The commit in *block*, whose signature nobody has looked at. Raises ValueError."""
    check_items(block, _MAX_ITEMS)
    raw, value = decode_raw(block), decode(block)
    if not isinstance(raw, dict) or raw.get("version") != _VERSION:
        raise ValueError(f"not a commit of version {_VERSION}")
    did, rev, signature = raw.get("did"), raw.get("rev"), raw.get("sig")
    if not isinstance(did, str) or not isinstance(rev, str) or not isinstance(signature, bytes):
        raise ValueError("a commit without did, rev or sig")
    return SignedCommit(
        parse_did(did),
        parse_tid(rev),
        parse_cid_bytes(raw.get("data")),
        encode({name: part for name, part in value.items() if name != "sig"}),
        signature,
    )
