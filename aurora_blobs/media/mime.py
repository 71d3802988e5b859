"""The media type of a blob, from its first bytes and from what the client declared."""

import re

from aurora_blobs.errors import InvalidMimeType, InvalidRequest
from aurora_blobs.media.signatures import UNKNOWN, detect
from aurora_blobs.protocol.quoting import shown
from aurora_blobs.protocol.syntax import parse_mime_type

# A claim of another type of the same family is a mistake, not a lie: the type in the bytes is kept.
_FAMILIES = (frozenset({"video/mp4", "video/quicktime"}), frozenset({"image/png", "image/apng"}))

# Claims that agree with the detected type, by pattern: other names of it, and what a container of
# that type is used for. Such a claim is kept.
_FONT = r"(font|application)/.*(sfnt|ttf|otf|opentype|truetype)"
_OFFICE = r"application/(zip|vnd\..+)"
_AGREEING = {
    found: re.compile(pattern)
    for found, pattern in {
        "application/epub+zip": r"application/zip",
        "application/gzip": r"application/(x-gzip|.+\+gzip)",
        "application/ogg": r"(audio|video)/ogg|audio/opus",
        "application/rtf": r"text/(rtf|plain)",
        "application/vnd.oasis.opendocument.presentation": _OFFICE,
        "application/vnd.oasis.opendocument.spreadsheet": _OFFICE,
        "application/vnd.oasis.opendocument.text": _OFFICE,
        "application/vnd.openxmlformats-officedocument.presentationml.presentation": _OFFICE,
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": _OFFICE,
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": _OFFICE,
        "application/x-bzip2": r"application/x-bzip",
        "application/x-cfb": r"application/(msword|vnd\..+|x-msi|x-ole-storage)",
        "application/x-deb": r"application/vnd\.debian\.binary-package",
        "application/x-elf": r"application/x-(executable|sharedlib|pie-executable)",
        "application/x-msdownload": r"application/(vnd\.microsoft\.portable-executable|x-dosexec)",
        "application/x-rar-compressed": r"application/(vnd\.rar|x-rar)",
        "application/x-sqlite3": r"application/(vnd\.sqlite3|.+\+sqlite3)",
        "application/xml": r"text/(xml|plain|html)|.+\+xml",
        "application/zip": r"application/(vnd\..+|.+\+zip|java-archive|x-zip-compressed)",
        "audio/aiff": r"audio/x-aiff",
        "audio/flac": r"audio/x-flac",
        "audio/midi": r"audio/x-midi",
        "audio/mpeg": r"audio/mp3",
        "audio/ogg": r"application/ogg|audio/opus",
        "audio/wav": r"audio/(x-wav|wave|vnd\.wave)",
        "audio/x-m4a": r"audio/(m4a|mp4)",
        "font/otf": _FONT,
        "font/ttf": _FONT,
        "font/woff": r"application/.*woff",
        "font/woff2": r"application/.*woff2",
        "image/bmp": r"image/x-(ms-)?bmp",
        "image/heic": r"image/heif",
        "image/heif": r"image/(heic|avif)",
        "image/jpx": r"image/jp2",
        "image/tiff": r"image/x-(adobe|nikon|sony|canon)-.+",
        "image/x-icon": r"image/vnd\.microsoft\.icon",
        "text/vtt": r"text/plain",
        "video/matroska": r"(video|audio)/(x-)?matroska",
        "video/mp4": r"audio/mp4|application/mp4|video/x-m4v",
        "video/ogg": r"application/ogg",
        "video/webm": r"audio/webm",
        "video/vnd.avi": r"video/(x-msvideo|avi|msvideo)",
        "video/x-ms-asf": r"(video|audio)/x-ms-.+",
    }.items()
}

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
    """The media type of a blob with the Content-Type *declared*, whose first 8192 bytes are *head*.

    None, an empty text, a wildcard and application/octet-stream claim nothing. Under the *policy*
    ``sniff`` the detected type wins over a claim. Under ``strict`` a claim that the bytes
    contradict is refused, and a claimed image or video must be detected as one.

    Raises InvalidMimeType if the claim is refused or *allowed* does not have the type, and
    InvalidRequest if *declared* is not a media type.
    """
    claim = _parse_claim(declared)
    if not head and "*/*" in allowed:
        return claim or UNKNOWN
    found = detect(head)
    if policy == "strict" and claim is not None:
        chosen = _choose_strictly(claim, found, head, allowed)
    else:
        chosen = found or claim or UNKNOWN
    check_allowed(chosen, allowed)
    return chosen


def is_consistent(expected_type: str, head: bytes, policy: str = "strict") -> bool:
    """Whether a blob that begins with *head* may have *expected_type*, its type in a record.

    *policy* is that of `choose_mime_type`, which the type is held to like a claim.
    """
    found = detect(head)
    if found is None:
        return policy != "strict" or _may_be_unknown(expected_type, head)
    return _is_same_family(expected_type, found) or _agrees(expected_type, found)


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
    return None if "*" in claim or claim == UNKNOWN else claim


def _choose_strictly(claim: str, found: str | None, head: bytes, allowed: tuple[str, ...]) -> str:
    if found is None:
        if not _may_be_unknown(claim, head):
            raise InvalidMimeType(
                f"the bytes are not {shown(claim)}, as declared{_accepted(allowed)}"
            )
        return claim
    if _is_same_family(claim, found):
        return found
    if _agrees(claim, found):
        return claim
    raise InvalidMimeType(
        f"the bytes are {found}, not {shown(claim)}, as declared{_accepted(allowed)}"
    )


def _may_be_unknown(mime_type: str, head: bytes) -> bool:
    """Whether bytes of *mime_type* may begin with *head*, which has no signature."""
    if mime_type.lower().startswith(("image/", "video/")):
        return mime_type == "image/svg+xml" and b"<svg" in head  # SVG is text
    return True


def _is_same_family(claim: str, found: str) -> bool:
    return any(claim in family and found in family for family in _FAMILIES)


def _agrees(claim: str, found: str) -> bool:
    if claim == found:
        return True
    return found in _AGREEING and _AGREEING[found].fullmatch(claim) is not None


def _accepted(allowed: tuple[str, ...]) -> str:
    return "" if "*/*" in allowed else f"; accepted: {', '.join(allowed)}"
