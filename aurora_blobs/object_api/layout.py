"""The keys under which PDSes keep blobs, and what each of them means here."""

import re
from dataclasses import dataclass
from enum import Enum

from aurora_blobs.protocol.cid import parse_blob_cid
from aurora_blobs.protocol.syntax import parse_did

MAX_KEY_BYTES = 1024  # as in S3
LAST = "\U0010ffff"  # greater than every character of a key
_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~-]{1,255}")  # a file's, where it is exported


class Kind(Enum):
    """What an object is: an upload that no record names yet, a blob, a blob that is taken down."""

    STAGED = "tmp"
    STORED = "blocks"
    QUARANTINED = "quarantine"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a PDS names its objects: the folder of each kind, in it that of the DID, in it the name.

    The name is a CID, of what is staged one that the PDS makes up.
    """

    folders: dict[str, Kind]


# The folders of the reference PDS's store on a disk. What is stored has none.
ON_DISK = {Kind.STAGED: "tempt/", Kind.STORED: "", Kind.QUARANTINED: "quarantine/"}

# Whose keys are read. Of those with one meaning the first is shown in a list. rsky has these too.
# docs/beside-a-pds.md says of which other PDSes a key does not tell what has to be known.
REFERENCE = Layout({kind.value: kind for kind in Kind})
LAYOUTS = (REFERENCE,)


def etag_of(name: str) -> str:
    """The entity tag of what *name*, a CID or hash, names.

    Clients take one without a hyphen for the MD5 of the bytes, and compare it.
    """
    return f'"{name}-1"'


@dataclass(frozen=True, slots=True)
class Key:
    """An object of the account *did*; *name* is a CID unless it is staged."""

    kind: Kind
    did: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.value}/{self.did}/{self.name}"


def parse_key(text: str) -> Key | None:
    """What the key *text* names; None if no PDS has such keys."""
    folder, _, rest = text.partition("/")
    did, _, name = rest.partition("/")
    kind = next((layout.folders[folder] for layout in LAYOUTS if folder in layout.folders), None)
    if kind is None or not _is_did(did):
        return None
    is_name = _NAME.fullmatch(name) is not None if kind is Kind.STAGED else _is_cid(name)
    return Key(kind, did, name) if is_name else None


def parse_place(name: str) -> Key | None:
    """What the object or file *name* of a PDS's own store is, by the end of it; None if nothing."""
    *folders, did, last = ["", *name.split("/")]
    folder = "tmp" if folders[-1:] == ["tempt"] else "".join(folders[-1:])
    return parse_key(f"{folder}/{did}/{last}") or parse_key(f"{Kind.STORED.value}/{did}/{last}")


def _is_did(text: str) -> bool:
    try:
        return parse_did(text) == text
    except ValueError:
        return False


def _is_cid(text: str) -> bool:
    try:
        return parse_blob_cid(text) == text
    except ValueError:
        return False
