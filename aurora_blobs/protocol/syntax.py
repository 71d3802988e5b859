"""The strings of the protocol. A parser returns its text, normalised where the protocol says so.

All parsers raise ValueError. The rules are those of https://atproto.com/specs, the messages those
of the reference PDS.
"""

import re
import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

from aurora_blobs.protocol.quoting import shown_json

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"  # of a domain name
_LETTER_LABEL = r"[a-zA-Z](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_DID = re.compile(r"did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]")
_HANDLE = re.compile(rf"(?:{_LABEL}\.)+{_LETTER_LABEL}")
_NSID = re.compile(rf"{_LETTER_LABEL}(?:\.{_LABEL})+\.[a-zA-Z][a-zA-Z0-9]{{0,62}}")
_RECORD_KEY = re.compile(r"(?!\.{1,2}\Z)[a-zA-Z0-9._:~-]{1,512}")
_AT_URI = re.compile(r"at://([^/]+)(?:/([^/]+)(?:/([^/]+))?)?")
_TOKEN = r"[a-zA-Z0-9!#$%&'*+.^_`|~-]+"  # RFC 9110, 5.6.2
_BARE_MIME_TYPE = re.compile(rf"(?!\*/|.*/\*\Z){_TOKEN}/{_TOKEN}")  # no wildcard
_MIME_TYPE = re.compile(rf"\s*({_TOKEN}/{_TOKEN})\s*(?:;.*)?", re.DOTALL)

_MAX_DID = 2048
_MAX_HANDLE = 253
_MAX_NSID = 317
_MAX_AT_URI = 8192
MAX_MIME_TYPE = 255  # RFC 6838, 4.2: 127 characters on each side of the slash

_TID_ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"  # base32-sortable
_TID = re.compile(rf"[234567a-j][{_TID_ALPHABET}]{{12}}")  # 64 bits, the highest is 0
_TID_VALUES = {character: value for value, character in enumerate(_TID_ALPHABET)}
_CLOCK_ID_BITS = 10
_MAX_TID = 2**63 - 1
# Microseconds since the epoch: in the year 2255, with room for a million steps after it. A clock
# beyond it is wrong, or the protocol has changed.
_MAX_TID_TIME = 2**53 - 2**20

_MIME_ALIASES = {"image/jpg": "image/jpeg"}


@dataclass(frozen=True, slots=True)
class AtUri:
    """``at://authority/collection/rkey``, or its beginning. The authority is a DID or a handle."""

    authority: str
    collection: str | None = None
    rkey: str | None = None

    def __str__(self) -> str:
        return "at://" + "/".join(
            part for part in (self.authority, self.collection, self.rkey) if part is not None
        )


def parse_did(text: str) -> str:
    """*text*, a DID of any method. https://atproto.com/specs/did"""
    if len(text) > _MAX_DID or not _DID.fullmatch(text):
        _refuse("DID", text)
    return text


def parse_handle(text: str) -> str:
    """*text*, a handle, in lower case. https://atproto.com/specs/handle"""
    if len(text) > _MAX_HANDLE or not _HANDLE.fullmatch(text):
        _refuse("handle", text)
    return text.lower()


def parse_at_identifier(text: str) -> str:
    """*text*, a DID, or a handle in lower case."""
    try:
        return parse_did(text) if text.startswith("did:") else parse_handle(text)
    except ValueError:
        _refuse("AT identifier", text)


def parse_nsid(text: str) -> str:
    """*text*, the name of a method or a collection. https://atproto.com/specs/nsid"""
    if len(text) > _MAX_NSID or not _NSID.fullmatch(text):
        _refuse("NSID", text)
    return text


def parse_record_key(text: str) -> str:
    """*text*, the last part of a record's address. https://atproto.com/specs/record-key"""
    if not _RECORD_KEY.fullmatch(text):
        _refuse("record key", text)
    return text


def parse_at_uri(text: str) -> AtUri:
    """The parts of *text*, a record's address or the beginning of one.

    Strict, as in the lexicons: no query, no fragment, no slash at the end.
    https://atproto.com/specs/at-uri-scheme
    """
    match = _AT_URI.fullmatch(text) if len(text) <= _MAX_AT_URI else None
    if match is None:
        _refuse("at-uri", text)
    authority, collection, rkey = match.groups()
    try:
        return AtUri(
            parse_at_identifier(authority),
            None if collection is None else parse_nsid(collection),
            None if rkey is None else parse_record_key(rkey),
        )
    except ValueError:
        _refuse("at-uri", text)


def parse_tid(text: str) -> str:
    """*text*, a timestamp that sorts as text: a revision or a record key.

    https://atproto.com/specs/tid
    """
    if not _TID.fullmatch(text):
        _refuse("TID string", text)
    return text


def new_tid(now: int, last: str | None) -> str:
    """A TID for *now*, microseconds since the epoch.

    It is greater than *last*, even if the clock was set back. Raises ValueError if none is.
    """
    value = min(now, _MAX_TID_TIME) << _CLOCK_ID_BITS | secrets.randbelow(1 << _CLOCK_ID_BITS)
    if last is not None:
        value = max(value, _tid_value(last) + 1)
    if value > _MAX_TID:
        raise ValueError(f"no TID is greater than {last}")
    return "".join(_TID_ALPHABET[value >> shift & 31] for shift in range(60, -1, -5))


def parse_mime_type(text: str) -> str:
    """*text*, a Content-Type, as a bare media type in lower case; ``image/jpg`` is ``image/jpeg``.

    Wildcards pass: the grammar allows them.
    """
    match = _MIME_TYPE.fullmatch(text)
    if match is None or len(match[1]) > MAX_MIME_TYPE:
        _refuse("MIME type", text)
    mime_type = match[1].lower()
    return _MIME_ALIASES.get(mime_type, mime_type)


def stated_mime_type(text: str | None) -> str | None:
    """*text*, the media type that a record states, if it is one as it stands; else None.

    A record is written elsewhere, and what it states becomes the header of an answer.
    """
    if text is None or len(text) > MAX_MIME_TYPE or not _is_bare_mime_type(text):
        return None
    return text


@lru_cache(256)  # blobs are of few types, and each answer asks
def _is_bare_mime_type(text: str) -> bool:
    return _BARE_MIME_TYPE.fullmatch(text) is not None


def _tid_value(tid: str) -> int:
    value = 0
    for character in tid:
        value = value << 5 | _TID_VALUES[character]
    return value


def _refuse(name: str, text: str) -> NoReturn:
    raise ValueError(f"Invalid {name} (got {shown_json(text)})") from None
