"""CIDs of blobs, as text and as bytes."""

from hashlib import sha256

from aurora_blobs.protocol.cid import cid_of_digest

_RAW = b"\x01\x55\x12\x20"  # CIDv1, codec raw, sha2-256, 32 bytes


def cid_of(data):
    """The CID of the blob *data*, as text."""
    return cid_of_digest(sha256(data).digest())


def binary_cid_of(data):
    return _RAW + sha256(data).digest()


def text_of(binary_cid):
    return cid_of_digest(binary_cid.removeprefix(_RAW))


def cid_in(blob):
    """The CID in *blob*, a reference in a record's JSON."""
    return blob["ref"]["$link"]
