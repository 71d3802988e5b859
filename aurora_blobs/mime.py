"""The media type of a blob: what its first bytes show, weighed against what the client declared."""

import re
from struct import Struct

import filetype  # type: ignore[import-untyped]

from aurora_blobs.errors import InvalidMimeType, InvalidRequest
from aurora_blobs.syntax import parse_mime_type

UNKNOWN = "application/octet-stream"

# Inside a family a claim is a near miss, not a lie: the bytes win.
_FAMILIES = (frozenset({"video/mp4", "video/quicktime"}), frozenset({"image/png", "image/apng"}))

# Claims that are as true as what the bytes show: another name of the same, or what a container is used for.
_OFFICE = r"application/(zip|vnd\..+)"
_AS_TRUE = {
    found: re.compile(pattern)
    for found, pattern in {
        "application/epub+zip": r"application/zip",
        "application/font-sfnt": r"(font|application)/.*(sfnt|ttf|otf|opentype|truetype)",
        "application/font-woff": r"(font|application)/.*woff2?",
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
        "audio/midi": r"audio/x-midi",
        "audio/mpeg": r"audio/mp3",
        "audio/ogg": r"application/ogg|audio/opus",
        "audio/wav": r"audio/(x-wav|wave|vnd\.wave)",
        "audio/x-aiff": r"audio/aiff",
        "audio/x-flac": r"audio/flac",
        "audio/x-m4a": r"audio/(m4a|mp4)",
        "image/bmp": r"image/x-(ms-)?bmp",
        "image/heic": r"image/heif",
        "image/jpx": r"image/jp2",
        "image/tiff": r"image/x-(adobe|nikon|sony|canon)-.+",
        "image/x-icon": r"image/vnd\.microsoft\.icon",
        "text/vtt": r"text/plain",
        "video/matroska": r"(video|audio)/(x-)?matroska",
        "video/mp4": r"audio/mp4|application/mp4|video/x-m4v",
        "video/ogg": r"application/ogg",
        "video/webm": r"audio/webm",
        "video/x-ms-wmv": r"(video|audio)/x-ms-.+",
        "video/x-msvideo": r"video/(vnd\.avi|avi|msvideo)",
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


def choose_mime_type(declared: str | None, head: bytes, *, policy: str, allowed: tuple[str, ...]) -> str:
    """The type under which a blob is kept: *declared* is the client's Content-Type, *head* the first 8192 bytes.

    None, an empty text, a wildcard and application/octet-stream claim nothing. Under ``sniff`` the bytes win over
    a claim; under ``strict`` a claim that they contradict is refused, and an image or a video must show that it is one.

    Raises InvalidMimeType where they contradict, or where *allowed* does not have the type; InvalidRequest for a
    *declared* that is no media type.
    """
    claim = _claim(declared)
    if not head and "*/*" in allowed:
        return claim or UNKNOWN
    found = detect(head)
    if policy == "strict" and claim is not None:
        chosen = _reconciled(claim, found, head, allowed)
    else:
        chosen = found or claim or UNKNOWN
    if not is_allowed(chosen, allowed):
        raise InvalidMimeType(f"{chosen} is not accepted here{_accepted(allowed)}")
    return chosen


def is_consistent(stated: str, head: bytes) -> bool:
    """Whether a blob that begins with *head* may be kept under *stated*, the type that a record states for it."""
    found = detect(head)
    return found is None or _is_near(stated, found) or _is_true(stated, found)


def is_allowed(mime_type: str, allowed: tuple[str, ...]) -> bool:
    """Whether *allowed*, of types, ``type/*`` and ``*/*``, has *mime_type*. A PNG may be animated."""
    return (
        mime_type in allowed
        or "*/*" in allowed
        or f"{mime_type.partition('/')[0]}/*" in allowed
        or (mime_type == "image/apng" and "image/png" in allowed)
    )


def mime_type_of_filename(name: str) -> str | None:
    """What the extension of *name* claims, for a caller that has a file and no declaration."""
    _, dot, extension = name.rpartition(".")
    return _EXTENSIONS.get(extension.lower()) if dot else None


def detect(head: bytes) -> str | None:
    """The media type that *head*, the first 8192 bytes of a file, shows; None if it shows none.

    Names are those of the reference PDS. Not a promise that the rest is such a file, nor that it is harmless.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(_PNG):
        return _png(head)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.startswith(b"RIFF") and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[4:8] in _ATOMS and not _TEXT.fullmatch(head, 0, 4):
        return _iso_media(head)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return _EBML_DOC_TYPES.get(_ebml_doc_type(head))
    if head.startswith(b"OggS"):
        return _ogg(head)
    for signature, mime_type in _SIGNATURES:
        if signature.match(head):
            return mime_type
    return _found_by_filetype(head)


def _claim(declared: str | None) -> str | None:
    if declared is None or not declared.strip():
        return None
    if (by_extension := _EXTENSIONS.get(declared.strip().lower())) is not None:
        return by_extension
    try:
        claim = parse_mime_type(declared)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    return None if "*" in claim or claim == UNKNOWN else claim


def _reconciled(claim: str, found: str | None, head: bytes, allowed: tuple[str, ...]) -> str:
    if found is None:
        if claim == "image/svg+xml" and b"<svg" in head:
            return claim  # a text, which has no signature
        if claim.startswith(("image/", "video/")):
            raise InvalidMimeType(f"the bytes are not {claim}, as declared{_accepted(allowed)}")
        return claim
    if _is_near(claim, found):
        return found
    if _is_true(claim, found):
        return claim
    raise InvalidMimeType(f"the bytes are {found}, not {claim}, as declared{_accepted(allowed)}")


def _is_near(claim: str, found: str) -> bool:
    return any(claim in family and found in family for family in _FAMILIES)


def _is_true(claim: str, found: str) -> bool:
    return claim == found or (found in _AS_TRUE and _AS_TRUE[found].fullmatch(claim) is not None)


def _accepted(allowed: tuple[str, ...]) -> str:
    return "" if "*/*" in allowed else f"; accepted: {', '.join(allowed)}"


_PNG = b"\x89PNG\r\n\x1a\n"
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
# What an ISO base media file begins with, or a QuickTime file from before there were brands.
_ATOMS = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_BRANDS = {  # of what is no plain MP4; https://mp4ra.org/registered-types/brands
    b"qt  ": "video/quicktime",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic-sequence",
    b"hevx": "image/heic-sequence",
    b"M4A ": "audio/x-m4a",
    b"M4B ": "audio/mp4",
    b"M4P ": "audio/mp4",
    b"F4A ": "audio/mp4",
    b"F4B ": "audio/mp4",
    b"M4V ": "video/x-m4v",
    b"M4VH": "video/x-m4v",
    b"M4VP": "video/x-m4v",
    b"crx ": "image/x-canon-cr3",
    b"mjp2": "video/mj2",
}
_STILL = {b"mif1": "image/heif", b"msf1": "image/heif-sequence"}  # brands that leave the codec to the others
_EBML_DOC_TYPES: dict[bytes | None, str] = {b"webm": "video/webm", b"matroska": "video/matroska"}
_SIGNATURES = [
    (re.compile(pattern, re.DOTALL), mime_type)
    for pattern, mime_type in [
        (rb"\x7fELF", "application/x-elf"),
        (rb"\0asm", "application/wasm"),
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-cfb"),  # what is in it is told beyond the head
        (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
        (rb"(\xef\xbb\xbf)?WEBVTT([\0\t\n\r ]|\Z)", "text/vtt"),
        (rb"(\xef\xbb\xbf)?<\?xml[\t\n\r ]", "application/xml"),
    ]
]
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e]*")

# Everything else is left to `filetype`. Not its two-byte look at a font, whose name is "unknown".
_DECIDED = frozenset(_RIFF.values()) | frozenset(_BRANDS.values()) | frozenset(_EBML_DOC_TYPES.values())
_DECIDED |= {"image/jpeg", "image/png", "image/apng", "image/gif", "audio/ogg", "audio/x-wav", "video/x-matroska"}
_DECIDED |= {"video/mp4", "video/3gpp", "application/x-executable", "application/wasm", UNKNOWN}
_OTHERS = tuple(kind for kind in filetype.TYPES if kind.mime not in _DECIDED)
# Some signatures are two or three letters, with which a sentence may begin: where all is text, only these count.
_TEXTUAL = tuple(
    kind
    for kind in _OTHERS
    if kind.mime.removeprefix("application/") in ("pdf", "postscript", "rtf", "x-tar", "x-deb", "x-unix-archive")
)


def _png(head: bytes) -> str | None:
    # An animation says so in a chunk before its first picture. https://www.w3.org/TR/png-3/#apngFrame-based-animation
    position = len(_PNG)
    if len(head) == position:
        return None
    while position + _CHUNK.size <= len(head):
        length, kind = _CHUNK.unpack_from(head, position)
        if kind == b"acTL":
            return "image/apng"
        if kind == b"IDAT":
            break
        position += length + 12
    return "image/png"


_CHUNK = Struct(">I4s")


def _iso_media(head: bytes) -> str | None:
    if head[4:8] != b"ftyp":
        return "video/quicktime"
    major = head[8:12].replace(b"\0", b" ")
    if len(major) < 4 or not _TEXT.fullmatch(major):
        return None
    if major.startswith(b"3g"):
        return "video/3gpp2" if major.startswith(b"3g2") else "video/3gpp"
    if major in _STILL:
        end = min(int.from_bytes(head[:4]), len(head))
        others = (_BRANDS.get(head[place : place + 4], "") for place in range(16, end, 4))
        return next((mime_type for mime_type in others if mime_type.startswith("image/")), _STILL[major])
    return _BRANDS.get(major, "video/mp4")


def _ebml_doc_type(head: bytes) -> bytes | None:
    # RFC 8794: the header is an element of elements, each an ID and a size of 1 to 8 bytes, then its content.
    position = 4 + _vint_length(head, 4)
    while position < len(head):
        id_end = position + _vint_length(head, position)
        size_end = id_end + _vint_length(head, id_end)
        size = int.from_bytes(head[id_end:size_end]) & ~(-1 << 7 * (size_end - id_end))
        if head[position:id_end] == b"\x42\x82":
            return head[size_end : size_end + size].rstrip(b"\0")
        position = size_end + size
    return None


def _vint_length(head: bytes, position: int) -> int:
    return 9 - head[position].bit_length() if position < len(head) else 1


def _ogg(head: bytes) -> str:
    codec = head[28:36]
    if codec.startswith((b"\x01vorbis", b"OpusHead", b"Speex  ", b"\x7fFLAC")):
        return "audio/ogg"
    return "video/ogg" if codec.startswith(b"\x80theora") else "application/ogg"


def _found_by_filetype(head: bytes) -> str | None:
    kind = filetype.match(head, _TEXTUAL if _TEXT.fullmatch(head, 0, 32) else _OTHERS) if head else None
    return None if kind is None else str(kind.mime)
