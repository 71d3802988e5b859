"""The media type of a blob, from its first bytes and from what the client declared."""

import re

from aurora_blobs.errors import InvalidMimeType, InvalidRequest
from aurora_blobs.media.signatures import UNKNOWN, detect, hides_sound, shows_pictures
from aurora_blobs.media.type_names import BROADER, MISTAKEN, NO_CLAIMS, TRUE
from aurora_blobs.protocol.quoting import shown
from aurora_blobs.protocol.syntax import parse_mime_type

# The letters and the length of a charset's name, RFC 2978, 2.3
_CHARSET = re.compile(
    r""";\s*charset\s*=\s*"?([a-z0-9][a-z0-9!#$%&+^_`{}~.:-]{0,39})"?\s*(?:;|\Z)""", re.IGNORECASE
)

_EXTENSIONS = {
    extension: mime_type
    for mime_type, extensions in {
        "application/gzip": "gz",
        "application/json": "json",
        "application/pdf": "pdf",
        "application/vnd.ipld.car": "car",
        "application/zip": "zip",
        "audio/flac": "flac",
        "audio/mpeg": "mp3",
        "audio/ogg": "oga ogg opus",
        "audio/wav": "wav",
        "audio/x-m4a": "m4a",
        "image/apng": "apng",
        "image/avif": "avif",
        "image/bmp": "bmp",
        "image/gif": "gif",
        "image/heic": "heic",
        "image/jpeg": "jpg jpeg jpe jfif",
        "image/jxl": "jxl",
        "image/png": "png",
        "image/svg+xml": "svg",
        "image/tiff": "tif tiff",
        "image/webp": "webp",
        "image/x-icon": "ico",
        "text/html": "html htm",
        "text/plain": "txt",
        "text/vtt": "vtt",
        "video/3gpp": "3gp",
        "video/matroska": "mkv",
        "video/mp4": "mp4",
        "video/ogg": "ogv",
        "video/quicktime": "mov qt",
        "video/webm": "webm",
        "video/x-m4v": "m4v",
    }.items()
    for extension in extensions.split()
}


def choose_mime_type(
    declared: str | None, head: bytes, *, policy: str, allowed: tuple[str, ...]
) -> str:
    """The media type of a blob with the Content-Type *declared*, whose first bytes are *head*.

    None, an empty text, a wildcard and the names of `NO_CLAIMS` claim nothing. Under the *policy*
    ``sniff`` the detected type wins over a claim. Under ``strict`` a claim that the bytes
    contradict is refused, and a claimed image or video must be detected as one. Where claim and
    bytes both name the type, the one that *allowed* has is taken; if it has both, that of the
    bytes under ``sniff``, that of the claim under ``strict``.

    Raises InvalidMimeType if the claim is refused or *allowed* does not have the type, and
    InvalidRequest if *declared* is not a media type.
    """
    claim = _parse_claim(declared)
    if not head and "*/*" in allowed:
        return claim or UNKNOWN
    names = _true_names(claim, detect(head), head, policy, allowed)
    for name in names:
        if is_allowed(name, allowed):
            return name
    check_allowed(names[0], allowed)
    return names[0]


def is_consistent(expected_type: str, head: bytes, policy: str = "strict") -> bool:
    """Whether a blob that begins with *head* may have *expected_type*, its type in a record.

    *policy* is that of `choose_mime_type`, which the type is held to like a claim.
    """
    found = detect(head)
    if found is None:
        return policy != "strict" or _may_be_unknown(expected_type, head)
    if expected_type.startswith("audio/") and hides_sound(head):
        return True
    # A mistaken name that is nobody's type (image/pjpeg) does not become that of the blob.
    is_kept = expected_type in MISTAKEN and _is_mistaken(expected_type, found)
    return is_kept or _is_true(expected_type, found)


def declared_charset(declared: str | None) -> str | None:
    """The charset that *declared*, a Content-Type, names; None for UTF-8, no name or no charset."""
    match = None if declared is None else _CHARSET.search(declared)
    return None if match is None or match[1].lower() in ("utf-8", "utf8") else match[1]


def is_allowed(mime_type: str, allowed: tuple[str, ...]) -> bool:
    """Whether *allowed*, a list of types, ``type/*`` and ``*/*``, has *mime_type*, in any case.

    Where PNG is allowed, so is APNG.
    """
    mime_type = mime_type.lower()
    return (
        mime_type in allowed
        or "*/*" in allowed
        or f"{mime_type.partition('/')[0]}/*" in allowed
        or (mime_type == "image/apng" and "image/png" in allowed)
    )


def check_allowed(mime_type: str, allowed: tuple[str, ...]) -> None:
    """Raise InvalidMimeType unless *allowed* has *mime_type*."""
    if not is_allowed(mime_type, allowed):
        raise InvalidMimeType(f"{shown(mime_type)} is not accepted here{_accepted(allowed)}")


def mime_type_of_filename(name: str) -> str | None:
    """The type that the extension of *name* stands for; None if it is not known."""
    _, dot, extension = name.rpartition(".")
    return _EXTENSIONS.get(extension.lower()) if dot else None


def _parse_claim(declared: str | None) -> str | None:
    if declared is None or not declared.strip():
        return None
    if (by_extension := _EXTENSIONS.get(declared.strip().lower())) is not None:
        return by_extension
    try:
        claim = parse_mime_type(declared)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    return None if "*" in claim or claim in NO_CLAIMS else claim


def _true_names(
    claim: str | None, found: str | None, head: bytes, policy: str, allowed: tuple[str, ...]
) -> tuple[str, ...]:
    """The names that the blob may have, the best one first. Raises InvalidMimeType."""
    is_strict = policy == "strict"
    if claim is None:
        return (UNKNOWN,) if found is None else (found, *BROADER.get(found, ()))
    if found is None:
        if is_strict and not _may_be_unknown(claim, head):
            raise InvalidMimeType(
                f"the bytes are not {shown(claim)}, as declared{_accepted(allowed)}"
            )
        return (claim,)
    if claim == found or _is_mistaken(claim, found):
        return (found,)
    if claim.startswith("audio/") and hides_sound(head):
        return (claim, found)
    if _is_true(claim, found):
        # Containers have one signature, whether they hold a film or sound alone.
        is_sound = claim.startswith("audio/") and not found.startswith("audio/")
        if is_sound and shows_pictures(found, head):
            return (found,)
        return (claim, found) if is_strict or is_sound else (found, claim)
    if is_strict:
        raise InvalidMimeType(
            f"the bytes are {found}, not {shown(claim)}, as declared{_accepted(allowed)}"
        )
    return (found,)


def _may_be_unknown(mime_type: str, head: bytes) -> bool:
    """Whether bytes of *mime_type* may begin with *head*, which has no signature."""
    if mime_type.lower().startswith(("image/", "video/")):
        return mime_type == "image/svg+xml" and b"<svg" in head  # SVG is text
    return True


def _is_mistaken(claim: str, found: str) -> bool:
    return found in MISTAKEN and MISTAKEN[found].fullmatch(claim) is not None


def _is_true(claim: str, found: str) -> bool:
    return claim == found or (found in TRUE and TRUE[found].fullmatch(claim) is not None)


def _accepted(allowed: tuple[str, ...]) -> str:
    return "" if "*/*" in allowed else f"; accepted: {', '.join(allowed)}"
