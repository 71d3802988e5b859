"""The CIDs of blobs: made from a SHA-256 digest and parsed strictly, one text per digest.

A *name* is what bytes lie under in a store: ``<cid>``, or ``<cid>.<number>``.
"""

import re
from base64 import b32decode, b32encode
from binascii import Error as Base32Error

from aurora_blobs.protocol.quoting import shown

_PREFIX = bytes([0x01, 0x55, 0x12, 0x20])  # CIDv1, codec raw, sha2-256, 32 bytes
# 36 bytes in base32. The 32 bits of the prefix are six letters and 2 bits of the next one. The last
# letter has 2 bits of padding, which are 0.
_CID = re.compile(r"bafkrei[a-h][a-z2-7]{50}[aeimquy4]")
_NAME = re.compile(_CID.pattern + r"(\.[1-9][0-9]{0,18})?")
_AURORA = "bafyrei"  # early Aurora Locus wrote this and the digest in hex
_AURORA_LENGTH = len(_AURORA) + 64
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_BASE32_LETTERS = frozenset(_BASE32)
_BASE32_VALUES = {letter: value for value, letter in enumerate(_BASE32)}
_BASE58 = frozenset("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")
_HEX = frozenset("0123456789abcdef")


def cid_of_digest(digest: bytes) -> str:
    """The CID of a blob whose SHA-256 is *digest* (32 bytes): 59 characters, ``bafkrei…``.

    CIDv1, codec raw, base32 lower case; https://atproto.com/specs/data-model#blob-type
    """
    return "b" + b32encode(_PREFIX + digest).decode().rstrip("=").lower()


def parse_blob_cid(text: str) -> str:
    """*text*, a blob's CID in its own or Aurora Locus's form, in the ``bafkrei…`` form.

    Raises ValueError for a wrong base, case, codec, hash, length or padding bits.
    """
    if _CID.fullmatch(text):
        return text
    if (
        text.startswith(_AURORA)
        and len(text) == _AURORA_LENGTH
        and _HEX.issuperset(text[len(_AURORA) :])
    ):
        return cid_of_digest(bytes.fromhex(text[len(_AURORA) :]))
    raise ValueError(f'Invalid blob CID (got "{shown(text)}")')


def parse_cid(text: str) -> str:
    """*text*, any CID that an AT Protocol parameter may be; a blob's in the ``bafkrei…`` form.

    A CID of another codec is valid, although no blob has it. Raises ValueError.
    """
    try:
        return parse_blob_cid(text)
    except ValueError:
        if text.startswith("Qm") and len(text) == 46 and _BASE58.issuperset(text):
            return text
        data = _decode(text)
        # Version, codec, hash and length are one byte each for every CID that the protocol uses.
        if data is None or len(data) < 5 or data[0] != 1 or data[3] != len(data) - 4:
            raise ValueError(f'Invalid CID string (got "{shown(text)}")') from None
        return text


def digest_of(cid: str) -> bytes:
    """The SHA-256 digest (32 bytes) in *cid*, a ``bafkrei…`` CID."""
    data = _decode(cid)
    assert data is not None
    return data[len(_PREFIX) :]


def aurora_form(cid: str) -> str:
    """*cid*, a blob's, as early Aurora Locus wrote it: ``bafyrei`` and the digest in hex."""
    return _AURORA + digest_of(cid).hex()


def shown_cid(cid: str, form: str) -> str:
    """*cid*, a blob's, in *form*: ``atproto``, or ``aurora`` for `aurora_form`."""
    return aurora_form(cid) if form == "aurora" else cid


def object_name(cid: str, number: int) -> str:
    """The name of the bytes of *cid* with *number*, the one in its `blob` row: 0 is the CID."""
    return f"{cid}.{number}" if number else cid


def number_in(name: str) -> int:
    """The number in *name*, one of `object_name`."""
    return int(name.partition(".")[2] or 0)


def cid_of_name(name: str) -> str:
    """The CID in *name*, one of `object_name`."""
    return name.partition(".")[0]


def shard_of(name: str) -> str:
    """The folder of *name*, a CID or one of `object_name`: its digest's first byte, in hex.

    Not its first characters: every raw CID starts with "bafkrei". The digest's first byte gives
    256 even folders.
    """
    # Before base32 there are 4 bytes of prefix, then the digest. The digest's first byte is the
    # low 3 bits of character 7 and the 5 bits of character 8, counted with the leading "b".
    return f"{_BASE32_VALUES[name[7]] << 5 & 0xE0 | _BASE32_VALUES[name[8]]:02x}"


def place_of(name: str) -> str:
    """The path of *name* below the root of a store: ``<shard>/<name>``."""
    return f"{shard_of(name)}/{name}"


def name_at(place: str) -> str | None:
    """The name whose `place_of` is *place*; None if no name has that place."""
    name = place.rpartition("/")[2]
    return name if _NAME.fullmatch(name) and place == place_of(name) else None


def cid_in(name: str) -> str | None:
    """The CID in *name*, a file's of the form ``<cid>.…``; None if it has another form."""
    cid = name.partition(".")[0]
    return cid if _CID.fullmatch(cid) else None


def _decode(text: str) -> bytes | None:
    if not text.startswith("b") or not _BASE32_LETTERS.issuperset(text):
        return None
    body = text[1:].upper()
    try:
        data = b32decode(body + "=" * (-len(body) % 8))
    except Base32Error:
        return None
    # The last character has padding bits: with others set, another text would be the same CID.
    return data if b32encode(data).decode().rstrip("=") == body else None
