"""CIDs of bytes: as text, and as the bytes that a repository's blocks have."""

from hashlib import sha256

from aurora_blobs.protocol.cid import cid_of_digest

_RAW = b"\x01\x55\x12\x20"  # CIDv1, codec raw, sha2-256, 32 bytes


def cid_of(data):
    """The CID of the blob *data*."""
    return cid_of_digest(sha256(data).digest())


def binary_cid_of(data):
    return _RAW + sha256(data).digest()


def text_of(binary_cid):
    return cid_of_digest(binary_cid.removeprefix(_RAW))


def cid_in(blob):
    """The CID that a record's *blob* names."""
    return blob["ref"]["$link"]
